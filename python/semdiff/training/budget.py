# SPDX-License-Identifier: Apache-2.0
"""How long a training takes: time as people write it, what is left of it, and the steps that go into it."""

from __future__ import annotations

import functools
import json
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from semdiff._util.atomic import write_atomically
from semdiff.rng import Key
from semdiff.training.batches import Batches
from semdiff.training.engine import Plan, Stage

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
REHEARSALS = 8
LEAST_REHEARSALS = 3
DEAREST_REHEARSAL = 0.03  # of a stage's time
BESIDE = 1.1  # a step's time over that of its losses and gradients: the optimiser and the average take a tenth more
SHORTEST = 600.0  # seconds, below which docs/training.md shows no usable photograph link


def parse_seconds(text: str) -> float:
    """"3h", "90m", "1.5h" or "40s" in seconds. ValueError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", text)
    if not found or float(found[1]) == 0:
        raise ValueError(f"budget: expected a time above zero such as 3h, 90m or 40s, got {text!r}")
    return float(found[1]) * UNITS[found[2]]


def too_short(seconds: float) -> str | None:
    """What to say of a training from nothing that is as short as this; None where it is long enough."""
    if seconds >= SHORTEST:
        return None
    return (
        f"budget: {seconds / 60:.3g} min are too short for a usable link, {SHORTEST / 60:g} min are the least on one core and 3 h usual; "
        "docs/training.md has the quality against the time. A trained link goes on from where it is: --start photos"
    )


def time_of_steps(seconds: float, stage: Stage, batches: Batches, accelerator: Accelerator) -> float:
    """Seconds of the losses and gradients of a training step, from some steps that change nothing; fewer where `seconds` are few."""
    stage.freeze()
    stage.to(accelerator.device)
    times: list[float] = []
    while len(times) < REHEARSALS and (len(times) < LEAST_REHEARSALS or sum(times) < DEAREST_REHEARSAL * seconds):
        i, begun = len(times), time.perf_counter()
        batch = [d.to(accelerator.device) for d in batches.batch(i, accelerator.process_index, accelerator.num_processes)]
        with accelerator.autocast():
            loss = stage(Key(i), *batch)["loss"]
        loss.backward()
        times.append(time.perf_counter() - begun)
    stage.zero_grad(set_to_none=True)
    return median(times[1:])  # the first one also allocates


def steps_within(
    seconds: float,
    stage: Stage,
    batches: Batches,
    accelerator: Accelerator,
    beside: float = BESIDE,
    more: float = 0.0,
    seen: Callable[[float], None] | None = None,
) -> int:
    """How many training steps of `stage`, and the time of `more` besides, take `seconds` with their rehearsal; at least 1. beside: see
    BESIDE; seen is told the `time_of_steps`."""
    begun = time.perf_counter()
    usual = time_of_steps(seconds, stage, batches, accelerator)
    if seen is not None:
        seen(usual)
    return max(1, round((seconds - (time.perf_counter() - begun)) / (beside * usual) - more))


class Clock:
    """The time of a training, over all its runs. before: seconds that runs before this one took; begun: time.perf_counter() at which this
    one began, its start-up included."""

    def __init__(self, seconds: float, begun: float, before: float = 0.0) -> None:
        self.seconds, self.begun = seconds, begun - before

    @property
    def left(self) -> float:
        return self.seconds - (time.perf_counter() - self.begun)

    def allot(self, name: str, shares: Mapping[str, float], dearness: Mapping[str, float]) -> float:
        """Seconds for the steps of the stage of that name, at least 0: its share of what is left to it and the stages after it, less what
        else these cost (dearness)."""
        names = list(shares)
        rest = names[names.index(name) :]
        return max(0.0, self.left - sum(dearness[n] for n in rest)) * shares[name] / sum(shares[n] for n in rest)


class Plans:
    """The numbers of steps, in a file beside the checkpoints: a resumed run keeps to what was planned for the stages that have begun."""

    def __init__(self, path: Path, made_for: dict[str, Any], accelerator: Accelerator, resume: bool = True) -> None:
        if accelerator.mixed_precision != "no":
            made_for = made_for | {"precision": accelerator.mixed_precision}
        self.path, self.made_for, self.accelerator = path, json.loads(json.dumps(made_for)), accelerator
        self.found: dict[str, int] = {}
        self.others: dict[str, int] = {}
        self.beside = BESIDE
        self.usual: dict[str, float] = {}  # seconds of a step without what is beside it, of stages planned by this run
        if resume and path.exists():
            try:
                document = json.loads(path.read_text("utf-8"))
                self.found, before = dict(document["steps"]), document["made_for"]
                self.others = {n: int(v) for n, v in document.items() if n not in ("steps", "made_for")}
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{path}: expected the plan of a training, but it is damaged ({error})") from None
            if before != self.made_for:
                wanted = "the plan of this recipe, seed, budget and precision"
                raise ValueError(f"{path}: expected {wanted}, got one of others; remove it or give --fresh")

    def plan(self, name: str, seconds: float, learning_rate: float, stage: Stage, batches: Batches, more: float = 0.0) -> Plan:
        """The plan of the stage of that name: as many steps as were noted, or as take `seconds` with the time of `more` steps besides,
        which are noted then."""
        if name not in self.found:
            note = functools.partial(self.usual.__setitem__, name)
            self.found[name] = self.agreed(steps_within(seconds, stage, batches, self.accelerator, self.beside, more, note))
            self._write()
        steps = self.found[name]
        return Plan(steps, batches.batch_size, learning_rate, warm_up=min(100, max(1, steps // 10)))

    def took(self, name: str, seconds: float) -> None:
        """All steps of the stage of that name were made in so many seconds: what is known of the next stages' steps."""
        if name in self.usual and seconds > 0:
            self.beside = min(2.0, max(1.0, seconds / (self.found[name] * self.usual[name])))

    def note(self, name: str, number: int) -> int:
        """A number that a resumed run is to have again: the one that was noted, or this one, which is noted then."""
        if name not in self.others:
            self.others[name] = self.agreed(number)
            self._write()
        return self.others[name]

    def agreed(self, number: int) -> int:
        """The main process's."""
        agreed = [number]
        broadcast_object_list(agreed)
        return int(agreed[0])

    def _write(self) -> None:
        if self.accelerator.is_main_process:
            document = {"made_for": self.made_for, "steps": self.found} | self.others
            write_atomically(self.path, (json.dumps(document, indent=1) + "\n").encode())

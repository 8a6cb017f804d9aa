# SPDX-License-Identifier: Apache-2.0
"""Divide a training's time: parse it, measure steps, and plan the numbers of steps."""

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
LARGEST_REHEARSAL_SHARE = 0.03  # of a stage's time
BESIDE = 1.1  # a step's time over that of its losses and gradients: the optimiser and the average take a tenth more
SHORTEST = 600.0  # seconds, below which docs/training.md shows no usable photograph link


def parse_seconds(text: str) -> float:
    """Parse a time such as "3h", "90m", "1.5h" or "40s" into seconds.

    Args:
        text: the time.

    Raises:
        ValueError: for anything else.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", text)
    if not found or float(found[1]) == 0:
        raise ValueError(f"budget: expected a time above zero such as 3h, 90m or 40s, got {text!r}")
    return float(found[1]) * UNITS[found[2]]


def too_short(seconds: float) -> str | None:
    """Return a warning for a training from nothing that takes only so many seconds; None where they are enough."""
    if seconds >= SHORTEST:
        return None
    return (
        f"budget: {seconds / 60:.3g} min are too short for a usable link, {SHORTEST / 60:g} min are the least on one core and 3 h usual; "
        "docs/training.md has the quality against the time. A trained link goes on from where it is: --start photos"
    )


def time_of_steps(seconds: float, stage: Stage, batches: Batches, accelerator: Accelerator) -> float:
    """Measure the seconds of a training step's losses and gradients, by some steps that change nothing.

    Args:
        seconds: of the stage; fewer steps are measured where these are few.
        stage, batches, accelerator: of the training.
    """
    stage.freeze()
    stage.to(accelerator.device)
    times: list[float] = []
    while len(times) < REHEARSALS and (len(times) < LEAST_REHEARSALS or sum(times) < LARGEST_REHEARSAL_SHARE * seconds):
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
    """Compute how many training steps of a stage fit into a time, the measurement included; at least 1.

    Args:
        seconds: the time.
        stage, batches, accelerator: of the training.
        beside: a step's time over that of its losses and gradients, see BESIDE.
        more: steps' worth of time to keep free.
        seen: called with the `time_of_steps`.
    """
    begun = time.perf_counter()
    usual = time_of_steps(seconds, stage, batches, accelerator)
    if seen is not None:
        seen(usual)
    return max(1, round((seconds - (time.perf_counter() - begun)) / (beside * usual) - more))


class Clock:
    """Measure the time of a training over all its runs.

    Args:
        seconds: of the training.
        begun: time.perf_counter() at the start of this run, its start-up included.
        before: seconds of the runs before.
    """

    def __init__(self, seconds: float, begun: float, before: float = 0.0) -> None:
        self.seconds, self.begun = seconds, begun - before

    @property
    def left(self) -> float:
        """Return the seconds that are left."""
        return self.seconds - (time.perf_counter() - self.begun)

    def allot(self, name: str, shares: Mapping[str, float], costs: Mapping[str, float]) -> float:
        """Compute the seconds for the steps of a stage, at least 0.

        They are its share of what is left to it and the stages after it, less what else these cost.

        Args:
            name: of the stage.
            shares: of each stage, in order.
            costs: seconds that each stage takes besides its steps.
        """
        names = list(shares)
        rest = names[names.index(name) :]
        return max(0.0, self.left - sum(costs[n] for n in rest)) * shares[name] / sum(shares[n] for n in rest)


class Plans:
    """Keep the planned numbers of steps in a file beside the checkpoints. A resumed run keeps to the plan of the stages that have begun.

    Args:
        path: of the file.
        made_for: what the plan depends on.
        accelerator: of the training.
        resume: whether to read the file.

    Raises:
        ValueError: naming the file, where it is damaged or made for another training.
    """

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
                expected = "the plan of this recipe, seed, budget and precision"
                raise ValueError(f"{path}: expected {expected}, got one of others; remove it or give --fresh")

    def plan(self, name: str, seconds: float, learning_rate: float, stage: Stage, batches: Batches, more: float = 0.0) -> Plan:
        """Plan a stage: as many steps as were planned before, or as fit into a time, which are written down.

        Args:
            name: of the stage.
            seconds: for its steps and `more` steps' worth besides.
            learning_rate: the largest.
            stage, batches: of the training.
            more: steps' worth of time to keep free.
        """
        if name not in self.found:
            note = functools.partial(self.usual.__setitem__, name)
            self.found[name] = self.agreed(steps_within(seconds, stage, batches, self.accelerator, self.beside, more, note))
            self._write()
        steps = self.found[name]
        return Plan(steps, batches.batch_size, learning_rate, warm_up=min(100, max(1, steps // 10)))

    def took(self, name: str, seconds: float) -> None:
        """Tell that all steps of the stage `name` took so many seconds; the next stages' steps are planned with that."""
        if name in self.usual and seconds > 0:
            self.beside = min(2.0, max(1.0, seconds / (self.found[name] * self.usual[name])))

    def note(self, name: str, number: int) -> int:
        """Keep a number that a resumed run is to have again.

        Args:
            name: of the number.
            number: its value.

        Returns:
            The one that was kept before, or this one.
        """
        if name not in self.others:
            self.others[name] = self.agreed(number)
            self._write()
        return self.others[name]

    def agreed(self, number: int) -> int:
        """Return the main process's number."""
        agreed = [number]
        broadcast_object_list(agreed)
        return int(agreed[0])

    def _write(self) -> None:
        if self.accelerator.is_main_process:
            document = {"made_for": self.made_for, "steps": self.found} | self.others
            write_atomically(self.path, (json.dumps(document, indent=1) + "\n").encode())

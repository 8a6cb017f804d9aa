# SPDX-License-Identifier: Apache-2.0
"""How long a training takes: time as people write it, and the steps that go into it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from statistics import median
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from semdiff.atomic import write_atomically
from semdiff.rng import Key
from semdiff.training.batches import Batches
from semdiff.training.engine import Plan, Stage

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
REHEARSALS = 8


def parse_seconds(text: str) -> float:
    """"3h", "90m", "1.5h" or "40s" in seconds. ValueError for anything else."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh])\s*", text)
    if not found or float(found[1]) == 0:
        raise ValueError(f"budget: expected a time above zero such as 3h, 90m or 40s, got {text!r}")
    return float(found[1]) * UNITS[found[2]]


def steps_within(seconds: float, stage: Stage, batches: Batches, accelerator: Accelerator) -> int:
    """How many training steps of `stage` take `seconds`, at least 1: from some that change nothing. All processes agree."""
    stage.freeze()
    stage.to(accelerator.device)
    times = []
    for i in range(REHEARSALS):
        begun = time.perf_counter()
        batch = [d.to(accelerator.device) for d in batches.batch(i, accelerator.process_index, accelerator.num_processes)]
        with accelerator.autocast():
            loss = stage(Key(i), *batch)["loss"]
        loss.backward()
        times.append(time.perf_counter() - begun)
    stage.zero_grad(set_to_none=True)
    usual = median(times[1:])  # the first one also allocates
    agreed = [max(1, round(seconds / (1.1 * usual)))]  # the optimiser and the average take a tenth more
    broadcast_object_list(agreed)
    return int(agreed[0])


class Plans:
    """The numbers of steps, in a file beside the checkpoints: a resumed run keeps to what the first one measured."""

    def __init__(self, path: Path, made_for: dict[str, Any], accelerator: Accelerator, resume: bool = True) -> None:
        if accelerator.mixed_precision != "no":
            made_for = made_for | {"precision": accelerator.mixed_precision}
        self.path, self.made_for, self.accelerator = path, json.loads(json.dumps(made_for)), accelerator
        self.found: dict[str, int] = {}
        if resume and path.exists():
            try:
                document = json.loads(path.read_text("utf-8"))
                self.found, before = dict(document["steps"]), document["made_for"]
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(f"{path}: expected the plan of a training, but it is damaged ({error})") from None
            if before != self.made_for:
                wanted = "the plan of this recipe, seed, budget and precision"
                raise ValueError(f"{path}: expected {wanted}, got one of others; remove it or give --fresh")

    def plan(self, name: str, seconds: float, learning_rate: float, stage: Stage, batches: Batches) -> Plan:
        """The plan of the stage of that name: as many steps as were noted, or as take `seconds`, which are noted then."""
        if name not in self.found:
            self.found[name] = steps_within(seconds, stage, batches, self.accelerator)
            if self.accelerator.is_main_process:
                write_atomically(self.path, (json.dumps({"made_for": self.made_for, "steps": self.found}, indent=1) + "\n").encode())
        steps = self.found[name]
        return Plan(steps, batches.batch_size, learning_rate, warm_up=min(100, max(1, steps // 10)))

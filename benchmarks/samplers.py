# SPDX-License-Identifier: Apache-2.0
"""The sampling loop around a denoiser that costs nothing, beside diffusers' loop with the scheduler of the same solver."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

import semdiff
from benchmarks.peers import CLOCK
from benchmarks.timing import interleave
from semdiff.diffusion.matching import DiffusionState

SIZES = (3072, 262144)
STEPS = (10, 50)
SOLVERS: dict[str, Callable[..., Any]] = {
    "ddim": DDIMScheduler,
    "dpmpp_2m": lambda **options: DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_order=2, **options),
}
SCHEDULE = semdiff.NoiseSchedule.scaled_linear()


def measure(rounds: int, least_of: int = 1) -> list[dict[str, Any]]:
    """Microseconds a step of both, and how many times faster ours is."""
    rows = []
    for solver, make in SOLVERS.items():
        for n in SIZES:
            for steps in STEPS:
                times = interleave(_variants(solver, make, n, steps), rounds, least_of=least_of)
                median, low, high = times["ours"].ratio_to(times["diffusers"])
                each = {name: 1e6 * t.median / steps for name, t in times.items()}
                rows.append({"solver": solver, "elements": n, "steps": steps, **each, "ratio": median, "p10": low, "p90": high})
    return rows


def _variants(solver: str, make: Callable[..., Any], n: int, steps: int) -> dict[str, Callable[[], object]]:
    x = semdiff.normal((n,), semdiff.Key(1)).reshape(-1, 4, 8, 8)
    output = torch.zeros_like(x)
    state = DiffusionState(x, torch.full((x.shape[0],), 999.0, dtype=torch.float64))
    scheduler = make(**CLOCK)

    def theirs() -> torch.Tensor:
        scheduler.set_timesteps(steps)
        y = x
        for t in scheduler.timesteps:
            y = scheduler.step(output, t, y).prev_sample
        return y

    return {"ours": lambda: semdiff.sample(lambda x, t: output, state, SCHEDULE, steps, solver), "diffusers": theirs}


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = ["| sampling loop, empty denoiser | elements | steps | ours, µs a step | diffusers, µs a step | × diffusers (10-90 %) |"]
    lines.append("|---|---:|---:|---:|---:|---:|")
    for r in rows:
        ratio = f"{r['ratio']:.1f} ({r['p10']:.1f}-{r['p90']:.1f})"
        lines.append(f"| {r['solver']} | {r['elements']:,} | {r['steps']} | {r['ours']:.1f} | {r['diffusers']:.1f} | {ratio} |")
    return "\n".join(lines)

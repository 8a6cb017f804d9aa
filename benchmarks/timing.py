# SPDX-License-Identifier: Apache-2.0
"""Interleaved timing: every variant once a round, so that a slow minute hits all of them alike; ratios are taken within rounds."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass
class Timing:
    """Seconds a call: the median over rounds, and every round's."""

    rounds: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    def ratio_to(self, other: Timing) -> tuple[float, float, float]:
        """How many times faster than `other`: median, and the tenth and ninetieth percentiles over rounds."""
        ratios = sorted(theirs / ours for ours, theirs in zip(self.rounds, other.rounds, strict=True))
        at = lambda share: ratios[round(share * (len(ratios) - 1))]  # noqa: E731
        return statistics.median(ratios), at(0.1), at(0.9)


def interleave(variants: dict[str, Callable[[], object]], rounds: int = 11, seconds: float = 0.02, least_of: int = 1) -> dict[str, Timing]:
    """Times each variant `rounds` times, about `seconds` a time.

    Where other programs share the processor, each of these is the least of `least_of` shorter ones, interleaved too, most of which those
    programs do not interrupt.
    """
    repeats = {}
    for name, run in variants.items():
        run()  # warm: compilation, first allocation
        begin = time.perf_counter()
        run()
        repeats[name] = max(1, int(seconds / least_of / max(time.perf_counter() - begin, 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in variants}
    with torch.inference_mode(False):
        for _ in range(rounds):
            least = dict.fromkeys(variants, math.inf)
            for _ in range(least_of):
                for name, run in variants.items():
                    begin = time.perf_counter()
                    for _ in range(repeats[name]):
                        run()
                    least[name] = min(least[name], (time.perf_counter() - begin) / repeats[name])
            for name, value in least.items():
                times[name].append(value)
    return {name: Timing(t) for name, t in times.items()}

# SPDX-License-Identifier: Apache-2.0
"""More training of a link that is trained: gently, and only what is better on held-out pictures is kept.

Training from where another one ended begins at a rate at which nothing is forgotten, and few pictures teach a network what they look like
and nothing else. So the link is measured before and after, on pictures that are not learned from, and the better weights stay.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from semdiff._util.atomic import write_atomically
from semdiff.training.curve import Score
from semdiff.training.engine import Plan

RATE = 0.03  # of the recipe's learning rates, which are for networks that know nothing
WARM_UP = 0.25  # of a stage's steps
NAME = "finetuning.json"


class Quality(NamedTuple):
    """Means over pictures, SNRs and CBRs: PSNR of the means in dB, LPIPS of the samples."""

    psnr: float
    lpips: float

    @classmethod
    def of(cls, scores: Iterable[Score], sample: str = "sample") -> Quality:
        """sample: what the pictures are called whose LPIPS counts."""
        found = list(scores)

        def mean(picture: str, quantity: str) -> float:
            values = [s.value for s in found if (s.picture, s.quantity) == (picture, quantity)]
            return sum(values) / len(values)

        return cls(mean("mean", "psnr"), mean(sample, "lpips"))

    def no_worse_than(self, other: Quality) -> bool:
        return self.psnr >= other.psnr and self.lpips <= other.lpips


def gently(plan: Plan) -> Plan:
    """The plan of a stage that goes on from trained weights."""
    return dataclasses.replace(plan, learning_rate=RATE * plan.learning_rate, warm_up=max(1, round(WARM_UP * plan.steps)))


class Keeper:
    """The weights that a training begins with, and what became better. measure(): of the networks as they are; agree: the main
    process's answer."""

    def __init__(self, networks: Mapping[str, nn.Module], measure: Callable[[], Quality], agree: Callable[[int], int], place: Path) -> None:
        self.networks, self.measure, self.agree, self.place = networks, measure, agree, place
        self.begun_with = self._weights()
        self.before = measure()

    def keep_better_means(self) -> None:
        """After the stages that make means: those that are worse are as they were again."""
        if not self.agree(int(self.measure().psnr >= self.before.psnr)):
            self._restore(self.networks)

    def keep_better(self, samplers: Iterable[str]) -> None:
        """After all stages: of the weights as they are, those with the networks in `samplers` as they were, and all as they were, the
        ones with the least LPIPS among those that are no worse in anything. The file says which, and what was measured."""
        trained = self._weights()
        found = {"trained": self.measure()}
        self._restore(list(samplers))
        found["trained, samples as before"] = self.measure()
        better = [name for name, quality in found.items() if quality.no_worse_than(self.before) and quality != self.before]
        names = [*found, "start"]
        kept = names[self.agree(names.index(min(better, key=lambda n: found[n].lpips, default="start")))]
        self._restore(self.networks, trained if kept == "trained" else self.begun_with if kept == "start" else {})
        after = found.get(kept, found["trained"])
        note(self.place, kept, self.before, after)

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return {name: {n: t.detach().clone() for n, t in net.state_dict().items()} for name, net in self.networks.items()}

    def _restore(self, names: Iterable[str], weights: Mapping[str, dict[str, Tensor]] | None = None) -> None:
        for name in names:
            own = (self.begun_with if weights is None else weights).get(name)
            if own is not None:
                self.networks[name].load_state_dict(own)


def note(place: Path, kept: str, before: Quality, after: Quality) -> None:
    """For `told`: after is what was kept, or what was not."""
    document = {"kept": kept, "before": before._asdict(), "after": after._asdict()}
    write_atomically(place / NAME, (json.dumps(document, indent=1) + "\n").encode())


def told(place: Path) -> str | None:
    """What a fine-tuning in that folder came to, in a sentence; None where there was none."""
    try:
        found = json.loads((place / NAME).read_text("utf-8"))
    except FileNotFoundError:
        return None
    before, after = (Quality(**found[name]) for name in ("before", "after"))
    change = f"PSNR of means {before.psnr:.2f} -> {after.psnr:.2f} dB, LPIPS of samples {before.lpips:.4f} -> {after.lpips:.4f}"
    kept = {"start": "the weights that it began with", "trained": "the trained weights"}
    return f"Held-out pictures: {change}. Kept: {kept.get(found['kept'], 'the trained means, samples as before')}."

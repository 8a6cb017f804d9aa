# SPDX-License-Identifier: Apache-2.0
"""Train a trained link further, at a low learning rate, and keep only what is better on held-out pictures.

A training that begins where another one ended begins at a rate at which nothing is forgotten, and few pictures teach a network what they
look like and nothing else. So the link is measured before and after, on pictures that are not trained on, and the better weights stay.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from semdiff._util.atomic import write_atomically
from semdiff.training.curve import HeldOutScore
from semdiff.training.engine import Plan

RATE = 0.03  # of the recipe's learning rates, which are for fresh networks. Chosen by hand
WARM_UP = 0.25  # of a stage's steps. Chosen by hand. Chosen by hand
NAME = "finetuning.json"


class Quality(NamedTuple):
    """Hold means over pictures, SNRs and CBRs.

    Attributes:
        psnr: of the means, in dB.
        lpips: of the samples.
    """

    psnr: float
    lpips: float

    @classmethod
    def of(cls, scores: Iterable[HeldOutScore], sample: str = "sample") -> Quality:
        """Average scores.

        Args:
            scores: of held-out pictures.
            sample: name of the pictures whose LPIPS counts.
        """
        found = list(scores)

        def mean(picture: str, quantity: str) -> float:
            values = [s.value for s in found if (s.picture, s.quantity) == (picture, quantity)]
            return sum(values) / len(values)

        return cls(mean("mean", "psnr"), mean(sample, "lpips"))

    def no_worse_than(self, other: Quality) -> bool:
        """Check whether PSNR and LPIPS are at least as good as the other's."""
        return self.psnr >= other.psnr and self.lpips <= other.lpips


def finetuning_plan(plan: Plan) -> Plan:
    """Return the plan of a stage that goes on from trained weights: a lower learning rate and a longer warm-up.

    Args:
        plan: of a stage that begins with fresh weights.
    """
    return dataclasses.replace(plan, learning_rate=RATE * plan.learning_rate, warm_up=max(1, round(WARM_UP * plan.steps)))


class Keeper:
    """Keep the weights that a training begins with, and put them back where it made nothing better.

    Args:
        networks: by name.
        measure: gives the quality of the networks as they are.
        agree: gives the main process's answer.
        place: folder of the file that says what was kept.
    """

    def __init__(self, networks: Mapping[str, nn.Module], measure: Callable[[], Quality], agree: Callable[[int], int], place: Path) -> None:
        self.networks, self.measure, self.agree, self.place = networks, measure, agree, place
        self.begun_with = self._weights()
        self.before = measure()

    def keep_better_means(self) -> None:
        """Put the first weights back where the stages that make means made them worse."""
        if not self.agree(int(self.measure().psnr >= self.before.psnr)):
            self._restore(self.networks)

    def keep_better(self, samplers: Iterable[str]) -> None:
        """Keep the best weights after all stages, and write down which.

        The candidates are the weights as they are, those with the networks in `samplers` as they were at first, and all as they were at
        first. Of those that are no worse in anything the one of least LPIPS is kept.

        Args:
            samplers: names of the networks that make samples.
        """
        trained = self._weights()
        found = {"trained": self.measure()}
        self._restore(list(samplers))
        found["trained, samples as before"] = self.measure()
        better = [name for name, quality in found.items() if quality.no_worse_than(self.before) and quality != self.before]
        names = [*found, "start"]
        kept = names[self.agree(names.index(min(better, key=lambda n: found[n].lpips, default="start")))]
        self._restore(self.networks, trained if kept == "trained" else self.begun_with if kept == "start" else {})
        after = found.get(kept, found["trained"])
        write_outcome(self.place, kept, self.before, after)

    def _weights(self) -> dict[str, dict[str, Tensor]]:
        return {name: {n: t.detach().clone() for n, t in net.state_dict().items()} for name, net in self.networks.items()}

    def _restore(self, names: Iterable[str], weights: Mapping[str, dict[str, Tensor]] | None = None) -> None:
        for name in names:
            own = (self.begun_with if weights is None else weights).get(name)
            if own is not None:
                self.networks[name].load_state_dict(own)


def write_outcome(place: Path, kept: str, before: Quality, after: Quality) -> None:
    """Write the outcome of a fine-tuning for `describe_outcome`.

    Args:
        place: the folder.
        kept: which weights were kept.
        before, after: qualities; after is of what was kept, or else of what was not.
    """
    document = {"kept": kept, "before": before._asdict(), "after": after._asdict()}
    write_atomically(place / NAME, (json.dumps(document, indent=1) + "\n").encode())


def describe_outcome(place: Path) -> str | None:
    """Describe the outcome of a fine-tuning in the folder `place` in a sentence; None where there was none."""
    try:
        found = json.loads((place / NAME).read_text("utf-8"))
    except FileNotFoundError:
        return None
    before, after = (Quality(**found[name]) for name in ("before", "after"))
    change = f"PSNR of means {before.psnr:.2f} -> {after.psnr:.2f} dB, LPIPS of samples {before.lpips:.4f} -> {after.lpips:.4f}"
    kept = {"start": "the weights that it began with", "trained": "the trained weights"}
    return f"Held-out pictures: {change}. Kept: {kept.get(found['kept'], 'the trained means, samples as before')}."

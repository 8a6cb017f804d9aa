# SPDX-License-Identifier: Apache-2.0
"""The down- and up-sampler around any autoencoder and denoiser: stage 3 of the recipes, for parts that others trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from semdiff.link import SemanticLink
from semdiff.rng import Key
from semdiff.training.batches import Batches
from semdiff.training.engine import Plan, Stage, fit
from semdiff.training.random_channel import Conditions
from semdiff.training.recipes import photos
from semdiff.training.stages.resampling import ResamplingStage

PLAN = Plan(steps=3000, batch_size=16, learning_rate=1e-3)


class EncodedStage(Stage):
    """forward(key, images (B, C, H, W) in [0, 1]): `inner` on what `encode`, which is not trained, makes of them."""

    def __init__(self, encode: Callable[[Tensor], Tensor], inner: Stage) -> None:
        super().__init__()
        self.encode, self.inner = encode, inner

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            z = self.encode(images).to(images)
        return self.inner(key, z)  # type: ignore[no-any-return]


def train_ends(
    link: SemanticLink,
    data: Sequence[Tensor] | Batches,
    plan: Plan = PLAN,
    seed: int = 0,
    conditions: Conditions | None = None,
    folder: Path | None = None,
    progress: bool = True,
) -> dict[str, float]:
    """Trains the down- and up-sampler of `link` in place and leaves everything else as it is; returns the last shown losses.

    data: images (N, C, H, W) in [0, 1] as the only tensor of a sequence, or `RandomCrops`, of whole cells. conditions: those of the
    photograph link's recipe if None. Resumes from `folder` as `fit` does.
    """
    conditions = conditions or photos.conditions(photos.read_recipe())
    link.register_to_config(snr_db_range=list(conditions.snr_db))
    ends = ResamplingStage(link.downsampler, link.upsampler, tuple(link.config.rates), conditions=conditions)
    return fit(EncodedStage(link.encode, ends), data, plan, name="ends", key=Key(seed), folder=folder, progress=progress)

# SPDX-License-Identifier: Apache-2.0
"""Train the down- and up-sampler around any autoencoder and denoiser: stage 3 of the recipes, for parts that others trained."""

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
    """Train another stage on encoded images.

    Args:
        encode: images to latents; not trained.
        inner: the stage on latents.
    """

    def __init__(self, encode: Callable[[Tensor], Tensor], inner: Stage) -> None:
        super().__init__()
        self.encode, self.inner = encode, inner

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the inner stage's losses of images (B, C, H, W) in [0, 1]; key is passed on."""
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
    """Train the down- and up-sampler of a link in place, and leave everything else as it is.

    Args:
        link: as `SemanticLink.from_diffusers` makes it.
        data: images (N, C, H, W) in [0, 1] as the only tensor of a sequence, or `RandomCrops`, of whole cells.
        plan: steps and learning rate.
        seed: of all random numbers.
        conditions: of the channel; None is those of the photograph link's recipe.
        folder: of the checkpoints, from which it resumes as `fit` does.
        progress: show a bar.

    Returns:
        The last shown losses.

    Example:
        >>> from diffusers import AutoencoderTiny, DDPMScheduler, UNet2DModel
        >>> from semdiff.data import sample_photos
        >>> from semdiff.link import SemanticLink
        >>> from semdiff.training.engine import Plan
        >>> from semdiff.training.recipes.ends import train_ends
        >>> vae = AutoencoderTiny(encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4)
        >>> blocks = {"block_out_channels": (8, 8), "down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
        >>> unet = UNet2DModel(in_channels=4, out_channels=4, norm_num_groups=4, **blocks)
        >>> link = SemanticLink.from_diffusers(vae, unet, DDPMScheduler())
        >>> losses = train_ends(link, [sample_photos()[..., :64, :64]], Plan(steps=2, batch_size=4, learning_rate=1e-3), progress=False)
        >>> sorted(losses)
        ['error', 'loss', 'match']
    """
    conditions = conditions or photos.conditions(photos.read_recipe())
    link.register_to_config(snr_db_range=list(conditions.snr_db))
    ends = ResamplingStage(link.downsampler, link.upsampler, tuple(link.config.rates), conditions=conditions)
    return fit(EncodedStage(link.encode, ends), data, plan, name="ends", key=Key(seed), folder=folder, progress=progress)

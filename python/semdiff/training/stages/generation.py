# SPDX-License-Identifier: Apache-2.0
"""Train the photograph link's denoiser, behind a transmitter and an up-sampler that stay as they are.

It learns the forward process of latent diffusion at the times that receivers meet, conditioned on the received features: the estimate and
the error variance of each of its elements. For comparison the path may be the straight one from the receiver's start to the latent that
was sent (posterior-mean rectified flow, arXiv 2410.00418), which adds only what the up-sampler does not know.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.diffusion.steps import add_noise
from semdiff.link.starting_state import estimate_elements
from semdiff.models.networks import Denoiser, Downsampler, Upsampler
from semdiff.models.pixel_blocks import Border, to_blocks
from semdiff.rng import Key
from semdiff.training.engine import Stage
from semdiff.training.random_channel import Conditions
from semdiff.training.stages.diffusion import velocity
from semdiff.training.stages.receiver import path_point
from semdiff.training.stages.resampling import UpsamplerOutput, cross_channel

PathKind = Literal["noise", "received"]


class ReceivingStage(Stage):
    """Give a stage the receiver behind a finished transmitter and up-sampler.

    Args:
        vae, unet, downsampler, upsampler: of the link.
        schedule: of the denoiser.
        rates: numbers of symbol channels.
        conditions: of the channel.
        block, border: see `semdiff.models.pixel_blocks`.
        renoise: of the sampler's start.
    """

    def __init__(
        self,
        vae: AutoencoderTiny,
        unet: Denoiser,
        downsampler: Downsampler,
        upsampler: Upsampler,
        schedule: NoiseSchedule,
        rates: tuple[int, ...],
        conditions: Conditions,
        block: int,
        border: Border,
        renoise: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.unet, self.downsampler, self.upsampler = vae.encoder, unet, downsampler, upsampler
        self.schedule, self.rates, self.conditions, self.renoise = schedule, rates, conditions, renoise
        self.block, self.border = block, border

    @torch.no_grad()
    def receive(self, key: Key, images: Tensor) -> tuple[Tensor, UpsamplerOutput, tuple[Tensor, Tensor], tuple[Tensor, ...]]:
        """Send images and receive them up to the denoiser.

        Args:
            key: of the channel.
            images: (B, 3, H, W) in [0, 1].

        Returns:
            The latents that were sent, what arrives, the estimate of them with ln of its error variance, and the denoiser's hints.
        """
        z = self.encoder(to_blocks(images, self.block, self.border)).to(images)
        crossing = cross_channel(self.downsampler, self.upsampler, z, self.rates, key, self.conditions)
        estimated = estimate_elements(*crossing)
        return z, crossing, estimated, (torch.cat(estimated, 1),) if self.unet.config.hints else ()


class GenerationStage(ReceivingStage):
    """Train the denoiser by the mean squared error of v on a path.

    Args:
        parts, options: of `ReceivingStage`.
        path: from noise, or from what is received.
    """

    frozen = ("encoder", "downsampler", "upsampler")

    def __init__(self, *parts: Any, path: PathKind = "noise", **options: Any) -> None:
        super().__init__(*parts, **options)
        self.path = path

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the loss of images (B, 3, H, W) in [0, 1]; key draws all random numbers."""
        crossing_key, path_key = key.split(2)
        z, crossing, _, hints = self.receive(crossing_key, images)
        x, t = path_point(*crossing, z, self.schedule, self.renoise, path_key)
        if self.path == "noise":
            x = add_noise(z, t, self.schedule, path_key.fold_in(0))
        v = self.unet(x, t.to(x), *hints).sample.to(z)
        return {"loss": F.mse_loss(v, velocity(x, z, self.schedule.alpha_bar(t)))}

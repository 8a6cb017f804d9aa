# SPDX-License-Identifier: Apache-2.0
"""Stage 6: a decoder for samples, which learns how they should look. All that comes before it stays as it is.

Latents are sampled as the receiver samples them, and what they decode to is judged by LPIPS (AlexNet) beside the squared error.
"""

from __future__ import annotations

import torch
from diffusers import UNet2DModel
from torch import Tensor
from torch.nn import functional as F

from semdiff.link.codec import from_blocks
from semdiff.link.networks import Downsampler, SampleDecoder, Upsampler
from semdiff.link.reception import starting_state
from semdiff.metrics import lpips
from semdiff.rng import Key
from semdiff.sampler import sample
from semdiff.schedule import NoiseSchedule
from semdiff.training.engine import Stage
from semdiff.training.resampling import cross_channel


class DetailStage(Stage):
    """forward(key, latents (B, C, h, w), images (B, c, H, W) in [0, 1]): LPIPS of the decoded samples plus `pixel_weight` squared error."""

    frozen = ("unet", "downsampler", "upsampler")

    def __init__(
        self,
        unet: UNet2DModel,
        downsampler: Downsampler,
        upsampler: Upsampler,
        sample_decoder: SampleDecoder,
        schedule: NoiseSchedule,
        rates: tuple[int, ...],
        renoise: float = 1.0,
        steps: int = 4,
        pixel_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.unet, self.downsampler, self.upsampler, self.sample_decoder = unet, downsampler, upsampler, sample_decoder
        self.schedule, self.rates, self.renoise, self.steps, self.pixel_weight = schedule, rates, renoise, steps, pixel_weight

    def forward(self, key: Key, z: Tensor, images: Tensor) -> dict[str, Tensor]:
        crossing_key, start_key, sample_key = key.split(3)
        with torch.no_grad():
            crossing = cross_channel(self.downsampler, self.upsampler, z, self.rates, crossing_key)
            state = starting_state(*crossing, self.schedule, "calibrated", self.renoise, start_key)
            drawn = sample(lambda x, t: self.unet(x, t).sample.to(x), state, self.schedule, self.steps, prediction="v", key=sample_key)
        decoded = from_blocks(self.sample_decoder(drawn.to(z)).to(z), images.shape[2], images.shape[3])
        error = F.mse_loss(decoded, images)
        seen = lpips(decoded.clamp(0, 1), images).mean()
        return {"loss": seen + self.pixel_weight * error, "lpips": seen, "mse": error}

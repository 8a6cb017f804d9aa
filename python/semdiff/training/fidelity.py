# SPDX-License-Identifier: Apache-2.0
"""The link's path of least squared error: down-sampler, channel, up-sampler and the decoder of the mean, trained together on pixels.

The latents are those of a finished encoder, which stays as it is. The fused loss keeps the up-sampler's Gaussian honest about them, so that
a sampler may start from it.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from semdiff.link.codec import to_blocks
from semdiff.link.networks import Downsampler, MeanDecoder, Upsampler
from semdiff.link.reception import estimate, log_error
from semdiff.loss import upsampler_loss
from semdiff.rng import Key
from semdiff.training.engine import Stage
from semdiff.training.resampling import Conditions, cross_channel

BLOCK = 8


class FidelityStage(Stage):
    """forward(key, images (B, 3, H, W) in [0, 1]): squared error of the pixels, and the fused loss of `semdiff.upsampler_loss`."""

    frozen = ("encoder",)

    def __init__(
        self,
        vae: AutoencoderTiny,
        downsampler: Downsampler,
        upsampler: Upsampler,
        mean_decoder: MeanDecoder,
        rates: tuple[int, ...],
        conditions: Conditions,
        pixel_weight: float = 10.0,
        lambda_match: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder, self.downsampler, self.upsampler, self.mean_decoder = vae.encoder, downsampler, upsampler, mean_decoder
        self.rates, self.conditions = rates, conditions
        self.pixel_weight, self.lambda_match = pixel_weight, lambda_match

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        crossing_key, loss_key = key.split(2)
        target = to_blocks(images, BLOCK, "replicate")
        with torch.no_grad():
            z = self.encoder(target)
        gaussian, noise_var = cross_channel(self.downsampler, self.upsampler, z, self.rates, crossing_key, self.conditions)
        fused = upsampler_loss(gaussian.mean, gaussian.logvar, z, 1 / (1 + noise_var), 0.0, self.lambda_match, loss_key)
        decoded = self.mean_decoder(estimate(gaussian, noise_var)[0], log_error(gaussian, noise_var))
        pixels = F.mse_loss(decoded, target)
        psnr = -10 * torch.log10(pixels.detach() / 4)  # of values in [-1, 1]
        return {"loss": self.pixel_weight * pixels + fused.total, "psnr": psnr, "fused": fused.total}

# SPDX-License-Identifier: Apache-2.0
"""The link's path of least squared error, trained end to end on pixels: down-sampler, channel, up-sampler, and what decodes the mean.

The encoder is finished and stays as it is, as does a denoiser. The fused loss keeps the up-sampler's Gaussian honest about the latents, so
that a sampler may start from it.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderTiny, UNet2DModel
from torch import Tensor
from torch.nn import functional as F

from semdiff.link.codec import Border, to_blocks
from semdiff.link.networks import Downsampler, MeanDecoder, Upsampler
from semdiff.link.reception import estimate_elements, starting_state
from semdiff.loss import upsampler_loss
from semdiff.rng import Key
from semdiff.sampler import posterior_mean
from semdiff.schedule import NoiseSchedule
from semdiff.training.engine import Stage
from semdiff.training.resampling import USUAL, Conditions, cross_channel
from semdiff.vae import GaussianSample


class FidelityStage(Stage):
    """forward(key, images (B, C, H, W) in [0, 1]): squared error of the pixels, and the fused loss of `semdiff.upsampler_loss`.

    With a `MeanDecoder` that makes the mean of the up-sampler's Gaussian; else the denoiser does, and the autoencoder's decoder after it.
    block, border: see `semdiff.link.codec`.
    """

    def __init__(
        self,
        vae: AutoencoderTiny,
        downsampler: Downsampler,
        upsampler: Upsampler,
        rates: tuple[int, ...],
        mean: MeanDecoder | tuple[UNet2DModel, NoiseSchedule],
        conditions: Conditions = USUAL,
        block: int = 4,
        border: Border = "black",
        pixel_weight: float = 10.0,
        lambda_match: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder, self.downsampler, self.upsampler = vae.encoder, downsampler, upsampler
        self.mean_decoder = mean if isinstance(mean, MeanDecoder) else None
        if isinstance(mean, MeanDecoder):
            self.frozen = ("encoder",)
        else:
            self.decoder, self.frozen = vae.decoder, ("encoder", "unet")
            self.unet, self.schedule = mean[0], mean[1]
        self.rates, self.conditions, self.block, self.border = rates, conditions, block, border
        self.pixel_weight, self.lambda_match = pixel_weight, lambda_match

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        crossing_key, loss_key, match_key = key.split(3)
        target = to_blocks(images, self.block, self.border)
        with torch.no_grad():
            z = self.encoder(target).to(target)
        gaussian, noise_var = cross_channel(self.downsampler, self.upsampler, z, self.rates, crossing_key, self.conditions)
        fused = upsampler_loss(gaussian.mean, gaussian.logvar, z, 1 / (1 + noise_var), 0.0, self.lambda_match, loss_key)
        pixels = F.mse_loss(self.decode(gaussian, noise_var, match_key).to(target), target)
        psnr = -10 * torch.log10(pixels.detach() / 4)  # of values in [-1, 1]
        return {"loss": self.pixel_weight * pixels + fused.total, "psnr": psnr, "fused": fused.total}

    def decode(self, gaussian: GaussianSample, noise_var: Tensor, key: Key) -> Tensor:
        """The posterior mean as blocks of pixels."""
        if self.mean_decoder is not None:
            return self.mean_decoder(*estimate_elements(gaussian, noise_var))  # type: ignore[no-any-return]
        state = starting_state(gaussian, noise_var, self.schedule, "calibrated", 0.0, key)
        z = posterior_mean(lambda x, t: self.unet(x, t).sample.to(x), state, self.schedule, "v")
        return self.decoder(z)  # type: ignore[no-any-return]

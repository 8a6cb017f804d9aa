# SPDX-License-Identifier: Apache-2.0
"""Train the link's path of least squared error end to end on pixels: down-sampler, channel, up-sampler, and what decodes the mean.

The fused loss keeps the up-sampler's Gaussian honest about the latents, so that a sampler may start from it. A denoiser stays as it is. The
encoder does too, or is trained further: what a short training found worth keeping in a latent is less than what a good channel carries.
Then only the pixels train it, since latents that are easy to estimate are not better ones, and a small loss keeps each channel near mean 0
and variance 1, as the other networks expect.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderTiny, UNet2DModel
from torch import Tensor
from torch.nn import functional as F

from semdiff.diffusion.loss import upsampler_loss
from semdiff.diffusion.sampler import posterior_mean
from semdiff.diffusion.schedule import NoiseSchedule, alpha_bar_of
from semdiff.diffusion.vae import GaussianSample
from semdiff.link.starting_state import estimate_elements, starting_state
from semdiff.models.networks import Downsampler, MeanDecoder, Upsampler
from semdiff.models.pixel_blocks import Border, to_blocks
from semdiff.rng import Key
from semdiff.training.engine import Stage
from semdiff.training.random_channel import DEFAULT_CONDITIONS, Conditions
from semdiff.training.stages.autoencoder import EncoderKind
from semdiff.training.stages.resampling import cross_channel

DRIFT_WEIGHT = 0.03  # beside a loss around 1: batches differ in it by some tenths, which is to count for little


class FidelityStage(Stage):
    """Train by the squared error of the pixels and the fused loss of `semdiff.upsampler_loss`.

    Args:
        vae: the autoencoder.
        downsampler, upsampler: the networks around the channel.
        rates: numbers of symbol channels.
        mean: a `MeanDecoder` of the up-sampler's Gaussian, or the denoiser and its schedule, which the autoencoder's decoder follows.
        conditions: of the channel.
        block, border: see `semdiff.models.pixel_blocks`.
        pixel_weight: of the squared error.
        lambda_match: weight in the fused loss.
        encoder: whether it is trained too.
        fused_weight: of the fused loss, which counts every latent alike; with much of it a transmitter spends power on latents that pixels
            hardly show.
    """

    def __init__(
        self,
        vae: AutoencoderTiny,
        downsampler: Downsampler,
        upsampler: Upsampler,
        rates: tuple[int, ...],
        mean: MeanDecoder | tuple[UNet2DModel, NoiseSchedule],
        conditions: Conditions = DEFAULT_CONDITIONS,
        block: int = 4,
        border: Border = "black",
        pixel_weight: float = 10.0,
        lambda_match: float = 0.1,
        encoder: EncoderKind = "frozen",
        fused_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.encoder, self.downsampler, self.upsampler = vae.encoder, downsampler, upsampler
        self.mean_decoder = mean if isinstance(mean, MeanDecoder) else None
        if isinstance(mean, MeanDecoder):
            self.frozen = ()
        else:
            self.decoder, self.frozen = vae.decoder, ("unet",)
            self.unet, self.schedule = mean[0], mean[1]
        self.encoding = encoder == "trained"
        if not self.encoding:
            self.frozen = ("encoder", *self.frozen)
        self.rates, self.conditions, self.block, self.border = rates, conditions, block, border
        self.pixel_weight, self.lambda_match, self.fused_weight = pixel_weight, lambda_match, fused_weight

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the losses of images (B, C, H, W) in [0, 1]; key draws all random numbers."""
        crossing_key, loss_key, match_key = key.split(3)
        target = to_blocks(images, self.block, self.border)
        z = self.encoder(target).to(target)  # a frozen encoder's parameters ask for no gradient
        gaussian, noise_var = cross_channel(self.downsampler, self.upsampler, z, self.rates, crossing_key, self.conditions)
        fused = upsampler_loss(gaussian.mean, gaussian.logvar, z.detach(), alpha_bar_of(noise_var), 0.0, self.lambda_match, loss_key)
        pixels = F.mse_loss(self.decode(gaussian, noise_var, match_key).to(target), target)
        psnr = -10 * torch.log10(pixels.detach() / 4)  # of values in [-1, 1]
        terms = {"loss": self.pixel_weight * pixels + self.fused_weight * fused.total, "psnr": psnr, "fused": fused.total}
        if self.encoding:
            terms["drift"] = z.mean((0, 2, 3)).square().mean() + (z.square().mean((0, 2, 3)) - 1).square().mean()
            terms["loss"] = terms["loss"] + DRIFT_WEIGHT * terms["drift"]
        return terms

    def decode(self, gaussian: GaussianSample, noise_var: Tensor, key: Key) -> Tensor:
        """Decode the posterior mean as blocks of pixels.

        Args:
            gaussian: the up-sampler's.
            noise_var: of the channel, float64 (B,).
            key: of the starting state.
        """
        if self.mean_decoder is not None:
            guess, log_error = estimate_elements(gaussian, noise_var)
            # The variance is to say how far off the guess is: as a way for pixels to come through it would be no variance any more.
            return self.mean_decoder(guess, log_error.detach())  # type: ignore[no-any-return]
        state = starting_state(gaussian, noise_var, self.schedule, "calibrated", 0.0, key)
        z = posterior_mean(lambda x, t: self.unet(x, t).sample.to(x), state, self.schedule, "v")
        return self.decoder(z)  # type: ignore[no-any-return]

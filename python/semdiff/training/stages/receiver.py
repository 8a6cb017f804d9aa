# SPDX-License-Identifier: Apache-2.0
"""Train both ends of the link together, through the denoiser and the decoder: stage 4 of the recipes.

The error of a learned estimate is smooth, not white, and a denoiser that only ever saw white noise takes a smooth picture for a clean one.
So the denoiser is trained further, on what the receiver gives it:

- posterior mean: from the calibrated state, one evaluation, decoded; squared error of the image, through every network down to the
  down-sampler.
- sample: the straight path from the receiver's (re-noised) state to the latent that was sent. In units of z the reverse ODE is
  x = z + (sigma / sigma_0) (x_0 - z), so learning to denoise points of that path is learning a rectified flow from what was received to the
  data (posterior-mean rectified flow, Ohayon, Michaeli, Elad, arXiv 2410.00418), by the same denoiser(x, t) and the same solvers.
- prior: the plain diffusion loss of stage 2 on a part of the batch, so that the denoiser stays one for white noise.
- the fused loss of stage 3, so that the up-sampler's Gaussian stays honest; and the decoder's error on noisy latents, as in stage 1.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderTiny, UNet2DModel
from torch import Tensor
from torch.nn import functional as F

from semdiff.diffusion.loss import upsampler_loss
from semdiff.diffusion.schedule import NoiseSchedule, alpha_bar_of
from semdiff.diffusion.steps import add_noise
from semdiff.diffusion.vae import GaussianSample
from semdiff.link.starting_state import starting_state
from semdiff.models.networks import Downsampler, Upsampler
from semdiff.models.pixel_blocks import to_blocks
from semdiff.rng import Key, normal, uniform
from semdiff.training.engine import Stage
from semdiff.training.stages.diffusion import denoised, denoising_times, velocity
from semdiff.training.stages.resampling import cross_channel


class ReceiverStage(Stage):
    """Train by the sum of the losses above.

    Args:
        vae, unet, downsampler, upsampler: of the link.
        schedule: of the denoiser.
        rates: numbers of symbol channels.
        renoise: of the sampler's start.
        pixel_weight: of the squared error of pixels.
        lambda_match: weight in the fused loss.
        decoder_noise: standard deviation of the noise on the decoder's latents.
    """

    def __init__(
        self,
        vae: AutoencoderTiny,
        unet: UNet2DModel,
        downsampler: Downsampler,
        upsampler: Upsampler,
        schedule: NoiseSchedule,
        rates: tuple[int, ...],
        renoise: float = 1.0,
        pixel_weight: float = 10.0,
        lambda_match: float = 0.1,
        decoder_noise: float = 0.15,
    ) -> None:
        super().__init__()
        self.decoder, self.unet, self.downsampler, self.upsampler = vae.decoder, unet, downsampler, upsampler
        self.schedule, self.rates, self.renoise = schedule, rates, renoise
        self.pixel_weight, self.lambda_match, self.decoder_noise = pixel_weight, lambda_match, decoder_noise

    def forward(self, key: Key, z: Tensor, images: Tensor) -> dict[str, Tensor]:
        """Compute the losses, each named, of latents z (B, C, h, w) and their images (B, c, H, W); key draws all random numbers."""
        keys = key.split(6)
        target = to_blocks(images)
        gaussian, noise_var = cross_channel(self.downsampler, self.upsampler, z, self.rates, keys[0])
        fused = upsampler_loss(gaussian.mean, gaussian.logvar, z, alpha_bar_of(noise_var), 0.0, self.lambda_match, keys[1])

        mean = starting_state(gaussian, noise_var, self.schedule, "calibrated", 0.0, keys[2])
        fixed = GaussianSample(*(g.detach() for g in gaussian))
        path_x, path_t = path_point(fixed, noise_var, z, self.schedule, self.renoise, keys[3])
        prior_z = z[: z.shape[0] // 4]
        prior_t = denoising_times(prior_z.shape[0], self.schedule, keys[4])
        prior_x = add_noise(prior_z, prior_t, self.schedule, keys[4].fold_in(1))

        x, t = torch.cat([mean.x, path_x, prior_x]), torch.cat([mean.t, path_t, prior_t])
        v = self.unet(x, t.to(x)).sample.to(x)
        a, count = self.schedule.alpha_bar(t), z.shape[0]
        z_mean = denoised(x[:count], v[:count], a[:count])
        target_v = velocity(x[count:], torch.cat([z, prior_z]), a[count:])
        path, prior = F.mse_loss(v[count : 2 * count], target_v[:count]), F.mse_loss(v[2 * count :], target_v[count:])

        noisy = prior_z + self.decoder_noise * normal(prior_z.shape, keys[5], device=z.device)
        decoded = self.decoder(torch.cat([z_mean, noisy])).to(z)
        pixels = F.mse_loss(decoded[:count], target)
        clean = F.mse_loss(decoded[count:], target[: len(prior_z)])
        # A quarter for what only keeps decoder and denoiser as they are, from a quarter of the batch. Chosen by hand.
        # A quarter for what only keeps decoder and denoiser as they are, from a quarter of the batch. Chosen by hand.
        loss = self.pixel_weight * (pixels + 0.25 * clean) + fused.total + path + 0.25 * prior
        return {"loss": loss, "pixels": pixels, "clean": clean, "fused": fused.total, "path": path, "prior": prior}


@torch.no_grad()
def path_point(
    gaussian: GaussianSample, noise_var: Tensor, z: Tensor, schedule: NoiseSchedule, renoise: float, key: Key
) -> tuple[Tensor, Tensor]:
    """Draw a point of the straight path from the sampler's start to z, uniform in ln SNR as the sampler's steps are.

    Args:
        gaussian, noise_var: of the reception.
        z: latents that were sent.
        schedule: of the denoiser.
        renoise: of the sampler's start.
        key: of start and point.

    Returns:
        x_t and t (B,).
    """
    start_key, place_key = key.split(2)
    start = starting_state(gaussian, noise_var, schedule, "calibrated", renoise, start_key)
    first, last = schedule.noise_var(start.t), schedule.noise_var(0.0)
    # A fifth of the points, 0.25 of 1.25, stand at the start itself, where most of the work is done. Chosen by hand.
    place = (uniform(z.shape[0], place_key).double() * 1.25 - 0.25).clamp_min(0.0)
    here = first * (last / first) ** place
    t = schedule.timestep(here)
    begun = start.x / schedule.alpha_bar(start.t).sqrt().to(z)[:, None, None, None]
    x = z + (here / first).sqrt().to(z)[:, None, None, None] * (begun - z)
    return schedule.alpha_bar(t).sqrt().to(z)[:, None, None, None] * x, t

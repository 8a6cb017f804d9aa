# SPDX-License-Identifier: Apache-2.0
"""Compute the state at which a denoiser of pixels begins, from the up-sampler's Gaussian and the perceptual estimate.

The up-sampler's Gaussian N(mean, exp(logvar)) is that of x_t at the schedule's first step, t = 0: the image with the least noise that the
diffusion model knows. With an honest variance, exp(logvar) = 1 - a + a v, where a = alpha_bar_0 and v is the error variance of
mean / sqrt(a) as an estimate of the image. A perceptual estimate p has the larger error variance s^2 = v + (p - mean / sqrt(a))^2. That
error counts as noise of the forward process. Fresh noise of k^2 = `renoise` times its variance is added, so that

    x_t = sqrt(alpha_bar) (p + k s eps),    alpha_bar = 1 / (1 + (1 + k^2) s^2)

and t follows the SNR, the rate and the image. From there to the image is the straight path of posterior-mean rectified flow (Ohayon,
Michaeli, Elad, arXiv 2410.00418), which in these coordinates is DDIM's own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.diffusion.matching import DiffusionState, match
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.diffusion.vae import GaussianSample
from semdiff.link.starting_state import later
from semdiff.models.pixels import PixelScale
from semdiff.phy.channel import snr_db_of
from semdiff.rng import Key

# Chosen by hand, of images of unit variance: 4 is the error of -x in place of x.
SMALLEST_ERROR, LARGEST_ERROR = 1e-3, 4.0


class PixelReception(NamedTuple):
    """Hold what the receiver knows before it denoises, in normalised pixels (B, C, H, W).

    Attributes:
        gaussian: the up-sampler's, of x_t at t = 0.
        perceptual: the perceptual estimate, (B, C, H, W).
        noise_var: float64 (B,), the noise variance of the received features, after equalisation and clamping, one number for each sample.
        rate: (B,), share of the symbol channels that was sent.
    """

    gaussian: GaussianSample
    perceptual: Tensor
    noise_var: Tensor
    rate: Tensor

    @property
    def snr_db(self) -> Tensor:
        """Compute the SNR of the features in dB, (B,)."""
        return snr_db_of(self.noise_var)


def without_padding(gaussian: GaussianSample, size: tuple[int, int]) -> GaussianSample:
    """Crop a Gaussian to the image: the padding to whole features is cut off.

    Args:
        gaussian: of padded images.
        size: height and width of the images.

    Returns:
        The Gaussian in float32.
    """
    return GaussianSample(*(_crop(v, size).float() for v in gaussian))


def _crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    top, left = ((padded - cropped) // 2 for padded, cropped in zip(x.shape[-2:], size, strict=True))
    return x[..., top : top + size[0], left : left + size[1]]


def mean_estimate(gaussian: GaussianSample, schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """Estimate the image by the Gaussian's mean.

    Args:
        gaussian: of x_t at t = 0, (B, C, H, W).
        schedule: gives alpha_bar_0.

    Returns:
        The estimate, (B, C, H, W), and its error variance averaged over an image, float64 (B,), without a gradient.
    """
    a = float(schedule.alphas_cumprod[0])
    with torch.no_grad():
        variance = gaussian.logvar.double().exp().flatten(1).mean(1)
        error = ((variance - (1 - a)) / a).clamp(SMALLEST_ERROR, LARGEST_ERROR)
    return gaussian.mean / a**0.5, error


def perceptual_state(reception: PixelReception, scale: PixelScale, schedule: NoiseSchedule, renoise: float, key: Key) -> DiffusionState:
    """Compute the state x_t of the perceptual estimate with fresh noise, and its real t (see the module).

    Args:
        reception: what the receiver knows.
        scale: clamps the estimate to the range of images.
        schedule: of the denoiser's training.
        renoise: variance of the fresh noise, in parts of the estimate's error variance.
        key: of the fresh noise.
    """
    mean, error = mean_estimate(reception.gaussian, schedule)
    perceptual = scale.clamp(reception.perceptual)
    error = error + (perceptual - mean).detach().double().square().flatten(1).mean(1)
    state = match(perceptual, error.clamp(SMALLEST_ERROR, LARGEST_ERROR), schedule)
    return later(state, renoise, schedule, key) if renoise > 0 else state


def straight_grid(t: Tensor, steps: int, schedule: NoiseSchedule) -> Tensor:
    """Compute times from t to clean data for `semdiff.sample`, uniform in the noise's standard deviation.

    A flow's path is straight in these coordinates, so equal parts of it are equal work.

    Args:
        t: where to begin, (B,).
        steps: number of steps.
        schedule: of the denoiser's training.

    Returns:
        float64 (steps + 1, B); the last row is -1.
    """
    noise_var = schedule.noise_var(t)
    left = 1 - torch.arange(steps, dtype=torch.float64, device=noise_var.device) / steps
    times = schedule.timestep(left[:, None].square() * noise_var)
    times[0] = t
    return torch.cat([times, torch.full((1, len(t)), -1.0, dtype=torch.float64, device=times.device)])

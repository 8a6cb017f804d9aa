# SPDX-License-Identifier: Apache-2.0
"""From what the pixel up-sampler says to the state at which the denoiser begins.

The up-sampler says N(mean, exp(logvar)) for x_t at the schedule's first step, t = 0: the image, but for the least noise that the
diffusion model knows. With an honest variance, exp(logvar) = 1 - a + a v, where a = alpha_bar_0 and v is the error variance of
mean / sqrt(a) as an estimate of the image. A perceptual estimate p is wrong by more, by s^2 = v + (p - mean / sqrt(a))^2. That error, in
which the channel's noise has become the receiver's, counts as noise of the forward process, and fresh noise of k^2 = `renoise` times its
variance tops it up, so that

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
from semdiff.link.reception import later
from semdiff.models.pixels import PixelScale
from semdiff.rng import Key

SMALLEST_ERROR, LARGEST_ERROR = 1e-3, 4.0  # of images of unit variance


class PixelReception(NamedTuple):
    """What the receiver knows before it denoises, in normalised pixels (B, C, H, W)."""

    gaussian: GaussianSample  # of x_t at t = 0
    perceptual: Tensor
    noise_var: Tensor  # float64 (B,): of the channel, for all of a sample
    rate: Tensor  # (B,): share of the symbol channels that was sent

    @property
    def snr_db(self) -> Tensor:
        """At which the features were heard, (B,)."""
        return -10 * self.noise_var.log10()


def without_padding(gaussian: GaussianSample, size: tuple[int, int]) -> GaussianSample:
    """The Gaussian of the image alone, float32: what brought it to whole features is cut off."""
    return GaussianSample(*(_crop(v, size).float() for v in gaussian))


def _crop(x: Tensor, size: tuple[int, int]) -> Tensor:
    top, left = ((n - wanted) // 2 for n, wanted in zip(x.shape[-2:], size, strict=True))
    return x[..., top : top + size[0], left : left + size[1]]


def mean_estimate(gaussian: GaussianSample, schedule: NoiseSchedule) -> tuple[Tensor, Tensor]:
    """The estimate of the image, (B, C, H, W), and its error variance in the mean over an image, float64 (B,), without a gradient."""
    a = float(schedule.alphas_cumprod[0])
    with torch.no_grad():
        variance = gaussian.logvar.double().exp().flatten(1).mean(1)
        error = ((variance - (1 - a)) / a).clamp(SMALLEST_ERROR, LARGEST_ERROR)
    return gaussian.mean / a**0.5, error


def perceptual_state(reception: PixelReception, scale: PixelScale, schedule: NoiseSchedule, renoise: float, key: Key) -> DiffusionState:
    """The state x_t that the perceptual estimate, within what images are, and fresh noise make, and its real t (see above)."""
    mean, error = mean_estimate(reception.gaussian, schedule)
    perceptual = scale.clamp(reception.perceptual)
    error = error + (perceptual - mean).detach().double().square().flatten(1).mean(1)
    state = match(perceptual, error.clamp(SMALLEST_ERROR, LARGEST_ERROR), schedule)
    return later(state, renoise, schedule, key) if renoise > 0 else state


def straight_grid(t: Tensor, steps: int, schedule: NoiseSchedule) -> Tensor:
    """Times from t (B,) to clean data for `sample`, uniform in the noise's deviation: (steps + 1, B), float64, the last row -1.

    A flow's path is straight in these coordinates, so equal parts of it are equal work.
    """
    noise_var = schedule.noise_var(t)
    left = 1 - torch.arange(steps, dtype=torch.float64) / steps
    times = schedule.timestep(left[:, None].square() * noise_var)
    times[0] = t
    return torch.cat([times, torch.full((1, len(t)), -1.0, dtype=torch.float64)])

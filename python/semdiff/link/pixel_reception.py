# SPDX-License-Identifier: Apache-2.0
"""From what the pixel up-sampler says to the state at which the denoiser begins.

The perceptual estimate p of the image x is wrong by a variance s^2, which the receiver knows: the mean estimate's own error variance, from
the up-sampler's honest Gaussian, and the square of what p differs from it by. That error counts as noise of the forward process, and fresh
noise of k^2 = `renoise` times its variance tops it up, so that

    x_t = sqrt(alpha_bar) (p + k s eps),    alpha_bar = 1 / (1 + (1 + k^2) s^2)

and t follows the SNR, the rate and the image. From there to the image is the straight path of posterior-mean rectified flow (Ohayon,
Michaeli, Elad, arXiv 2410.00418), which in these coordinates is DDIM's own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.link.pixels import PixelScale
from semdiff.link.reception import later
from semdiff.matching import DiffusionState, match
from semdiff.rng import Key
from semdiff.schedule import NoiseSchedule
from semdiff.vae import GaussianSample

SMALLEST_ERROR, LARGEST_ERROR = 1e-3, 4.0  # of images of unit variance


class PixelReception(NamedTuple):
    """What the receiver knows before it denoises, in normalised pixels (B, C, H, W)."""

    gaussian: GaussianSample  # of x_t at the channel's own time
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


def mean_estimate(reception: PixelReception) -> tuple[Tensor, Tensor]:
    """The mean of the up-sampler's Gaussian as an estimate of x, (B, C, H, W), and the error variance that its log-variance says, one
    number an image: float64 (B,), without a gradient."""
    a = 1 / (1 + reception.noise_var)
    with torch.no_grad():
        variance = reception.gaussian.logvar.double().exp().flatten(1).mean(1).to(a)
        error = ((variance - (1 - a)) / a).clamp(SMALLEST_ERROR, LARGEST_ERROR)
    return reception.gaussian.mean / a.sqrt().to(reception.gaussian.mean)[:, None, None, None], error


def perceptual_state(reception: PixelReception, scale: PixelScale, schedule: NoiseSchedule, renoise: float, key: Key) -> DiffusionState:
    """The state x_t that the perceptual estimate, within what images are, and fresh noise make, and its real t (see above)."""
    mean, error = mean_estimate(reception)
    perceptual = scale.clamp(reception.perceptual)
    error = error + (perceptual - mean).double().square().flatten(1).mean(1)
    state = match(perceptual, error.clamp(SMALLEST_ERROR, LARGEST_ERROR), schedule)
    return later(state, renoise, schedule, key) if renoise > 0 else state

# SPDX-License-Identifier: Apache-2.0
"""From the up-sampler's Gaussian to the state at which the denoiser begins.

The up-sampler says N(mean, exp(logvar)) for x_t at the channel's own time, alpha_bar = 1 / (1 + noise_var). Trained
without a prior term its variance is honest: exp(logvar) = 1 - alpha_bar + alpha_bar v, where v is the error variance of the estimate
mean / sqrt(alpha_bar) of z. So v is known for each image, from what the receiver has.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.diffusion.matching import DiffusionState, MatchMode, match
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.diffusion.vae import GaussianSample
from semdiff.rng import Key, normal

SMALLEST_ERROR, LARGEST_ERROR = 0.002, 0.95


class Reception(NamedTuple):
    """What the receiver knows before it denoises: the up-sampler's Gaussian of x_t and the channel's noise variance, float64 (B,)."""

    gaussian: GaussianSample
    noise_var: Tensor

    def of(self, rows: Tensor) -> Reception:
        """The samples of these indices."""
        return Reception(GaussianSample(*(v[rows] for v in self.gaussian)), self.noise_var[rows])


def estimate(gaussian: GaussianSample, noise_var: Tensor) -> tuple[Tensor, Tensor]:
    """The estimate of z, (B, C, h, w), and the variance of its error, one number an image: float64 (B,), without a gradient.

    noise_var: float64 (B,).
    """
    a = 1 / (1 + noise_var)
    with torch.no_grad():
        variance = gaussian.logvar.double().exp().flatten(1).mean(1)
        error = ((variance - (1 - a)) / a).clamp(SMALLEST_ERROR, LARGEST_ERROR)
    return _unscaled(gaussian, noise_var), error


def estimate_elements(gaussian: GaussianSample, noise_var: Tensor) -> tuple[Tensor, Tensor]:
    """The estimate of z and ln of the error variance of each of its elements, (B, C, h, w) both, with gradients."""
    a = (1 / (1 + noise_var)).to(gaussian.logvar)[:, None, None, None]
    log_error = ((gaussian.logvar.exp() - (1 - a)) / a).clamp(SMALLEST_ERROR, LARGEST_ERROR).log()
    return _unscaled(gaussian, noise_var), log_error


def _unscaled(gaussian: GaussianSample, noise_var: Tensor) -> Tensor:
    return gaussian.mean / (1 / (1 + noise_var)).sqrt().to(gaussian.mean)[:, None, None, None]


def starting_state(
    gaussian: GaussianSample, noise_var: Tensor, schedule: NoiseSchedule, mode: MatchMode, renoise: float, key: Key
) -> DiffusionState:
    """The state x_t that the up-sampler's Gaussian is taken for.

    calibrated: the estimate of z, its shrinkage undone, at the time of its own error v.
    exact: the same estimate taken for z plus noise of variance v.
    Both get fresh noise of `renoise` times the state's noise variance, and the later time that belongs to the sum. The error of a learned
    estimate is smooth, and a denoiser adds detail only in place of noise that it sees: 0 for the posterior mean, more to sample.
    paper: the drawn x_t itself, at the first step at least as noisy as the channel; it has the estimate's error on top of its own noise.
    """
    if mode == "paper":
        return DiffusionState(gaussian.sample, schedule.timestep(noise_var, "ceil"))
    z, error = estimate(gaussian, noise_var)
    top_up, fresh = key.split(2)
    state = match(z, error, schedule, mode, key=top_up)
    return later(state, renoise, schedule, fresh) if renoise > 0 else state


def later(state: DiffusionState, renoise: float, schedule: NoiseSchedule, key: Key) -> DiffusionState:
    """The state at the later time whose noise variance is (1 + renoise) times as large: the forward process from t to there."""
    a = schedule.alpha_bar(state.t)
    t = schedule.timestep((1 + renoise) * (1 - a) / a)
    ratio = schedule.alpha_bar(t) / a
    signal, noise = (r.sqrt().to(state.x)[:, None, None, None] for r in (ratio, 1 - ratio))
    fresh = normal(state.x.shape, key, state.x.dtype, state.x.device)
    return DiffusionState(signal * state.x + noise * fresh, t)

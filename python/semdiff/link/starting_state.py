# SPDX-License-Identifier: Apache-2.0
"""Compute the state at which a denoiser of latents begins, from the up-sampler's Gaussian.

The up-sampler's Gaussian N(mean, exp(logvar)) is that of x_t at the channel's own time, alpha_bar = 1 / (1 + noise_var). Trained without a
prior term its variance is honest: exp(logvar) = 1 - alpha_bar + alpha_bar v, where v is the error variance of the estimate
mean / sqrt(alpha_bar) of z. So the receiver computes v for each image from what it has.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.diffusion.matching import DiffusionState, MatchMode, match
from semdiff.diffusion.schedule import NoiseSchedule, alpha_bar_of
from semdiff.diffusion.vae import GaussianSample
from semdiff.rng import Key, normal

# Chosen by hand, of latents of unit variance: a variance that a network computes may fall below zero once the channel's part is taken out,
# or rise above 1, where alpha_bar = 1 - v ends.
SMALLEST_ERROR, LARGEST_ERROR = 0.002, 0.95


class Reception(NamedTuple):
    """Hold what the receiver knows before it denoises.

    Attributes:
        gaussian: the up-sampler's, of x_t, (B, C, h, w) each.
        noise_var: float64 (B,), the noise variance of the received features, after equalisation and clamping.
    """

    gaussian: GaussianSample
    noise_var: Tensor

    def of(self, rows: Tensor) -> Reception:
        """Select the samples of these indices.

        Args:
            rows: int64 (n,).
        """
        return Reception(GaussianSample(*(v[rows] for v in self.gaussian)), self.noise_var[rows])


def estimate(gaussian: GaussianSample, noise_var: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate z and the variance of the estimate's error, one number an image.

    Args:
        gaussian: of x_t, (B, C, h, w) each.
        noise_var: float64 (B,).

    Returns:
        The estimate, (B, C, h, w), and the error variance, float64 (B,), without a gradient.
    """
    a = alpha_bar_of(noise_var)
    with torch.no_grad():
        variance = gaussian.logvar.double().exp().flatten(1).mean(1)
        error = ((variance - (1 - a)) / a).clamp(SMALLEST_ERROR, LARGEST_ERROR)
    return _unscaled(gaussian, noise_var), error


def estimate_elements(gaussian: GaussianSample, noise_var: Tensor) -> tuple[Tensor, Tensor]:
    """Estimate z and the variance of each element's error.

    Args:
        gaussian: of x_t, (B, C, h, w) each.
        noise_var: float64 (B,).

    Returns:
        The estimate and ln of its error variance, (B, C, h, w) both, with gradients.
    """
    a = alpha_bar_of(noise_var).to(gaussian.logvar)[:, None, None, None]
    log_error = ((gaussian.logvar.exp() - (1 - a)) / a).clamp(SMALLEST_ERROR, LARGEST_ERROR).log()
    return _unscaled(gaussian, noise_var), log_error


def _unscaled(gaussian: GaussianSample, noise_var: Tensor) -> Tensor:
    return gaussian.mean / alpha_bar_of(noise_var).sqrt().to(gaussian.mean)[:, None, None, None]


def starting_state(
    gaussian: GaussianSample, noise_var: Tensor, schedule: NoiseSchedule, mode: MatchMode, renoise: float, key: Key
) -> DiffusionState:
    """Compute the state x_t at which denoising begins.

    Args:
        gaussian: the up-sampler's, (B, C, h, w) each.
        noise_var: of the channel, float64 (B,).
        schedule: of the denoiser's training.
        mode: calibrated takes the estimate of z, undoes its shrinkage, and starts at the time of its error v. exact takes the same estimate
            for z plus noise of variance v. paper takes the drawn x_t itself, at the first step at least as noisy as the channel; it has the
            estimate's error on top of its own noise.
        renoise: with calibrated and exact, variance of fresh noise in parts of the state's noise variance; the state moves to the later
            time of the sum. A learned estimate's error is smooth, and a denoiser adds detail only in place of noise that it sees: 0 for the
            posterior mean, more to sample.
        key: of the fresh noise.

    Returns:
        x_t and t (B,).
    """
    if mode == "paper":
        return DiffusionState(gaussian.sample, schedule.timestep(noise_var, "ceil"))
    z, error = estimate(gaussian, noise_var)
    top_up, fresh = key.split(2)
    state = match(z, error, schedule, mode, key=top_up)
    return later(state, renoise, schedule, fresh) if renoise > 0 else state


def later(state: DiffusionState, renoise: float, schedule: NoiseSchedule, key: Key) -> DiffusionState:
    """Move a state to a later time by the forward process.

    Args:
        state: x_t and t.
        renoise: the noise variance at the later time is (1 + renoise) times as large.
        schedule: of the denoiser's training.
        key: of the noise.
    """
    a = schedule.alpha_bar(state.t)
    t = schedule.timestep((1 + renoise) * (1 - a) / a)
    ratio = schedule.alpha_bar(t) / a
    signal, noise = (r.sqrt().to(state.x)[:, None, None, None] for r in (ratio, 1 - ratio))
    fresh = normal(state.x.shape, key, state.x.dtype, state.x.device)
    return DiffusionState(signal * state.x + noise * fresh, t)

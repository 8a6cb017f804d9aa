# SPDX-License-Identifier: Apache-2.0
"""From a noisy latent to a state of the reverse diffusion: which x_t it is, and at which t.

z + n with n ~ N(0, noise_var) and z of unit variance, scaled by sqrt(alpha_bar), has the law of x_t exactly where
alpha_bar = 1 / (1 + noise_var) (arXiv 2407.18468; SNR form: alpha_bar = snr / (1 + snr)).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff.rng import KeyLike, key_tensor
from semdiff.schedule import NoiseSchedule, Rounding, to_tensor

MatchMode = Literal["exact", "paper", "calibrated"]


class DiffusionState(NamedTuple):
    """x_t and its time, shape (B,), float64."""

    x: Tensor
    t: Tensor


def match(
    x: Tensor,
    noise_var: float | Tensor,
    schedule: NoiseSchedule,
    mode: MatchMode = "exact",
    key: KeyLike = None,
    rounding: Rounding = "none",
) -> DiffusionState:
    """The diffusion state that a received latent x (B, ...) is. noise_var: a number or (B,), variance per real element.

    exact: x = z + n with n independent of z. The real t of that noise level; x_t has exactly the law of the forward process. With
        rounding="ceil" the next step of the grid, and fresh noise (drawn with key) makes up the difference, so the law stays exact. Noise
        below the schedule's first step is topped up likewise; above its last, x is scaled to unit variance, the nearest that exists.
    paper: the same x at the first step at least as noisy, without the noise that is missing there (the official procedure).
    calibrated: x is an estimate of z whose error has variance noise_var < 1 and is uncorrelated with x, as a conditional mean's is. Its
        shrinkage is undone: z plus noise of variance v / (1 - v) is x / (1 - v), so alpha_bar = 1 - v and x_t = x / sqrt(1 - v).

    ValueError for a negative, infinite or NaN noise variance, a shape other than () or (B,), or (calibrated) a variance of 1 or more.
    """
    if not x.is_floating_point():
        raise TypeError(f"x: expected a real floating-point tensor (unpack gives one), got {x.dtype}")
    if x.dim() < 1:
        raise ValueError("x: expected shape (B, ...), got ()")
    variance = to_tensor(noise_var, "noise_var").detach().to("cpu", torch.float64)
    if variance.shape not in ((), (x.shape[0],)):
        raise ValueError(f"noise_var: expected shape () or ({x.shape[0]},), got {tuple(variance.shape)}")
    variance = variance.expand(x.shape[0])
    estimate = None
    if mode == "calibrated":
        if not torch.compiler.is_compiling() and not bool((variance < 1).all()):
            raise ValueError(f"noise_var: expected error variances below 1 in calibrated mode, got {variance.tolist()}")
        estimate = 1 - variance
        variance = variance / estimate
    elif mode not in ("exact", "paper"):
        raise ValueError(f"mode: expected exact, paper or calibrated, got {mode!r}")
    t = schedule.timestep(variance, "ceil" if mode == "paper" else rounding)
    a = schedule.alpha_bar(t)
    # Beyond the last step sqrt(a) would leave more variance than x_T has.
    signal = torch.minimum(a, 1 / (1 + variance)) if mode != "paper" else a
    missing = (1 - a - signal * variance).clamp_min(0.0) if mode != "paper" else torch.zeros_like(a)
    missing = torch.where(missing > 1e-12, missing, 0.0)  # rounding errors of an exact match are not worth a random number
    signal = signal.sqrt()
    if estimate is not None:
        signal = signal / estimate
    return DiffusionState(ops.diffuse.default(x, signal, missing.sqrt(), key_tensor(key)), t)

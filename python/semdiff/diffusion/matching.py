# SPDX-License-Identifier: Apache-2.0
"""From a noisy latent to a state of the reverse diffusion: which x_t it is, and at which t.

z + n with n ~ N(0, noise_var) and z of unit variance, scaled by sqrt(alpha_bar), has the law of x_t exactly where
alpha_bar = 1 / (1 + noise_var) (arXiv 2407.18468; SNR form: alpha_bar = snr / (1 + snr)).

Fast fading gives each element a noise of its own: x = g z + n, n ~ N(0, v). The linear estimate r x with r = g / (g^2 + v) has the gain
G = g r and an error uncorrelated with it, so r x / mean(G) is z plus noise of variance (1 - mean(G)) / mean(G) to second order: one time
for the sample. An MMSE equaliser gives r = 1 already (mean(G) is the 1 - m of alpha_bar = 1 - m).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import REAL, check_tensor, to_tensor
from semdiff.diffusion.schedule import NoiseSchedule, Rounding, check_schedule
from semdiff.rng import KeyLike, key_tensor

MatchMode = Literal["exact", "paper", "calibrated"]
Spread = Literal["element", "mean", "top_up"]

_USELESS = 1e12  # the noise variance of an element that carries nothing; no schedule reaches it


class DiffusionState(NamedTuple):
    """x_t and its time, float64: shape (B,), or x's shape, one time for each element (`posterior_mean` and `sample` take both)."""

    x: Tensor
    t: Tensor


def match(
    x: Tensor,
    noise_var: float | Tensor,
    schedule: NoiseSchedule,
    mode: MatchMode = "exact",
    key: KeyLike = None,
    rounding: Rounding = "none",
    gain: float | Tensor | None = None,
    spread: Spread = "element",
) -> DiffusionState:
    """The diffusion state that a received latent x (B, ...) is. x = gain z + noise of variance noise_var, per real element.

    noise_var, gain: a number, (B,), or one for each element: as many dimensions as x, broadcastable to it. gain None is 1.

    exact: noise independent of z. The real t of that noise level; x_t has exactly the law of the forward process. With
        rounding="ceil" the next step of the grid, and fresh noise (drawn with key) makes up the difference, so the law stays exact. Noise
        below the schedule's first step is topped up likewise; above its last, x is scaled to unit variance, the nearest that exists.
    paper: the same x at the first step at least as noisy, without the noise that is missing there (the official procedure).
    calibrated: x is an estimate of z whose error has variance noise_var < 1 and is uncorrelated with x, as a conditional mean's is. Its
        shrinkage is undone: z plus noise of variance v / (1 - v) is x / (1 - v), so alpha_bar = 1 - v and x_t = x / sqrt(1 - v).

    spread says what becomes of noise that differs within a sample (not with paper):
    element: each element at its own time, t in the shape of x, each with exactly its law.
    mean: one time, t (B,), for the sample's second moments; x in proportion to its worth (see above). The law is exact only on average.
    top_up: one time, that of the noisiest element; the others get fresh noise (drawn with key), so the law is exact and much is lost.
    Elements of gain 0 carry nothing. Noise beyond the schedule's last step counts as that step's.

    ValueError for a negative, infinite or NaN noise variance, other shapes, a gain that is not positive (0 may be among the elements'), or
    (calibrated) a gain, or a variance of 1 or more.
    """
    check_tensor(x, "x")
    check_schedule(schedule)
    if x.dtype not in REAL:
        raise TypeError(f"x: expected a real floating-point tensor (unpack gives one), got {x.dtype}")
    if x.dim() < 1:
        raise ValueError("x: expected shape (B, ...), got ()")
    if mode not in ("exact", "paper", "calibrated"):
        raise ValueError(f"mode: expected exact, paper or calibrated, got {mode!r}")
    if spread not in ("element", "mean", "top_up"):
        raise ValueError(f"spread: expected element, mean or top_up, got {spread!r}")
    if rounding not in ("none", "ceil", "nearest"):
        raise ValueError(f"rounding: expected none, ceil or nearest, got {rounding!r}")
    variance = _per_sample_or_element(noise_var, "noise_var", x)
    estimate = None if gain is None else _per_sample_or_element(gain, "gain", x)
    if estimate is not None and estimate.dim() != variance.dim():
        estimate, variance = (v if v.dim() > 1 else v.reshape(-1, *(1,) * (x.dim() - 1)).expand(x.shape) for v in (estimate, variance))
    elements = variance.dim() > 1
    checked = not torch.compiler.is_compiling()
    if checked and (elements or gain is not None) and not bool((variance.isfinite() & (variance >= 0)).all()):
        raise ValueError(f"noise_var: expected finite numbers >= 0, got {_some(variance)}")
    if mode == "calibrated":
        if gain is not None:
            raise ValueError("gain: expected None in calibrated mode, which knows it: 1 - noise_var")
        if checked and not bool((variance < 1).all()):
            raise ValueError(f"noise_var: expected error variances below 1 in calibrated mode, got {_some(variance)}")
        estimate = 1 - variance
        variance = variance / estimate
    elif estimate is not None:
        if checked and not bool(((estimate >= 0 if elements else estimate > 0) & estimate.isfinite()).all()):
            raise ValueError(f"gain: expected finite positive numbers, got {_some(estimate)}")
        # By hand where the gain is 0: neither 0 / 0 nor a division by it.
        variance = torch.where(estimate > 0, (variance / estimate.square()).clamp_max(1e300), _USELESS)
        estimate = torch.where(estimate > 0, estimate, torch.inf)
    if elements and mode == "paper":
        raise ValueError("noise_var: expected shape () or (B,) in paper mode, got one for each element")
    if elements and spread == "mean":
        worth = 1 / (1 + variance)  # G; r is worth / gain
        average = worth.flatten(1).mean(1)
        ratio = average.reshape(-1, *(1,) * (x.dim() - 1)) / worth
        estimate = ratio if estimate is None else ratio * estimate
        variance = (1 - average) / average
    level = variance.flatten(1).amax(1) if elements and spread == "top_up" else variance
    t = schedule.timestep(level, "ceil" if mode == "paper" else rounding)
    a = schedule.alpha_bar(t)
    if variance.dim() > a.dim() or (estimate is not None and estimate.dim() > a.dim()):
        a, variance = (v if v.dim() == x.dim() else v.reshape(-1, *(1,) * (x.dim() - 1)).expand(x.shape) for v in (a, variance))
    # Beyond the last step sqrt(a) would leave more variance than x_T has.
    signal = torch.minimum(a, 1 / (1 + variance)) if mode != "paper" else a
    missing = (1 - a - signal * variance).clamp_min(0.0) if mode != "paper" else torch.zeros_like(a)
    missing = torch.where(missing > 1e-12, missing, 0.0)  # rounding errors of an exact match are not worth a random number
    signal = signal.sqrt()
    if estimate is not None:
        signal = signal / estimate
    return DiffusionState(ops.diffuse.default(x, signal, missing.sqrt(), key_tensor(key)), t)


def _per_sample_or_element(value: float | Tensor, name: str, x: Tensor) -> Tensor:
    """Float64 on the CPU, in the shape (B,) or x's. One for each sample, written (B, 1, ...), is (B,)."""
    given = to_tensor(value, name).detach()
    if given.is_meta:
        raise ValueError(f"{name}: expected a tensor with values (they are read on the host), got one on meta")
    given = given.to("cpu", torch.float64)
    batch = x.shape[0]
    if given.shape in ((), (batch,)):
        return given.expand(batch)
    if given.dim() == x.dim() and all(g in (1, n) for g, n in zip(given.shape, x.shape, strict=True)):
        return given.expand(x.shape) if any(g != 1 for g in given.shape[1:]) else given.reshape(-1).expand(batch)
    raise ValueError(f"{name}: expected shape () or ({batch},), or one that broadcasts to {tuple(x.shape)}, got {tuple(given.shape)}")


def _some(values: Tensor) -> list[float]:
    """For a message: what is there, but not a latent's thousands."""
    return values.flatten()[:8].tolist()

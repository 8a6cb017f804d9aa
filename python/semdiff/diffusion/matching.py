# SPDX-License-Identifier: Apache-2.0
"""From a noisy latent to a state of the reverse diffusion: which x_t it is, and at which t.

z + n with n ~ N(0, noise_var) and z of unit variance, scaled by sqrt(alpha_bar), has the law of x_t exactly where
alpha_bar = 1 / (1 + noise_var) (arXiv 2407.18468; SNR form: alpha_bar = snr / (1 + snr)).

Fast fading gives each element a noise of its own: x = g z + n, n ~ N(0, v). The linear estimate r x with r = g / (g^2 + v) has the gain
G = g r and an error uncorrelated with it, so r x / mean(G) is z plus noise of variance (1 - mean(G)) / mean(G) to second order: one time
for the sample. An MMSE equaliser gives r = 1 already (mean(G) is the 1 - m of alpha_bar = 1 - m).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args, overload

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import REAL, check_tensor, to_tensor
from semdiff._util.named_tuples import shown_by_shape
from semdiff.diffusion.observation import EqualizedLike, ReceivedLike, is_symbols, observe
from semdiff.diffusion.schedule import NoiseSchedule, Rounding, alpha_bar_of, check_schedule
from semdiff.rng import KeyLike, key_tensor

MatchMode = Literal["exact", "paper", "calibrated"]
Spread = Literal["element", "mean", "top_up"]

_USELESS = 1e12  # the noise variance of an element that carries nothing; no schedule reaches it


@shown_by_shape
class DiffusionState(NamedTuple):
    """Hold x_t and its time: where a denoiser begins. `posterior_mean` and `sample` take it.

    Attributes:
        x: x_t, real, (B, ...).
        t: The time, float64 on the CPU: (B,), or the shape of x, one time for each element.

    Example:
        >>> import semdiff
        >>> x = semdiff.normal((2, 8), semdiff.Key(0))
        >>> semdiff.match(x, 0.1, semdiff.NoiseSchedule.linear())
        DiffusionState(x=float32 (2, 8), t=float64 (2,))
    """

    x: Tensor
    t: Tensor


@overload
def match(
    x: Tensor,
    noise_var: float | Tensor,
    schedule: NoiseSchedule,
    mode: MatchMode = ...,
    key: KeyLike = ...,
    rounding: Rounding = ...,
    *,
    gain: float | Tensor | None = ...,
    spread: Spread = ...,
) -> DiffusionState: ...
@overload
def match(
    x: ReceivedLike | EqualizedLike,
    schedule: NoiseSchedule,
    /,
    *,
    mode: MatchMode = ...,
    key: KeyLike = ...,
    rounding: Rounding = ...,
    spread: Spread = ...,
    shape: Sequence[int] | None = ...,
    scale: Tensor | None = ...,
) -> DiffusionState: ...
@overload
def match(
    x: ReceivedLike | EqualizedLike,
    noise_var: None = ...,
    *,
    schedule: NoiseSchedule,
    mode: MatchMode = ...,
    key: KeyLike = ...,
    rounding: Rounding = ...,
    spread: Spread = ...,
    shape: Sequence[int] | None = ...,
    scale: Tensor | None = ...,
) -> DiffusionState: ...
def match(
    x: Any,
    noise_var: Any = None,
    schedule: Any = None,
    mode: MatchMode = "exact",
    key: KeyLike = None,
    rounding: Rounding = "none",
    *,
    gain: float | Tensor | None = None,
    spread: Spread = "element",
    shape: Sequence[int] | None = None,
    scale: Tensor | None = None,
) -> DiffusionState:
    """Find the diffusion state that a received latent is: match(x, noise_var, schedule), or match(received, schedule).

    A tensor x is gain z + noise of variance noise_var, for z of unit variance, per real element. A `Received` or an `Equalized` is taken as
    it comes: its symbols become real elements, its gain and noise_var theirs. Formulas: the top of semdiff.diffusion.matching.

    Args:
        x: Real, (B, ...), floating-point; or a `Received` (the phase of h is undone) or `Equalized`, complex (B, uses).
        noise_var: The noise's variance, >= 0: a number, (B,) or (B, 1, ...), or one for each element, as many dimensions as x and
            broadcastable to it. Left out beside a Received or Equalized: the schedule then comes second.
        schedule: The denoiser's `NoiseSchedule`.
        mode: "exact": noise independent of z; the real t of that noise level, at which x_t has exactly the law of the forward process. With
            rounding="ceil" the next step of the grid, and fresh noise (drawn with key) makes up the difference, so the law stays exact.
            Noise below the schedule's first step is topped up likewise; above its last, x is scaled to unit variance, the nearest that
            exists. "paper": the same x at the first step at least as noisy, without the noise that is missing there (the official
            procedure). "calibrated": x is an estimate of z whose error has variance noise_var < 1 and is uncorrelated with x, as a
            conditional mean's is. Its shrinkage is undone: z plus noise of variance v / (1 - v) is x / (1 - v), so alpha_bar = 1 - v and
            x_t = x / sqrt(1 - v).
        key: Of the fresh noise, where there is any.
        rounding: Of t: "none", "ceil" or "nearest", as in `NoiseSchedule.timestep`.
        gain: What z is multiplied by in a tensor x, in the shapes of noise_var; None is 1. Elements of gain 0 carry nothing. Noise beyond
            the schedule's last step counts as that step's.
        spread: What becomes of noise that differs within a sample (not with "paper"). "element": each element at its own time, t in the
            shape of x, each with exactly its law. "mean": one time, t (B,), for the sample's second moments; x in proportion to its worth;
            the law is exact only on average. "top_up": one time, that of the noisiest element; the others get fresh noise (drawn with key),
            so the law is exact and much is lost.
        shape: Of the latent, (B, ...), beside a Received or Equalized: what `unpack` takes. None: (B, 2 uses).
        scale: (B,), beside a Received or Equalized: the divisor that `normalize_power` returned, which is undone.

    Returns:
        `DiffusionState` (x, t): x in the dtype and on the device of x, t on the CPU. Differentiable in x (y of a Received) alone:
        noise_var, gain, h and scale are detached. noise_var and gain are read on the host, so those on an accelerator are waited for; x is
        not.

    Raises:
        TypeError: x is not real, or another argument of another type.
        ValueError: A negative, infinite or NaN noise variance, other shapes, an unknown word, a gain that is not positive (0 may be among
            the elements'), (calibrated) a gain or a variance of 1 or more, or an argument that does not go with such an x.

    Example:
        >>> import semdiff
        >>> schedule = semdiff.NoiseSchedule.scaled_linear()
        >>> z = semdiff.normal((2, 4, 8, 8), semdiff.Key(0))
        >>> s, scale = semdiff.normalize_power(semdiff.pack(z))
        >>> received = semdiff.AWGN()(s, snr_db=10.0, key=semdiff.Key(1))
        >>> semdiff.match(received, schedule, shape=z.shape, scale=scale)
        DiffusionState(x=float32 (2, 4, 8, 8), t=float64 (2,))
        >>> faded = semdiff.equalize(semdiff.Rayleigh("fast")(s, 10.0, semdiff.Key(1)), "mmse")
        >>> semdiff.match(faded, schedule, shape=z.shape, scale=scale)
        DiffusionState(x=float32 (2, 4, 8, 8), t=float64 (2, 4, 8, 8))
        >>> semdiff.match(z, 0.1, schedule).t.round(decimals=2)
        tensor([87.8000, 87.8000], dtype=torch.float64)
    """
    if is_symbols(x):
        noise_var, schedule = (noise_var, schedule) if schedule is not None else (None, noise_var)
        for name, value in (("noise_var", noise_var), ("gain", gain)):
            if value is not None:
                raise ValueError(f"{name}: expected none beside a {type(x).__name__}, which has it, got {type(value).__name__}")
        if mode == "calibrated":
            raise ValueError("mode: expected exact or paper for received symbols, which are no estimates of known error, got 'calibrated'")
        x, noise_var, gain = observe(x, shape, scale)
    elif shape is not None or scale is not None:
        raise ValueError("shape, scale: expected none beside a tensor x, which has its own (they are for a Received or Equalized)")
    _check(x, schedule, mode, rounding, spread)
    variance = _per_sample_or_element(noise_var, "noise_var", x)
    divisor = None if gain is None else _per_sample_or_element(gain, "gain", x)
    if divisor is not None and divisor.dim() != variance.dim():
        divisor, variance = (v if v.dim() > 1 else _rows(v, x).expand(x.shape) for v in (divisor, variance))
    elements = variance.dim() > 1
    if (elements or gain is not None) and _is_false(variance.isfinite() & (variance >= 0)):
        raise ValueError(f"noise_var: expected finite numbers >= 0, got {_some(variance)}")
    if mode == "calibrated":
        if divisor is not None:
            raise ValueError("gain: expected None in calibrated mode, which knows it: 1 - noise_var")
        variance, divisor = _without_shrinkage(variance)
    elif divisor is not None:
        variance, divisor = _without_gain(variance, divisor)
    if elements and mode == "paper":
        raise ValueError("noise_var: expected shape () or (B,) in paper mode, got one for each element")
    if elements and spread == "mean":
        variance, divisor = _on_average(variance, divisor, x)
    level = variance.flatten(1).amax(1) if elements and spread == "top_up" else variance
    t = schedule.timestep(level, "ceil" if mode == "paper" else rounding)
    signal, missing = _levels(schedule.alpha_bar(t), variance, divisor, x, mode)
    return DiffusionState(ops.diffuse.default(x, signal, missing.sqrt(), key_tensor(key)), t)


def _check(x: Any, schedule: Any, mode: str, rounding: str, spread: str) -> None:
    check_tensor(x, "x")
    check_schedule(schedule)
    if x.dtype not in REAL:
        raise TypeError(f"x: expected a real floating-point tensor (unpack gives one), got {x.dtype}")
    if x.dim() < 1:
        raise ValueError("x: expected shape (B, ...), got ()")
    for name, value, words in (("mode", mode, MatchMode), ("spread", spread, Spread), ("rounding", rounding, Rounding)):
        *most, last = get_args(words)
        if value not in (*most, last):
            raise ValueError(f"{name}: expected {', '.join(most)} or {last}, got {value!r}")


# Each of these returns the variance of the noise of x / divisor, and that divisor: numbers for each sample, (B,), or for each element, the
# shape of x.


def _without_shrinkage(error_var: Tensor) -> tuple[Tensor, Tensor]:
    """For a conditional mean of that error variance."""
    if _is_false(error_var < 1):
        raise ValueError(f"noise_var: expected error variances below 1 in calibrated mode, got {_some(error_var)}")
    kept = 1 - error_var
    return error_var / kept, kept


def _without_gain(variance: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """For a known gain. By hand where it is 0: neither 0 / 0 nor a division by it."""
    if _is_false((gain >= 0 if gain.dim() > 1 else gain > 0) & gain.isfinite()):
        raise ValueError(f"gain: expected finite positive numbers, got {_some(gain)}")
    undone = torch.where(gain > 0, (variance / gain.square()).clamp_max(1e300), _USELESS)
    return undone, torch.where(gain > 0, gain, torch.inf)


def _on_average(variance: Tensor, divisor: Tensor | None, x: Tensor) -> tuple[Tensor, Tensor]:
    """For a sample's second moments: each element in proportion to its worth G, (B,) and the shape of x."""
    worth = alpha_bar_of(variance)  # G; r is worth / gain
    average = worth.flatten(1).mean(1)
    ratio = _rows(average, x) / worth
    return (1 - average) / average, ratio if divisor is None else ratio * divisor


def _levels(a: Tensor, variance: Tensor, divisor: Tensor | None, x: Tensor, mode: MatchMode) -> tuple[Tensor, Tensor]:
    """Return what x is multiplied by to be x_t at alpha_bar = a, and the variance of the noise that is missing there."""
    if variance.dim() > a.dim() or (divisor is not None and divisor.dim() > a.dim()):
        a, variance = (v if v.dim() == x.dim() else _rows(v, x).expand(x.shape) for v in (a, variance))
    if mode == "paper":
        signal, missing = a, torch.zeros_like(a)
    else:
        signal = torch.minimum(a, alpha_bar_of(variance))  # beyond the last step sqrt(a) would leave more variance than x_T has
        missing = (1 - a - signal * variance).clamp_min(0.0)
        missing = torch.where(missing > 1e-12, missing, 0.0)  # rounding errors of an exact match are not worth a random number
    signal = signal.sqrt()
    return (signal if divisor is None else signal / divisor), missing


def _per_sample_or_element(value: float | Tensor, name: str, x: Tensor) -> Tensor:
    """Float64 on the CPU, in the shape (B,) or x's. One for each sample, written (B, 1, ...), is (B,)."""
    given = to_tensor(value, name).detach()
    if given.is_meta:
        raise ValueError(f"{name}: expected a tensor with values (they are read on the host), got one on meta")
    given = given.to("cpu", torch.float64)
    batch = x.shape[0]
    if given.shape in ((), (batch,)):
        return given.expand(batch)
    if given.dim() > 1 and given.shape[0] in (1, batch) and all(n == 1 for n in given.shape[1:]):
        return given.reshape(-1).expand(batch)
    if given.dim() == x.dim() and all(g in (1, n) for g, n in zip(given.shape, x.shape, strict=True)):
        return given.expand(x.shape)
    raise ValueError(f"{name}: expected shape () or ({batch},), or one that broadcasts to {tuple(x.shape)}, got {tuple(given.shape)}")


def _rows(values: Tensor, x: Tensor) -> Tensor:
    """Return (B,) as (B, 1, ...), to multiply x."""
    return values.reshape(-1, *(1,) * (x.dim() - 1))


def _is_false(condition: Tensor) -> bool:
    """Check whether it fails anywhere; never known where torch.compile traces."""
    return not torch.compiler.is_compiling() and not bool(condition.all())


def _some(values: Tensor) -> list[float]:
    """For a message: what is there, but not a latent's thousands."""
    return values.flatten()[:8].tolist()

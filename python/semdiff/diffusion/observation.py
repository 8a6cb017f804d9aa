# SPDX-License-Identifier: Apache-2.0
"""Read what a channel or an equaliser returned as real elements of a latent z: x = gain z + noise, and the variance of that noise.

A received symbol y = h s + n is turned back by the phase of h, which n's law does not feel: conj(h) / |h| y = |h| s + n', n' as n. So the
gain is |h| and the noise keeps its variance N0, which is that of each real element too (`unpack` multiplies by sqrt 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, TypeGuard

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import REAL, check_beside, check_tensor, to_shape
from semdiff._util.complex import power, times
from semdiff._util.elements import unpack_per_symbol

_RECEIVED, _EQUALIZED = ("y", "h", "noise_var"), ("x", "noise_var", "gain")


class ReceivedLike(Protocol):
    """Describe a `Received`: y = h s + n."""

    @property
    def y(self) -> Tensor: ...
    @property
    def h(self) -> Tensor: ...
    @property
    def noise_var(self) -> Tensor: ...


class EqualizedLike(Protocol):
    """Describe an `Equalized`: x = gain s + noise."""

    @property
    def x(self) -> Tensor: ...
    @property
    def noise_var(self) -> Tensor: ...
    @property
    def gain(self) -> Tensor: ...


class Observation(NamedTuple):
    """Hold x (B, ...) = gain z + noise, with noise_var and gain for each sample, (B, 1, ...), or for each element, the shape of x."""

    x: Tensor
    noise_var: Tensor
    gain: Tensor


def is_symbols(value: Any) -> TypeGuard[ReceivedLike | EqualizedLike]:
    """Check whether it is a `Received` or an `Equalized`."""
    return isinstance(value, tuple) and getattr(value, "_fields", None) in (_RECEIVED, _EQUALIZED)


def observe(value: Any, shape: Sequence[int] | None, scale: Tensor | None) -> Observation:
    """Return the real elements, in `shape` and multiplied by `scale`, of a `Received` or an `Equalized`; `match` says what these are."""
    for name, part in zip(value._fields, value, strict=True):
        check_tensor(part, f"x.{name}")
        check_beside(part, f"x.{name}", value[0], f"x.{value._fields[0]}")
    symbols, noise_var, gain = _derotated(value) if value._fields == _RECEIVED else value
    if not symbols.is_complex() or symbols.dim() < 2:
        raise ValueError(f"x: expected complex symbols (B, uses), got {symbols.dtype} of shape {tuple(symbols.shape)}")
    noise_var, gain = (_by_symbol(part.detach(), symbols, name) for part, name in ((noise_var, "x.noise_var"), (gain, "x.gain")))
    silent = noise_var.isinf()  # zero forcing of a gain of zero
    noise_var, gain = torch.where(silent, 1.0, noise_var.double()), torch.where(silent, 0.0, gain.double())
    symbols = symbols.flatten(1)
    if scale is not None:
        check_tensor(scale, "scale")
        check_beside(scale, "scale", symbols, "x")
        if scale.dtype not in REAL or scale.shape != symbols.shape[:1]:
            raise ValueError(f"scale: expected real numbers (B,) of {symbols.shape[0]} samples, got {scale.dtype} {tuple(scale.shape)}")
        if scale.is_cpu and not torch.compiler.is_compiling() and not bool((scale.isfinite() & (scale >= 0)).all()):
            raise ValueError(f"scale: expected finite numbers >= 0, got {scale.tolist()}")
        scale = scale.detach().to(symbols.device)
        symbols, noise_var = symbols * scale.to(symbols.real.dtype)[:, None], noise_var * scale.double().square()[:, None]
    wanted = [len(symbols), 2 * symbols.shape[1]] if shape is None else to_shape(shape, "shape")
    return Observation(ops.unpack(symbols, wanted), unpack_per_symbol(noise_var, wanted), unpack_per_symbol(gain, wanted))


def _derotated(received: ReceivedLike) -> tuple[Tensor, Tensor, Tensor]:
    """Return conj(h) / |h| y, N0 and |h|; y as it is where h is 0."""
    y, h = received.y, received.h.detach()
    if h.dim() > y.dim():
        raise ValueError(f"x: expected one gain for each symbol, got matrices {tuple(h.shape)}; equalize separates the streams of antennas")
    if not (y.is_complex() and h.is_complex()):
        raise TypeError(f"x: expected complex symbols and gains, got {y.dtype} and {h.dtype}")
    gain = power(h.to(torch.complex128)).sqrt()
    _by_symbol(gain, y, "x.h")  # its shape
    phase = torch.where(gain > 0, h.to(torch.complex128).conj() / gain, 1.0)
    return times(phase.to(y.dtype), y), received.noise_var, gain


def _by_symbol(value: Tensor, symbols: Tensor, name: str) -> Tensor:
    """Return what broadcasts to symbols (B, ...) as (B, n), or (B, 1) where one number serves a sample."""
    if value.dtype not in REAL:
        raise TypeError(f"{name}: expected real numbers, got {value.dtype}")
    try:
        each = torch.broadcast_to(value, symbols.shape).flatten(1)
    except RuntimeError:
        raise ValueError(f"{name}: expected a shape that broadcasts to {tuple(symbols.shape)}, got {tuple(value.shape)}") from None
    one_a_sample = all(n == 1 for n in value.shape[1 - symbols.dim() :])
    return each[:, :1] if one_a_sample else each

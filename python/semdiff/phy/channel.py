# SPDX-License-Identifier: Apache-2.0
"""SNR = E|s|^2 / E|n|^2 for complex symbols s of unit average power in each sample; n is circular, E|n|^2 = N0 = 10^(-snr_db/10).

N0 is N0/2 per real dimension of s, and N0 per real element of a latent after `unpack` (which multiplies by sqrt 2). `noise_var` means
that last number everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff._ops import ops
from semdiff._util.arguments import REAL, check_beside, check_tensor, to_shape
from semdiff._util.complex import product, times
from semdiff.rng import KeyLike, key_tensor

_LEAST_DB, _MOST_DB = -150.0, 3000.0


class Received(NamedTuple):
    """What a channel hands to the receiver: y = h s + n."""

    y: Tensor  # complex, the shape of s
    h: Tensor  # complex gain, broadcastable to y
    noise_var: Tensor  # E|n|^2, float64, (B, 1, ...), broadcastable to y


class Equalized(NamedTuple):
    """x = gain * s + noise, and the variance of that noise: each broadcastable to x.

    Where one gain serves a sample, noise_var and gain are (B, 1, ...) and float64; else they have x's shape and precision.
    """

    x: Tensor
    noise_var: Tensor
    gain: Tensor


class Uses(NamedTuple):
    """Complex channel uses of one sample: every one that the air is busy with."""

    payload: int  # uses that carry symbols
    pilots: int = 0  # uses that carry symbols which the receiver knows
    cyclic_prefix: int = 0  # uses that repeat what was sent, so that echoes wrap around

    @property
    def total(self) -> int:
        return sum(self)


def pack(z: Tensor) -> Tensor:
    """Real (B, ...) to complex symbols (B, ceil(n/2)): neighbours (a, b) become (a + ib) / sqrt 2; an odd count is padded with a zero.

    Unit variance in z is unit power in the symbols. TypeError if z is not floating-point.
    """
    check_tensor(z, "z")
    return ops.pack(z)  # type: ignore[no-any-return]


def unpack(s: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `pack`: complex (B, uses) to a real tensor of `shape` (B, ...). ValueError if the counts do not fit."""
    check_tensor(s, "s")
    return ops.unpack(s, to_shape(shape, "shape"))  # type: ignore[no-any-return]


def unpack_per_symbol(values: Tensor, shape: Sequence[int]) -> Tensor:
    """What is known of each symbol (an Equalized's noise_var or gain), for the real elements that `unpack(s, shape)` makes of them.

    values: real, (B, uses), each repeated for the two elements of its symbol: `shape`. Or one for each sample, (B, 1): (B, 1, ...). B may
    be 1 in values. ValueError if the counts do not fit.
    """
    check_tensor(values, "values")
    shape = to_shape(shape, "shape")
    if not shape or any(n < 0 for n in shape):
        raise ValueError(f"shape: expected (B, ...) of numbers >= 0, got {tuple(shape)}")
    if values.is_complex() or (values.is_floating_point() and values.dtype not in REAL) or values.dim() != 2:
        raise ValueError(f"values: expected real numbers of shape (B, uses), got {values.dtype} of shape {tuple(values.shape)}")
    batch, count = shape[0], math.prod(shape[1:])
    uses = (count + 1) // 2
    if values.shape[0] not in (1, batch) or values.shape[1] not in (1, uses):
        raise ValueError(f"values: expected shape ({batch}, {uses}) or ({batch}, 1) for {tuple(shape)}, got {tuple(values.shape)}")
    values = values.expand(batch, -1)
    if values.shape[1] != uses:
        return values.reshape(batch, *(1,) * (len(shape) - 1))
    return values.repeat_interleave(2, 1)[:, :count].reshape(tuple(shape))


def normalize_power(s: Tensor) -> tuple[Tensor, Tensor]:
    """Each sample of s (B, ...), real or complex, divided by its root mean |s|^2; and that divisor, shape (B,), float32 or float64.

    Per sample, so that a result never depends on the rest of the batch. A sample of zeros stays zero and gets scale 0.
    """
    check_tensor(s, "s")
    return ops.normalize_power.default(s)  # type: ignore[no-any-return]


def measured_snr_db(s: Tensor, y: Tensor) -> Tensor:
    """10 log10(sum |s|^2 / sum |y - s|^2) of each sample, float64, shape (B,): what the channel really did. Not differentiable."""
    check_tensor(s, "s")
    check_tensor(y, "y")
    return ops.measured_snr_db.default(s.detach(), y.detach())  # type: ignore[no-any-return]


def check_received(received: Received) -> Received:
    """TypeError unless it is (y, h, noise_var), all tensors."""
    if not isinstance(received, tuple) or len(received) != 3:
        raise TypeError(f"received: expected a Received (y, h, noise_var), got {type(received).__name__}")
    for name, value in zip(Received._fields, received, strict=True):
        check_tensor(value, f"received.{name}")
    y, h, noise_var = received
    check_beside(h, "received.h", y, "received.y")
    check_beside(noise_var, "received.noise_var", y, "received.y")
    return Received(y, h, noise_var)


def without_noise(s: Tensor, h: Tensor) -> Tensor:
    """h s: what s (B, n) is received as where there is no noise. h: a gain that broadcasts to s, or matrices (B, uses, nr, nt), which send
    symbol k from antenna k mod nt: then (B, uses, nr)."""
    if h.dim() <= s.dim():
        return times(h, s)
    antennas = h.shape[-1]
    streams = F.pad(s, (0, -s.shape[1] % antennas)).unflatten(1, (-1, antennas))
    return product(h, streams.unsqueeze(-1)).squeeze(-1)


def noise_variance(snr_db: float | Tensor, s: Tensor) -> Tensor:
    """N0 = 10^(-snr_db/10) for each sample of s: float64, shape (B,).

    TypeError unless snr_db is a number or a floating-point tensor; ValueError unless it is in [-150, 3000] and of shape () or (B,). Below
    that an equaliser's weights, of the order of the SNR squared, leave float32, in which symbols are.
    """
    batch = s.shape[0]
    if isinstance(snr_db, Tensor):
        if snr_db.dtype not in REAL:
            raise TypeError(f"snr_db: expected a number or a floating-point tensor, got {snr_db.dtype}")
        if snr_db.shape not in ((), (batch,)):
            raise ValueError(f"snr_db: expected shape () or ({batch},), got {tuple(snr_db.shape)}")
        check_beside(snr_db, "snr_db", s, "s")
        if not (torch.compiler.is_compiling() or snr_db.is_meta) and not bool(((snr_db >= _LEAST_DB) & (snr_db <= _MOST_DB)).all()):
            raise ValueError(f"snr_db: expected finite numbers, within [{_LEAST_DB:g}, {_MOST_DB:g}] dB, got {snr_db.tolist()}")
        exponent = snr_db.to(s.device, torch.float64) * -0.1
        # torch's power rounds differently in a vector unit and beside it; over a stride it is the scalar one, whatever the place.
        return (10.0 ** torch.stack([exponent, exponent], -1)[..., 0]).expand(batch)
    try:
        value = float(snr_db) if not isinstance(snr_db, (str, bool)) else None
    except (TypeError, ValueError, OverflowError):
        value = None
    if value is None:
        raise TypeError(f"snr_db: expected a number or a floating-point tensor, got {type(snr_db).__name__}")
    if not _LEAST_DB <= value <= _MOST_DB:  # NaN too
        raise ValueError(f"snr_db: expected a finite number, within [{_LEAST_DB:g}, {_MOST_DB:g}] dB, got {value}")
    return torch.full((batch,), 10.0 ** (-0.1 * value), dtype=torch.float64, device=s.device)


def check_symbols(s: Tensor, name: str = "s") -> None:
    check_tensor(s, name)
    if s.dtype not in (torch.complex64, torch.complex128):
        raise TypeError(f"{name}: expected complex symbols (pack makes them from real numbers), got {s.dtype}")
    if s.dim() < 2:
        raise ValueError(f"{name}: expected shape (B, uses), got {tuple(s.shape)}")


class Channel(nn.Module):
    """What every channel is: channel(s, snr_db, key) -> Received, and the uses that it takes.

    s: complex, (B, n), unit power in each sample is the caller's part (`normalize_power`). snr_db: a number or (B,).
    """

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        raise NotImplementedError

    def uses(self, symbols: int) -> Uses:
        """The channel uses that `symbols` symbols of one sample take."""
        return Uses(symbols)


class AWGN(Channel):
    """Additive white Gaussian noise: y = s + n. h is 1.

    s: complex, (B, ...), unit power in each sample is the caller's part (`normalize_power`). snr_db: a number or (B,).
    """

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        check_symbols(s)
        n0 = noise_variance(snr_db, s)
        y = ops.diffuse.default(s, None, n0.sqrt() * math.sqrt(0.5), key_tensor(key))
        per_sample = (s.shape[0],) + (1,) * (s.dim() - 1)
        return Received(y, torch.ones(per_sample, dtype=s.dtype, device=s.device), n0.reshape(per_sample))

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
from semdiff.products import product, times
from semdiff.rng import KeyLike, key_tensor


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
    return ops.pack(z)  # type: ignore[no-any-return]


def unpack(s: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `pack`: complex (B, uses) to a real tensor of `shape` (B, ...). ValueError if the counts do not fit."""
    return ops.unpack(s, list(shape))  # type: ignore[no-any-return]


def unpack_per_symbol(values: Tensor, shape: Sequence[int]) -> Tensor:
    """What is known of each symbol (an Equalized's noise_var or gain), for the real elements that `unpack(s, shape)` makes of them.

    values: real, (B, uses), each repeated for the two elements of its symbol: `shape`. Or one for each sample, (B, 1): (B, 1, ...). B may
    be 1 in values. ValueError if the counts do not fit.
    """
    if values.is_complex() or values.dim() != 2:
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
    return ops.normalize_power.default(s)  # type: ignore[no-any-return]


def measured_snr_db(s: Tensor, y: Tensor) -> Tensor:
    """10 log10(sum |s|^2 / sum |y - s|^2) of each sample, float64, shape (B,): what the channel really did. Not differentiable."""
    return ops.measured_snr_db.default(s.detach(), y.detach())  # type: ignore[no-any-return]


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

    TypeError unless snr_db is a number or a floating-point tensor; ValueError unless it is finite and of shape () or (B,).
    """
    batch = s.shape[0]
    if isinstance(snr_db, Tensor):
        if not snr_db.is_floating_point():
            raise TypeError(f"snr_db: expected a number or a floating-point tensor, got {snr_db.dtype}")
        if snr_db.shape not in ((), (batch,)):
            raise ValueError(f"snr_db: expected shape () or ({batch},), got {tuple(snr_db.shape)}")
        if not torch.compiler.is_compiling() and not bool((snr_db.abs() <= 3000).all()):
            raise ValueError(f"snr_db: expected finite numbers, within +-3000, got {snr_db.tolist()}")
        exponent = snr_db.to(s.device, torch.float64) * -0.1
        # torch's power rounds differently in a vector unit and beside it; over a stride it is the scalar one, whatever the place.
        return (10.0 ** torch.stack([exponent, exponent], -1)[..., 0]).expand(batch)
    try:
        value = float(snr_db) if not isinstance(snr_db, (str, bool)) else None
    except (TypeError, ValueError):
        value = None
    if value is None:
        raise TypeError(f"snr_db: expected a number or a floating-point tensor, got {type(snr_db).__name__}")
    if not abs(value) <= 3000:  # NaN too; beyond this the noise variance would not be a float64
        raise ValueError(f"snr_db: expected a finite number, within +-3000, got {value}")
    return torch.full((batch,), 10.0 ** (-0.1 * value), dtype=torch.float64, device=s.device)


def check_symbols(s: Tensor) -> None:
    if not s.is_complex():
        raise TypeError(f"s: expected complex symbols (pack makes them from real numbers), got {s.dtype}")
    if s.dim() < 2:
        raise ValueError(f"s: expected shape (B, uses), got {tuple(s.shape)}")


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

# SPDX-License-Identifier: Apache-2.0
"""Symbols, noise, and the channels' common form.

SNR = E|s|^2 / E|n|^2 for complex symbols s of unit average power in each sample; n is circular, E|n|^2 = N0 = 10^(-snr_db/10).

N0 is N0/2 per real dimension of s, and N0 per real element of a latent after `unpack` (which multiplies by sqrt 2). `noise_var` means
that last number everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff._ops import ops
from semdiff._util.arguments import REAL, check_beside, check_tensor, to_shape
from semdiff._util.complex import product, times
from semdiff._util.elements import unpack_per_symbol as unpack_per_symbol
from semdiff._util.named_tuples import shown_by_shape, with_field_docs
from semdiff.rng import KeyLike, key_tensor

_LEAST_DB, _MOST_DB = -150.0, 3000.0


@shown_by_shape
class Received(NamedTuple):
    """Hold what a channel hands to the receiver: y = h s + n, and what is known of h and n.

    Attributes:
        y: The received symbols: complex, the shape of the sent s; with several receive antennas (B, uses, nr).
        h: The complex gain that the receiver knows, broadcastable to y; with several antennas a matrix for each use, (B, uses or 1, nr,
            nt).
        noise_var: N0 = E|n|^2 for each complex symbol, float64, (B, 1, ...) or broadcastable to y.

    Example:
        >>> import semdiff
        >>> semdiff.AWGN()(semdiff.pack(semdiff.normal((2, 8), semdiff.Key(0))), 10.0, semdiff.Key(1))
        Received(y=complex64 (2, 4), h=complex64 (2, 1), noise_var=float64 (2, 1))
    """

    y: Tensor
    h: Tensor
    noise_var: Tensor


@shown_by_shape
class Equalized(NamedTuple):
    """Hold what an equaliser makes of a `Received`: x = gain s + noise, and the variance of that noise.

    Where one gain serves a sample, noise_var and gain are (B, 1, ...) and float64; else they have x's shape and its precision.

    Attributes:
        x: The symbols, complex, in the shape of s.
        noise_var: E|noise|^2 for each complex symbol, real, broadcastable to x. Infinite where a symbol says nothing (h = 0) and gain is 1.
        gain: What s is multiplied by, real, broadcastable to x: 1 for zf, below 1 for mmse.

    Example:
        >>> import semdiff
        >>> s = semdiff.pack(semdiff.normal((2, 8), semdiff.Key(0)))
        >>> semdiff.equalize(semdiff.Rayleigh()(s, 10.0, semdiff.Key(1)), "mmse")
        Equalized(x=complex64 (2, 4), noise_var=float64 (2, 1), gain=float64 (2, 1))
    """

    x: Tensor
    noise_var: Tensor
    gain: Tensor


@with_field_docs
class Uses(NamedTuple):
    """Count the complex channel uses of one sample: every one that the air is busy with.

    Attributes:
        payload: Uses that carry symbols.
        pilots: Uses that carry symbols which the receiver knows.
        cyclic_prefix: Uses that repeat what was sent, so that echoes wrap around.

    Example:
        >>> import semdiff
        >>> uses = semdiff.Multipath().uses(100)
        >>> uses, uses.total
        (Uses(payload=100, pilots=0, cyclic_prefix=60), 160)
    """

    payload: int
    pilots: int = 0
    cyclic_prefix: int = 0

    @property
    def total(self) -> int:
        """All uses together."""
        return sum(self)


def pack(z: Tensor) -> Tensor:
    """Pack real numbers into complex symbols: neighbours (a, b) become (a + ib) / sqrt 2.

    Unit variance in z is unit power in the symbols.

    Args:
        z: Real, (B, ...), n numbers a sample. An odd n is padded with a zero.

    Returns:
        Complex, (B, ceil(n / 2)): complex128 for float64, else complex64. Differentiable.

    Raises:
        TypeError: z is not a floating-point tensor.
        ValueError: z has no batch dimension.

    Example:
        >>> import torch, semdiff
        >>> semdiff.pack(torch.zeros(2, 3, 3)).shape
        torch.Size([2, 5])
    """
    check_tensor(z, "z")
    return ops.pack(z)  # type: ignore[no-any-return]


def unpack(s: Tensor, shape: Sequence[int]) -> Tensor:
    """Unpack complex symbols into real numbers: the inverse of `pack`.

    Noise of variance N0 in a complex symbol is noise of variance N0 in each real element, since elements are multiplied by sqrt 2.

    Args:
        s: Complex, (B, uses).
        shape: That of the result, (B, ...), of 2 * uses numbers a sample, or one fewer.

    Returns:
        Real, of `shape`: float64 for complex128, float32 for complex64. Differentiable.

    Raises:
        TypeError: s is not complex, or shape holds other things than integers.
        ValueError: The counts do not fit.

    Example:
        >>> import torch, semdiff
        >>> z = torch.arange(6.0).reshape(1, 2, 3)
        >>> torch.allclose(semdiff.unpack(semdiff.pack(z), z.shape), z)
        True
    """
    check_tensor(s, "s")
    return ops.unpack(s, to_shape(shape, "shape"))  # type: ignore[no-any-return]


def normalize_power(s: Tensor) -> tuple[Tensor, Tensor]:
    """Scale each sample to unit average power.

    Per sample, so that a result never depends on the rest of the batch.

    Args:
        s: (B, ...), real or complex floating-point.

    Returns:
        s divided by its root mean |s|^2, of the shape and dtype of s; and that divisor, shape (B,), float64 for 64-bit parts, else float32.
        A sample of zeros stays zero and has divisor 0. Differentiable.

    Raises:
        TypeError: s is not a floating-point or complex tensor.
        ValueError: s has no batch dimension.

    Example:
        >>> import torch, semdiff
        >>> s, scale = semdiff.normalize_power(torch.full((1, 4), 3.0))
        >>> s, scale
        (tensor([[1., 1., 1., 1.]]), tensor([3.]))
    """
    check_tensor(s, "s")
    return ops.normalize_power.default(s)  # type: ignore[no-any-return]


def measured_snr_db(s: Tensor, y: Tensor) -> Tensor:
    """Measure the signal-to-noise ratio that y = s + n really has: 10 log10(sum |s|^2 / sum |y - s|^2).

    Args:
        s: What was sent, (B, ...), real or complex.
        y: What arrived, of the shape and dtype of s.

    Returns:
        The SNR of each sample in dB, float64, (B,). Not differentiable.

    Raises:
        TypeError: s or y is not a floating-point or complex tensor.
        ValueError: The shapes differ.

    Example:
        >>> import torch, semdiff
        >>> s = torch.ones(1, 4)
        >>> semdiff.measured_snr_db(s, 1.1 * s).round(decimals=3)
        tensor([20.], dtype=torch.float64)
    """
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
    """Return h s, what s (B, n) is received as where there is no noise. h: a gain that broadcasts to s, or matrices (B, uses, nr, nt),
    which send symbol k from antenna k mod nt: then (B, uses, nr)."""
    if h.dim() <= s.dim():
        return times(h, s)
    antennas = h.shape[-1]
    streams = F.pad(s, (0, -s.shape[1] % antennas)).unflatten(1, (-1, antennas))
    return product(h, streams.unsqueeze(-1)).squeeze(-1)


def noise_variance(snr_db: float | Tensor, s: Tensor) -> Tensor:
    """Return N0 = 10^(-snr_db / 10) for each sample of s: float64, shape (B,).

    TypeError unless snr_db is a number or a floating-point tensor; ValueError unless it is in [-150, 3000] and of shape () or (B,). Below
    that an equaliser's weights, of the order of the SNR squared, leave float32, in which symbols are. The values of a tensor on an
    accelerator are not looked at, which would wait for the device.
    """
    batch = s.shape[0]
    if isinstance(snr_db, Tensor):
        if snr_db.dtype not in REAL:
            raise TypeError(f"snr_db: expected a number or a floating-point tensor, got {snr_db.dtype}")
        if snr_db.shape not in ((), (batch,)):
            raise ValueError(f"snr_db: expected shape () or ({batch},), got {tuple(snr_db.shape)}")
        check_beside(snr_db, "snr_db", s, "s")
        looked_at = snr_db.is_cpu and not torch.compiler.is_compiling()
        if looked_at and not bool(((snr_db >= _LEAST_DB) & (snr_db <= _MOST_DB)).all()):
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


def noise_std(noise_var: Tensor) -> Tensor:
    """Return the standard deviation in each real dimension of complex noise, sqrt(N0 / 2).

    The root is NumPy's where it can be. It rounds correctly; torch's may be a library's, whose last bit depends on the CPU.
    """
    if noise_var.is_cpu and not noise_var.requires_grad and not torch.compiler.is_compiling():
        with suppress(RuntimeError, TypeError):  # a tensor that stands for another has no values
            return torch.from_numpy(np.sqrt(noise_var.numpy()) * math.sqrt(0.5))
    return noise_var.sqrt() * math.sqrt(0.5)


def snr_db_of(noise_var: Tensor) -> Tensor:
    """Return the SNR in dB of symbols of unit power with noise of that variance: the inverse of `noise_variance`."""
    return -10 * noise_var.log10()


def by_sample(s: Tensor) -> tuple[int, ...]:
    """Return the shape of one number for each sample of s, (B, 1, ...)."""
    return (s.shape[0],) + (1,) * (s.dim() - 1)


def check_symbols(s: Tensor, name: str = "s") -> None:
    """TypeError unless they are complex, ValueError unless they are (B, uses)."""
    check_tensor(s, name)
    if s.dtype not in (torch.complex64, torch.complex128):
        raise TypeError(f"{name}: expected complex symbols (pack makes them from real numbers), got {s.dtype}")
    if s.dim() < 2:
        raise ValueError(f"{name}: expected shape (B, uses), got {tuple(s.shape)}")


class Channel(nn.Module):
    """Send symbols: the base class of channels, of semdiff's and of your own.

    A channel is called as channel(s, snr_db, key) and returns a `Received`. A class of your own defines `forward` like that, and `uses`
    where it takes more channel uses than symbols. A channel is a module: its tensors are buffers, which follow `.to(device)`. They keep
    their dtype in a channel without parameters, which computes in the precision of the symbols.

    Example:
        >>> import semdiff
        >>> class Louder(semdiff.Channel):
        ...     def forward(self, s, snr_db, key=None):
        ...         return semdiff.AWGN()(s, snr_db + 3.0, key)
        >>> Louder()(semdiff.pack(semdiff.normal((2, 8), semdiff.Key(0))), 7.0, semdiff.Key(1)).noise_var.flatten().round(decimals=4)
        tensor([0.1000, 0.1000], dtype=torch.float64)
    """

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols.

        Args:
            s: Complex, (B, n). Unit power in each sample is the caller's part (`normalize_power`).
            snr_db: The average SNR of a symbol in dB, a number or (B,), within [-150, 3000]. Tensors on an accelerator are not checked.
            key: Of the noise and all else that is random: a `Key`, an integer seed, its tensor, a `torch.Generator`, or None for
                fresh numbers.

        Returns:
            `Received` (y, h, noise_var), on the device of s and in its precision. Differentiable in s.

        Raises:
            TypeError: s is not complex, or snr_db is no number.
            ValueError: A shape does not fit, or snr_db is out of range.
        """
        raise NotImplementedError(f"{type(self).__name__}: expected a method forward(self, s, snr_db, key) that returns a semdiff.Received")

    def uses(self, symbols: int) -> Uses:
        """Count the channel uses that one sample takes.

        Args:
            symbols: The sample's number of symbols.

        Returns:
            The `Uses`.
        """
        return Uses(symbols)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        learned = next(self.parameters(), None) is not None
        super()._apply(fn if learned else lambda tensor: _moved(tensor, fn), recurse)  # type: ignore[no-untyped-call]
        return self


def _moved(tensor: Tensor, fn: Callable[[Tensor], Tensor]) -> Tensor:
    """Return what fn, which module.to() hands to each tensor, makes of it, but for the dtype."""
    real = tensor.dtype.to_real() if tensor.is_complex() else tensor.dtype
    probe = fn(torch.empty(0, dtype=real, device=tensor.device))
    return fn(tensor) if probe.dtype == real else tensor.to(probe.device)


class AWGN(Channel):
    """Add white Gaussian noise: y = s + n, with h = 1.

    Example:
        >>> import semdiff
        >>> s = semdiff.pack(semdiff.normal((2, 8), semdiff.Key(0)))
        >>> received = semdiff.AWGN()(s, snr_db=10.0, key=semdiff.Key(1))
        >>> received
        Received(y=complex64 (2, 4), h=complex64 (2, 1), noise_var=float64 (2, 1))
    """

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols; arguments, result and errors are `Channel.forward`'s. s may be (B, ...). Nothing waits for an accelerator."""
        check_symbols(s)
        n0 = noise_variance(snr_db, s)
        y = ops.diffuse.default(s, None, noise_std(n0), key_tensor(key))
        per_sample = by_sample(s)
        return Received(y, torch.ones(per_sample, dtype=s.dtype, device=s.device), n0.reshape(per_sample))

# SPDX-License-Identifier: Apache-2.0
"""Flat fading: y = h s + n with a complex gain h that the receiver knows, E|h|^2 = 1, so that snr_db is the average SNR.

Rayleigh: h ~ CN(0, 1). Rician: a path of power K / (K + 1) and scatter of power 1 / (K + 1), K their ratio (Rice, 1944; Proakis and
Salehi, "Digital Communications", 5th ed., 2008, ch. 13). h is drawn once for each run of `coherence` symbols of a sample: "block" is one
for the whole sample, "fast" one for each symbol.

With a key, the gains, numbered sample by sample, are the complex numbers of key.split()[0] and the noise is AWGN's with key.split()[1].
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import REAL, to_coherence
from semdiff._util.complex import times
from semdiff._util.named_tuples import describe
from semdiff.phy.channel import Channel, Equalized, Received, by_sample, check_symbols, noise_std, noise_variance
from semdiff.phy.equalizer import EqualizerMethod, kernel_name
from semdiff.rng import KeyLike, key_tensor

Coherence: TypeAlias = Literal["block", "fast"] | int


class _Fading(Channel):
    """Fade with h = los + scatter CN(0, 1)."""

    def __init__(self, los: float, scatter: float, coherence: Coherence) -> None:
        super().__init__()
        self.coherence = to_coherence(coherence, "symbols")
        self.los, self.scatter = los, scatter

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols; arguments, result and errors are `Channel.forward`'s.

        s may be (B, ...). Received.h is (B, 1, ...) where one gain serves a sample, else of the shape of s. ValueError too where a number
        for coherence is above the symbols of a sample.
        """
        run, n0 = self._run(s), noise_variance(snr_db, s)
        y, h = ops.fading.default(s, self.los, self.scatter, noise_std(n0), run, key_tensor(key))
        return Received(y, h, n0.reshape(by_sample(s)))

    def equalized(self, s: Tensor, snr_db: float | Tensor, method: EqualizerMethod = "zf", key: KeyLike = None) -> Equalized:
        """Send symbols and equalise them in one pass that keeps neither y nor h: the same bits as equalize(self(s, snr_db, key), method).

        Args:
            s: As in a call of the channel.
            snr_db: As in a call of the channel.
            method: One of `equalize`'s.
            key: As in a call of the channel.

        Returns:
            `Equalized`. Differentiable in s alone.

        Raises:
            TypeError: As a call of the channel.
            ValueError: As a call of the channel, and as `equalize`.

        Example:
            >>> import semdiff
            >>> s = semdiff.pack(semdiff.normal((2, 8), semdiff.Key(0)))
            >>> semdiff.Rayleigh("fast").equalized(s, 10.0, "mmse", semdiff.Key(1)).gain.shape
            torch.Size([2, 4])
        """
        run, n0 = self._run(s), noise_variance(snr_db, s)
        return Equalized(*ops.fading_equalized.default(s, self.los, self.scatter, n0, run, kernel_name(method), key_tensor(key)))

    def _run(self, s: Tensor) -> int:
        """Return the symbols to a gain; 0 is a whole sample."""
        check_symbols(s)
        if isinstance(self.coherence, str):
            return 0 if self.coherence == "block" else 1
        symbols = math.prod(s.shape[1:])
        if self.coherence > symbols > 0:
            raise ValueError(f"coherence: expected at most the {symbols} symbols of a sample, got {self.coherence}")
        return self.coherence

    def extra_repr(self) -> str:
        return f"coherence={self.coherence!r}"


class Rayleigh(_Fading):
    """Fade without a direct path: y = h s + n with h ~ CN(0, 1), known to the receiver, so that snr_db is the average SNR.

    Args:
        coherence: For how many symbols of a sample one gain lasts: "block" (all of them), "fast" (one), or a number >= 1; a sample's last
            run may be shorter.

    Raises:
        TypeError: coherence is neither text nor an integer.
        ValueError: coherence is another text or below 1.

    Example:
        >>> import semdiff
        >>> s = semdiff.pack(semdiff.normal((2, 8), semdiff.Key(0)))
        >>> semdiff.Rayleigh()(s, 10.0, semdiff.Key(1)).h.shape, semdiff.Rayleigh("fast")(s, 10.0, semdiff.Key(1)).h.shape
        (torch.Size([2, 1]), torch.Size([2, 4]))
    """

    def __init__(self, coherence: Coherence = "block") -> None:
        super().__init__(0.0, 1.0, coherence)


class Rician(_Fading):
    """Fade with a direct path: y = h s + n with h = sqrt(K / (K + 1)) + sqrt(1 / (K + 1)) CN(0, 1), K = 10^(k_db / 10) (Rice, 1944).

    Args:
        k_db: The power of the direct path over that of the scatter, in dB, within +-300.
        coherence: For how many symbols of a sample one gain lasts: "block" (all of them), "fast" (one), or a number >= 1.

    Raises:
        TypeError: k_db is no number, or coherence is neither text nor an integer.
        ValueError: k_db or coherence is out of range.

    Example:
        >>> import semdiff
        >>> channel = semdiff.Rician(6.0, coherence=2)
        >>> channel, channel(semdiff.pack(semdiff.normal((2, 8), semdiff.Key(0))), 10.0, semdiff.Key(1)).h.shape
        (Rician(k_db=6.0, coherence=2), torch.Size([2, 4]))
    """

    def __init__(self, k_db: float, coherence: Coherence = "block") -> None:
        if isinstance(k_db, bool) or not isinstance(k_db, (int, float)):
            raise TypeError(f"k_db: expected a number, got {type(k_db).__name__}")
        if not abs(k_db) <= 300:
            raise ValueError(f"k_db: expected a finite number, within +-300, got {k_db}")
        k = 10.0 ** (k_db / 10)
        super().__init__(math.sqrt(k / (k + 1)), math.sqrt(1 / (k + 1)), coherence)
        self.k_db = float(k_db)

    def extra_repr(self) -> str:
        return f"k_db={self.k_db}, {super().extra_repr()}"


class FixedChannel(Channel):
    """Send through gains of your own, measured, traced or made elsewhere: y = h s + n. E|h|^2 = 1 is the caller's part.

    Args:
        h: A complex number, or a tensor that broadcasts to the symbols: (n,), (B, 1) or (B, n).
        noise_var: N0 = E|n|^2 for each complex symbol: a number, (B,), (B, 1, ...) or the symbols' shape. Where it is given it is what
            counts, and snr_db may be None in a call. None: N0 is 10^(-snr_db / 10), as in other channels.

    Raises:
        TypeError: h is not complex, or noise_var no number.
        ValueError: A value is infinite or NaN, or noise_var is negative; in a call, a shape does not broadcast, or there is no noise.

    Example:
        >>> import torch, semdiff
        >>> s = semdiff.pack(semdiff.normal((2, 8), semdiff.Key(0)))
        >>> channel = semdiff.FixedChannel(torch.tensor([1.0, 1j, -1.0, 0.5j]), noise_var=0.1)
        >>> channel
        FixedChannel(h=complex64 (4,), noise_var=float64 ())
        >>> channel(s, key=semdiff.Key(1)).y.shape
        torch.Size([2, 4])
    """

    h: Tensor
    noise_var: Tensor | None

    def __init__(self, h: complex | Tensor, noise_var: float | Tensor | None = None) -> None:
        super().__init__()
        gain = h if isinstance(h, Tensor) else _complex(h)
        if not gain.is_complex():
            raise TypeError(f"h: expected complex gains, got {gain.dtype}")
        if gain.is_meta:
            raise ValueError("h: expected gains with values, got a tensor on meta")
        if not bool(gain.isfinite().all()):
            raise ValueError("h: expected finite gains, got infinity or NaN")
        self.register_buffer("h", gain.detach(), persistent=False)
        self.register_buffer("noise_var", None if noise_var is None else _variance(noise_var), persistent=False)

    def forward(self, s: Tensor, snr_db: float | Tensor | None = None, key: KeyLike = None) -> Received:
        """Send symbols; arguments, result and errors are `Channel.forward`'s. s may be (B, ...); snr_db may be None beside a noise_var."""
        check_symbols(s)
        if not _broadcasts(self.h, s):
            raise ValueError(f"h: expected a shape that broadcasts to s's {tuple(s.shape)}, got {tuple(self.h.shape)}")
        n0 = self._noise_var(s, snr_db)
        h = self.h.to(s.device, s.dtype)
        y = ops.diffuse.default(times(h, s), None, noise_std(n0), key_tensor(key))
        return Received(y, h, n0)

    def _noise_var(self, s: Tensor, snr_db: float | Tensor | None) -> Tensor:
        """Return N0, (B, 1, ...) or the shape of s."""
        if self.noise_var is None:
            if snr_db is None:
                raise ValueError("snr_db: expected a number or (B,) where noise_var was not given, got None")
            return noise_variance(snr_db, s).reshape(by_sample(s))
        n0 = self.noise_var.to(s.device)
        if n0.shape == (s.shape[0],):
            return n0.reshape(by_sample(s))
        if n0.shape not in ((), by_sample(s), s.shape):
            raise ValueError(f"noise_var: expected shape (), ({s.shape[0]},), {by_sample(s)} or {tuple(s.shape)}, got {tuple(n0.shape)}")
        return n0.expand(by_sample(s)) if n0.dim() == 0 else n0

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={describe(value)}" for name, value in (("h", self.h), ("noise_var", self.noise_var)))


def _by_sample(s: Tensor) -> tuple[int, ...]:
    return (s.shape[0],) + (1,) * (s.dim() - 1)


def _broadcasts(x: Tensor, s: Tensor) -> bool:
    try:
        return bool(torch.broadcast_shapes(x.shape, s.shape) == s.shape)
    except RuntimeError:
        return False


def _complex(h: complex) -> Tensor:
    if isinstance(h, bool) or not isinstance(h, (int, float, complex)):
        raise TypeError(f"h: expected a complex number or tensor, got {type(h).__name__}")
    return torch.tensor(complex(h), dtype=torch.complex128, device="cpu")


def _variance(noise_var: float | Tensor) -> Tensor:
    if not isinstance(noise_var, Tensor):
        if isinstance(noise_var, bool) or not isinstance(noise_var, (int, float)):
            raise TypeError(f"noise_var: expected a number or a floating-point tensor, got {type(noise_var).__name__}")
        noise_var = torch.tensor(float(noise_var), dtype=torch.float64, device="cpu")
    if noise_var.dtype not in REAL:
        raise TypeError(f"noise_var: expected a number or a floating-point tensor, got {noise_var.dtype}")
    if noise_var.is_meta:
        raise ValueError("noise_var: expected numbers with values, got a tensor on meta")
    if not bool((noise_var.isfinite() & (noise_var >= 0)).all()):
        raise ValueError(f"noise_var: expected finite numbers >= 0, got {noise_var.tolist()}")
    return noise_var.detach().double()

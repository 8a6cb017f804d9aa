# SPDX-License-Identifier: Apache-2.0
"""OFDM over a channel of several taps, sample by sample in time: y_k = H_k s_k + n_k on subcarrier k, H_k = sum_l g_l e^(-2 pi j k l / N).

Symbols fill the subcarriers; a unitary inverse FFT, the cyclic prefix, (clipping,) linear convolution with the taps, noise on every sample,
the prefix dropped, a unitary FFT. A prefix at least as long as the echoes makes the linear convolution a circular one, so the product above
is exact. The default profile, 8 taps with power e^(-l/4), 64 subcarriers and a prefix of 16, is that of Yang, Bian, Kim, "OFDM-guided deep
joint source channel coding for wireless multipath fading channels" (arXiv 2109.05194).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from semdiff._ops import ops
from semdiff._util.arguments import to_coherence, to_count, to_finite
from semdiff._util.complex import power, times
from semdiff._util.named_tuples import describe
from semdiff.phy.channel import Channel, Received, Uses, noise_std, noise_variance
from semdiff.phy.hardware import bussgang, check_frame, clip_peaks
from semdiff.rng import KeyLike, complex_normal, key_tensor

_MOST_SUBCARRIERS = 1 << 20


class Multipath(Channel):
    """Send OFDM over a channel of several taps: y = h s + n, h the frequency response at each symbol's subcarrier, known to the receiver.

    One of three channels: `taps` of complex Gaussian gain with powers e^(-l / decay), or with the `powers` given, or the fixed complex
    `gains` given. Their total power is scaled to 1, so that snr_db is the average SNR of a subcarrier. n symbols fill ceil(n / subcarriers)
    OFDM symbols. The last one's free subcarriers carry Gaussian symbols that nobody reads, so that it has the power of the others. The
    prefix's energy comes on top of the symbols' unit power.

    Args:
        taps: Number of taps, 8 if None.
        decay: In taps, above 0; 4 if None.
        powers: Of the taps, (L,), >= 0, instead of taps and decay.
        gains: Of the taps, complex, (L,), instead of taps and decay.
        subcarriers: Of an OFDM symbol, at least the taps.
        cyclic_prefix: In samples, at least taps - 1 and at most an OFDM symbol.
        coherence: "block", one draw of the taps for each sample, or a number: a new one every so many OFDM symbols.
        papr_db: The peak power of a time sample above the average 1, in dB, or None for no clipping. Each symbol's h then has the Bussgang
            gain, and its noise_var |H|^2 times the distortion's variance too, both by the closed form for Gaussian time samples, which an
            OFDM symbol of many independent subcarriers is near to (semdiff.phy.hardware).

    Raises:
        TypeError: An argument of another type.
        ValueError: More than one description, a prefix or a number out of its range, taps that are all zero, and in a call a coherence that
            is longer than the frame.

    Example:
        >>> import semdiff
        >>> channel = semdiff.Multipath(taps=4, subcarriers=16, cyclic_prefix=4)
        >>> channel
        Multipath(taps=4, subcarriers=16, cyclic_prefix=4, coherence='block', papr_db=None)
        >>> channel.uses(24)
        Uses(payload=24, pilots=0, cyclic_prefix=16)
        >>> channel(semdiff.pack(semdiff.normal((2, 48), semdiff.Key(0))), 10.0, semdiff.Key(1))
        Received(y=complex64 (2, 24), h=complex64 (2, 24), noise_var=float64 (2, 1))
    """

    powers: Tensor  # float64 (L,), of sum 1
    gains: Tensor | None  # complex128 (L,), where they are fixed

    def __init__(
        self,
        taps: int | None = None,
        decay: float | None = None,
        *,
        powers: Sequence[float] | Tensor | None = None,
        gains: Sequence[complex] | Tensor | None = None,
        subcarriers: int = 64,
        cyclic_prefix: int = 16,
        coherence: Literal["block"] | int = "block",
        papr_db: float | None = None,
    ) -> None:
        super().__init__()
        given = {"taps or decay": taps is not None or decay is not None, "powers": powers is not None, "gains": gains is not None}
        if sum(given.values()) > 1:
            raise ValueError(f"taps, powers, gains: expected one description, got {' and '.join(k for k, v in given.items() if v)}")
        fixed = None if gains is None else _vector("gains", gains, torch.complex128)
        if fixed is not None:
            powers = fixed.abs().square()
        elif powers is None:
            taps = 8 if taps is None else to_count(taps, "taps", 1, _MOST_SUBCARRIERS)
            decay = 4.0 if decay is None else to_finite(decay, "decay")
            if decay <= 0:
                raise ValueError(f"decay: expected a positive number of taps, got {decay}")
            powers = torch.exp(-torch.arange(taps, dtype=torch.float64, device="cpu") / decay)
        else:
            powers = _vector("powers", powers, torch.float64)
            if bool((powers < 0).any()):
                raise ValueError(f"powers: expected numbers >= 0, got {powers.tolist()}")
        total = float(powers.sum())
        if total == 0:
            raise ValueError(f"{'powers' if gains is None else 'gains'}: expected a tap that is not zero, got {len(powers)} zeros")
        self.register_buffer("powers", powers / total, persistent=False)
        self.register_buffer("gains", None if fixed is None else fixed / math.sqrt(total), persistent=False)
        self.subcarriers = to_count(subcarriers, "subcarriers", 1, _MOST_SUBCARRIERS)
        self.cyclic_prefix = to_count(cyclic_prefix, "cyclic_prefix", 0)
        if not len(self.powers) - 1 <= self.cyclic_prefix <= self.subcarriers or len(self.powers) > self.subcarriers:
            raise ValueError(
                f"cyclic_prefix: expected at least taps - 1 = {len(self.powers) - 1} and at most subcarriers = {self.subcarriers}, "
                f"got {self.cyclic_prefix}"
            )
        self.coherence = to_coherence(coherence, "OFDM symbols", ("block",))
        self.papr_db = None if papr_db is None else to_finite(papr_db, "papr_db")

    def uses(self, symbols: int) -> Uses:
        """Count the symbols as payload; as cyclic_prefix the prefixes, and the subcarriers of the last OFDM symbol that are left over.

        Arguments and result are `Channel.uses`'.
        """
        blocks = -(-symbols // self.subcarriers)
        return Uses(symbols, cyclic_prefix=blocks * (self.subcarriers + self.cyclic_prefix) - symbols)

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols (B, n); arguments, result and errors are `Channel.forward`'s."""
        check_frame(s)
        n0 = noise_variance(snr_db, s)
        taps_key, noise_key, filler_key = ops.key_split.default(key_tensor(key), 3).unbind()
        batch, symbols = s.shape
        size, prefix = self.subcarriers, self.cyclic_prefix
        blocks = -(-symbols // size)
        taps = self._taps(batch, blocks, taps_key, s)
        noise_var = n0[:, None]
        if s.numel() == 0:  # torch has no FFT of nothing
            return Received(s.clone(), torch.ones_like(s), noise_var if self.papr_db is None else noise_var.expand(s.shape))

        h = torch.fft.fft(taps, size).flatten(1)[:, :symbols]
        filler = complex_normal((batch, blocks * size - symbols), filler_key, s.dtype, s.device)
        x = torch.fft.ifft(torch.cat([s, filler], 1).view(batch, blocks, size), norm="ortho")
        if self.papr_db is not None:
            x = clip_peaks(x, self.papr_db)
            gain, distortion = (v.to(s.device) for v in bussgang(self.papr_db))
            noise_var = noise_var + power(h).double() * distortion
            h = h * gain.to(h.real.dtype)
        heard = _convolve(torch.cat([x[..., size - prefix :], x], -1), taps)
        heard = ops.diffuse.default(heard, None, noise_std(n0), noise_key)
        y = torch.fft.fft(heard[..., prefix:], norm="ortho").flatten(1)[:, :symbols]
        return Received(y, h, noise_var)

    def _taps(self, batch: int, blocks: int, key: Tensor, s: Tensor) -> Tensor:
        """Return the taps during each OFDM symbol, (batch, blocks, L)."""
        if isinstance(self.coherence, int) and self.coherence > blocks:
            raise ValueError(f"coherence: expected at most the {blocks} OFDM symbols of the frame, got {self.coherence}")
        if self.gains is not None:
            return self.gains.to(s).expand(batch, blocks, -1)
        length = self.coherence if isinstance(self.coherence, int) else max(blocks, 1)
        draws = -(-blocks // length)
        drawn = complex_normal((batch, draws, len(self.powers)), key, s.dtype, s.device) * self.powers.sqrt().to(s.device, s.real.dtype)
        return drawn.repeat_interleave(length, 1)[:, :blocks]

    def extra_repr(self) -> str:
        which = f"taps={len(self.powers)}" if self.gains is None else f"gains={describe(self.gains)}"
        rest = ("subcarriers", "cyclic_prefix", "coherence", "papr_db")
        return ", ".join([which, *(f"{name}={getattr(self, name)!r}" for name in rest)])


def _convolve(x: Tensor, taps: Tensor) -> Tensor:
    """Return y_t = sum_l g_l x_(t-l) over a stream of OFDM symbols (B, blocks, length), each heard through its own taps (B, blocks, L)."""
    stream = x.flatten(1)
    y = times(taps[..., :1], x)
    for delay in range(1, taps.shape[-1]):
        late = pad(stream, (delay, 0))[:, : stream.shape[1]].view(x.shape)
        y = y + times(taps[..., delay : delay + 1], late)
    return y


def _vector(name: str, values: Sequence[complex] | Tensor, dtype: torch.dtype) -> Tensor:
    try:
        vector = torch.as_tensor(values, dtype=dtype, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected a sequence of numbers, got {values!r}") from None
    if vector.dim() != 1 or len(vector) == 0:
        raise ValueError(f"{name}: expected shape (taps,), got {tuple(vector.shape)}")
    if not bool(vector.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers, got {vector.tolist()}")
    return vector

# SPDX-License-Identifier: Apache-2.0
"""Channel state information: what the receiver knows of the gain and of the noise, and what it costs to know it.

Pilots are symbols of unit power that the receiver knows. The least-squares estimate of a gain from m of them is h + e, e ~ CN(0, N0 / m).
An L-tap channel's response at N subcarriers is H = F g with F^H F = N I, so in the taps' domain m pilots on each subcarrier see
g + CN(0, v I), v = N0 / (m N). The linear minimum mean squared error estimate for taps of known powers p shrinks each by p / (p + v), and
leaves an error of variance sum p v / (p + v) on each subcarrier. A scalar gain is L = N = p = 1: shrunk by 1 / (1 + N0 / m).
(Kay, "Fundamentals of Statistical Signal Processing: Estimation Theory", 1993, chapter 12.)
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from semdiff._ops import ops
from semdiff._util.arguments import REAL, check_tensor, to_count, to_finite
from semdiff._util.complex import times
from semdiff.phy.channel import Channel, Received, Uses, normalize_power
from semdiff.phy.hardware import HardwareImpairments, Wrapper, bussgang, check_frame, innermost
from semdiff.phy.multipath import Multipath
from semdiff.rng import Key, KeyLike, complex_normal, key_tensor, normal

SMALLEST_NOISE_VAR = 1e-3  # 30 dB
_PILOTS = Key(0)  # the draw that both ends know


class Pilots(Wrapper):
    """Let the receiver estimate the gain from pilots, which are sent with the payload through one realisation of the channel.

    `count` pilots precede the payload, or each `every` symbols of it. Received.h is the estimate. noise_var is larger by the variance of
    its error, since y = h_hat s + (h - h_hat) s + n: the variance over all channels. With "lmmse" and Gaussian gains it is that for the
    h_hat at hand too; with "ls" error and h_hat are not independent. (The formulas are at the top of semdiff.phy.csi.)

    Args:
        channel: The channel around which this goes: of scalar gains that last from the pilots to the payload.
        count: Pilots at a time, 1 to 2^20; over Multipath OFDM symbols of pilots.
        method: "ls", least squares, takes no knowledge of the channel; "lmmse" takes its gains for complex Gaussian of unit power, over
            Multipath with its power-delay profile.
        every: Symbols of payload between pilots, over Multipath OFDM symbols; None: pilots only at the beginning.

    Raises:
        TypeError: channel is no `Channel`, or count or every is no integer.
        ValueError: count < 1; a channel that fades with every symbol or within a group of count + every, one of several antennas, or one
            that clips single-carrier symbols (HardwareImpairments goes around Pilots for that).

    Example:
        >>> import semdiff
        >>> channel = semdiff.Pilots(semdiff.Rayleigh(), 2, "lmmse", every=8)
        >>> channel.uses(16)
        Uses(payload=16, pilots=4, cyclic_prefix=0)
        >>> channel(semdiff.pack(semdiff.normal((3, 32), semdiff.Key(0))), 10.0, semdiff.Key(1))
        Received(y=complex64 (3, 16), h=complex64 (3, 16), noise_var=float64 (3, 16))
    """

    _powers: Tensor  # of the taps, float64 (L,)

    def __init__(self, channel: Channel, count: int = 1, method: Literal["ls", "lmmse"] = "ls", *, every: int | None = None) -> None:
        super().__init__(channel)
        self.count = to_count(count, "count", 1, 1 << 20)
        self.every = None if every is None else to_count(every, "every", 1)
        if method not in ("ls", "lmmse"):
            raise ValueError(f"method: expected ls or lmmse, got {method!r}")
        self.method = method
        inner = innermost(channel)
        if hasattr(inner, "nt"):
            raise ValueError("channel: expected scalar gains, got a channel of several antennas")
        if any(isinstance(m, HardwareImpairments) and m.papr_db is not None for m in channel.modules()):
            raise ValueError("channel: expected one that does not clip (pilots of one magnitude are not cut as a payload is): clip outside")
        coherence = getattr(inner, "coherence", "block")
        if coherence == "fast":
            raise ValueError("channel: expected gains that last from the pilots to the payload, got coherence 'fast'")
        if isinstance(coherence, int) and (self.every is None or coherence % (self.count + self.every)):
            raise ValueError(f"every: expected count + every to divide the channel's coherence {coherence}, got {count} + {every}")
        self._width, powers = 1, torch.ones(1, dtype=torch.float64, device="cpu")
        if isinstance(inner, Multipath):
            self._width, powers = inner.subcarriers, inner.powers.cpu()
            if inner.papr_db is not None:
                powers = powers * bussgang(inner.papr_db).gain.square()
        self.register_buffer("_powers", powers, persistent=False)

    def uses(self, symbols: int) -> Uses:
        """Count what the channel takes for the whole frame, with the pilots among its symbols as pilots; as `Channel.uses`."""
        pilots = self._groups(symbols)[0] * self.count * self._width
        whole_frame = self.channel.uses(symbols + pilots)
        return whole_frame._replace(payload=whole_frame.payload - pilots, pilots=whole_frame.pilots + pilots)

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols (B, n) with pilots among them; arguments, result and errors are `Channel.forward`'s."""
        check_frame(s)
        batch, symbols = s.shape
        groups, span = self._groups(symbols)
        each, free = self.count * self._width, groups * span - symbols
        known = self._known(s)
        frame = torch.cat([known.expand(batch, groups, each), pad(s, (0, free)).view(batch, groups, span)], -1)
        y, _, noise_var = self.send(frame.flatten(1)[:, : groups * each + symbols], snr_db, key)

        seen = pad(y, (0, free)).view(batch, groups, each + span)
        variances = pad(noise_var.expand(y.shape), (0, free)).view(batch, groups, each + span)
        h, error = self._estimate(times(seen[..., :each], known.conj()), variances[..., :each].mean(-1, keepdim=True))
        y = seen[..., each:].flatten(1)[:, :symbols]
        if self._width == groups == 1 == noise_var.shape[-1]:  # one gain for a sample: (B, 1), as block fading has it
            return Received(y, h[:, 0], noise_var + error[:, 0])
        h = h[..., torch.arange(span, device=s.device) % self._width].flatten(1)[:, :symbols]
        return Received(y, h, (variances[..., each:] + error).flatten(1)[:, :symbols])

    def _groups(self, symbols: int) -> tuple[int, int]:
        """Return how many groups of pilots and payload a frame has, and the payload's symbols in each."""
        span = max(symbols, 1) if self.every is None else min(self.every * self._width, max(symbols, 1))
        return max(-(-symbols // span), 1), span

    def _known(self, s: Tensor) -> Tensor:
        """Make the pilots: random quarter turns, which clipping and OFDM treat as they treat a payload."""
        signs = normal((self.count * self._width, 2), _PILOTS, s.real.dtype, s.device).sign()
        pilots: Tensor = torch.view_as_complex(signs) * 0.5**0.5
        return pilots

    def _estimate(self, h: Tensor, noise_var: Tensor) -> tuple[Tensor, Tensor]:
        """Estimate the gains (B, groups, width) from h + noise at each pilot, and the error's variance (B, groups, 1)."""
        h = sum(h.unflatten(-1, (self.count, self._width)).unbind(2)) / self.count
        if self.method == "ls":
            return h, noise_var / self.count
        powers = self._powers.to(noise_var.device)
        v = noise_var / (self.count * self._width)
        shrink = powers / (powers + v)
        if self._width == 1:
            return h * shrink.to(h.real.dtype), shrink * v
        taps = torch.fft.ifft(h)[..., : len(powers)] if h.numel() else h[..., : len(powers)]
        h = torch.fft.fft(taps * shrink.to(h.real.dtype), self._width) if h.numel() else h
        return h, (shrink * v).sum(-1, keepdim=True)

    def extra_repr(self) -> str:
        return f"count={self.count}, method={self.method!r}, every={self.every}"


class ImperfectCSI(Wrapper):
    """Tell the receiver wrong things of the channel, which it takes for true.

    Args:
        channel: The channel around which this goes.
        error_var: Received.h is off by CN(0, error_var), drawn for each gain that h holds; >= 0.
        snr_offset_db: noise_var is that of an SNR which is so much too high, in dB.

    Raises:
        TypeError: channel is no `Channel`, or a number is none.
        ValueError: A number is not finite, or error_var is negative.

    Example:
        >>> import semdiff
        >>> channel = semdiff.ImperfectCSI(semdiff.Rayleigh(), error_var=0.01, snr_offset_db=3.0)
        >>> channel(semdiff.pack(semdiff.normal((1, 32), semdiff.Key(0))), 7.0, semdiff.Key(1)).noise_var.round(decimals=3)
        tensor([[0.1000]], dtype=torch.float64)
    """

    def __init__(self, channel: Channel, error_var: float = 0.0, snr_offset_db: float = 0.0) -> None:
        super().__init__(channel)
        self.error_var = to_finite(error_var, "error_var", 0)
        self.snr_offset_db = to_finite(snr_offset_db, "snr_offset_db")

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols; arguments, result and errors are `Channel.forward`'s."""
        channel_key, error_key = ops.key_split.default(key_tensor(key), 2).unbind()
        y, h, noise_var = self.channel(s, snr_db, channel_key)
        if self.error_var:
            h = h + complex_normal(h.shape, error_key, h.dtype, h.device) * self.error_var**0.5
        return Received(y, h, noise_var * 10 ** (-self.snr_offset_db / 10))

    def extra_repr(self) -> str:
        return f"error_var={self.error_var}, snr_offset_db={self.snr_offset_db}"


def estimate_noise_var(y: Tensor, h: Tensor | None = None) -> Tensor:
    """Estimate N0 of each sample from the power of what was received: mean |y|^2 - mean |h|^2, and 1e-3 where that is less.

    Over n uses of one gain its standard deviation is sqrt((2 |h|^2 N0 + N0^2) / n), before the floor: at 20 dB and |h| = 1 that is
    N0 itself where n = 201, so a good channel takes long to know. Where |h| varies within a sample, the symbols' own powers add
    mean (|h|^2 - mean |h|^2)^2 var |s|^2 / n to the variance.

    Args:
        y: Received symbols, complex (B, uses), from symbols whose power in each sample is exactly 1 (`normalize_power`).
        h: Their gain, complex or real, broadcastable to y; 1 if None.

    Returns:
        The estimate, float64, (B,). Not differentiable.

    Raises:
        TypeError: y is not complex, or h no tensor of gains.
        ValueError: y has no use, or h does not broadcast to y or is on another device.

    Example:
        >>> import semdiff
        >>> s, _ = semdiff.normalize_power(semdiff.pack(semdiff.normal((2, 20000), semdiff.Key(0))))
        >>> semdiff.estimate_noise_var(semdiff.AWGN()(s, 3.0, semdiff.Key(1)).y).round(decimals=1)
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    check_frame(y, "y")
    if y.shape[1] == 0:
        raise ValueError(f"y: expected at least one use, got shape {tuple(y.shape)}")
    gain: Tensor | float = 1.0
    if h is not None:
        check_tensor(h, "h")
        if h.is_floating_point() and h.dtype not in REAL:
            raise TypeError(f"h: expected complex gains, got {h.dtype}")
        if h.device != y.device:
            raise ValueError(f"h: expected the device of y, {y.device}, got {h.device}")
        try:
            gain = _power(h.expand(y.shape))
        except RuntimeError:
            raise ValueError(f"h: expected a shape that broadcasts to y's {tuple(y.shape)}, got {tuple(h.shape)}") from None
    return (_power(y) - gain).clamp_min(SMALLEST_NOISE_VAR)


def _power(x: Tensor) -> Tensor:
    """Return mean |x|^2 of each sample, summed in the same order for any batch and number of threads."""
    return normalize_power(x.detach().to(torch.complex128))[1].square()


class BlindNoise(Wrapper):
    """Let the receiver estimate the noise from what it received: noise_var is `estimate_noise_var(y, h)`, one number a sample.

    Args:
        channel: The channel around which this goes, of scalar gains.

    Raises:
        TypeError: channel is no `Channel`.

    Example:
        >>> import semdiff
        >>> s, _ = semdiff.normalize_power(semdiff.pack(semdiff.normal((2, 20000), semdiff.Key(0))))
        >>> semdiff.BlindNoise(semdiff.Rayleigh())(s, 10.0, semdiff.Key(1)).noise_var.round(decimals=2)
        tensor([[0.1000],
                [0.1100]], dtype=torch.float64)
    """

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols (B, n); arguments, result and errors are `Channel.forward`'s."""
        y, h, _ = self.send(s, snr_db, key)
        return Received(y, h, estimate_noise_var(y, h)[:, None])

# SPDX-License-Identifier: Apache-2.0
"""What radio hardware does to symbols of unit power: clipping at the transmitter, a drifting oscillator at the receiver.

Clipping a complex Gaussian x of unit power at the magnitude A gives alpha x + d, d uncorrelated with x (Bussgang's theorem), with
    alpha = 1 - e^(-A^2) + sqrt(pi) A / 2 erfc(A),   E|alpha x + d|^2 = 1 - e^(-A^2),   E|d|^2 = 1 - e^(-A^2) - alpha^2
(Dardari, Tralli, Vaccari, "A theoretical characterization of nonlinear distortion effects in OFDM systems", IEEE Trans. Commun. 48, 2000).
A free-running oscillator's phase is a Wiener process: phi_k = w_1 + ... + w_k, so E e^(j phi_k) = e^(-k sigma^2 / 2).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import to_finite
from semdiff._util.complex import power, times
from semdiff.phy.channel import Channel, Received, Uses, check_symbols
from semdiff.rng import KeyLike, key_tensor, normal


class Bussgang(NamedTuple):
    """Hold the gain and E|d|^2 of clip_peaks(x) = gain * x + d, float64."""

    gain: Tensor
    distortion: Tensor


def clip_peaks(s: Tensor, papr_db: float) -> Tensor:
    """Cut magnitudes above A = 10^(papr_db / 20) to A and keep the phases: the peak power is papr_db above the average, which is 1."""
    peak = 10 ** (to_finite(papr_db, "papr_db") / 10)
    return s * (power(s) / peak).clamp_min(1).rsqrt()


def bussgang(papr_db: float) -> Bussgang:
    """Return what `clip_peaks` does to complex Gaussian symbols of unit power."""
    a = torch.tensor(10 ** (to_finite(papr_db, "papr_db") / 20), dtype=torch.float64, device="cpu")
    kept = -torch.expm1(-a.square())
    gain = kept + 0.5 * math.sqrt(math.pi) * a * torch.erfc(a)
    return Bussgang(gain, (kept - gain.square()).clamp_min(0))


def phase_noise(batch: int, uses: int, std: float, key: KeyLike = None, device: torch.device | str = "cpu") -> Tensor:
    """Draw Wiener phases in radians, float64 (batch, uses): 0 at the first use, a normal step of deviation std from each to the next."""
    steps = normal((batch, uses), key, torch.float64, device) * to_finite(std, "std", 0)
    steps[:, :1] = 0
    return steps.cumsum(1)


def frequency_offset(uses: int, cycles: float, device: torch.device | str = "cpu") -> Tensor:
    """Return phases in radians, float64 (uses,): 2 pi cycles k at use k. cycles: the offset in cycles per use, hertz / symbol rate."""
    turns = torch.arange(uses, dtype=torch.float64, device=device) * to_finite(cycles, "cycles")
    return 2 * math.pi * (turns - turns.round())


def rotate(y: Tensor, phase: Tensor) -> Tensor:
    """Return y e^(j phase)."""
    return times(y, torch.complex(phase.cos(), phase.sin()).to(y.dtype))


class Wrapper(Channel):
    """Send through another channel, with something changed."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        if not isinstance(channel, Channel):
            raise TypeError(f"channel: expected a Channel, got {type(channel).__name__}")
        self.channel = channel

    def uses(self, symbols: int) -> Uses:
        """Count what the channel within takes; as `Channel.uses`."""
        return self.channel.uses(symbols)

    def send(self, s: Tensor, snr_db: float | Tensor, key: KeyLike) -> Received:
        """Return what the channel within makes of s, held to one received symbol for each that was sent."""
        check_frame(s)
        received: Received = self.channel(s, snr_db, key)
        if received.y.shape != s.shape:
            raise ValueError(f"channel: expected scalar gains, y of shape {tuple(s.shape)} as s, got {tuple(received.y.shape)}")
        return received


class HardwareImpairments(Wrapper):
    """Add hardware that the receiver does not track to a single-carrier channel: y = e^(j phi_k) (h clip(s) + n).

    Received.h is what the receiver believes: the channel's h without the rotation, times the Bussgang gain. noise_var has the distortion's
    |h|^2 E|d|^2 too, both by the formulas for Gaussian symbols (at the top of semdiff.phy.hardware); it says nothing of the rotation.
    Around an estimated gain it is a little high: clipped symbols have less power for the estimate's error to multiply.

    Args:
        channel: The channel around which this goes: of scalar gains and one carrier. Multipath, whose symbols are not what its hardware
            sends, clips by itself.
        phase_noise: The deviation of the Wiener phase's step from use to use, in radians, >= 0. The phase is 0 at the first use.
        frequency_offset: Of the receiver's oscillator, in cycles per use.
        papr_db: The transmitter's peak power above the average 1, in dB; None for no clipping.

    Raises:
        TypeError: channel is no `Channel`, or a number is none.
        ValueError: A number out of its range, a channel with subcarriers, or (in a call) one of several antennas.

    Example:
        >>> import semdiff
        >>> channel = semdiff.HardwareImpairments(semdiff.AWGN(), phase_noise=0.01, papr_db=3.0)
        >>> received = channel(semdiff.pack(semdiff.normal((1, 64), semdiff.Key(0))), 20.0, semdiff.Key(1))
        >>> round(float(received.h.real[0, 0]), 3), received.noise_var.round(decimals=3)
        (0.921, tensor([[0.0250]], dtype=torch.float64))
    """

    def __init__(self, channel: Channel, phase_noise: float = 0.0, frequency_offset: float = 0.0, papr_db: float | None = None) -> None:
        super().__init__(channel)
        if hasattr(innermost(channel), "subcarriers"):
            raise ValueError("channel: expected a single-carrier channel (Multipath has papr_db of its own), got one with subcarriers")
        self.phase_noise = to_finite(phase_noise, "phase_noise", 0)
        self.frequency_offset = to_finite(frequency_offset, "frequency_offset")
        self.papr_db = None if papr_db is None else to_finite(papr_db, "papr_db")

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols (B, n); arguments, result and errors are `Channel.forward`'s."""
        check_frame(s)
        channel_key, phase_key = ops.key_split.default(key_tensor(key), 2).unbind()
        y, h, noise_var = self.send(s if self.papr_db is None else clip_peaks(s, self.papr_db), snr_db, channel_key)
        if self.papr_db is not None:
            gain, distortion = (x.to(s.device) for x in bussgang(self.papr_db))
            noise_var = noise_var + power(h).double() * distortion
            h = h * gain.to(h.real.dtype)
        if self.phase_noise or self.frequency_offset:
            phase = frequency_offset(s.shape[1], self.frequency_offset, s.device)
            y = rotate(y, phase + phase_noise(s.shape[0], s.shape[1], self.phase_noise, phase_key, s.device))
        return Received(y, h, noise_var)

    def extra_repr(self) -> str:
        return f"phase_noise={self.phase_noise}, frequency_offset={self.frequency_offset}, papr_db={self.papr_db}"


def innermost(channel: Channel) -> Channel:
    """Return the channel within all wrappers."""
    while isinstance(channel, Wrapper):
        channel = channel.channel
    return channel


def check_frame(s: Tensor, name: str = "s") -> None:
    """TypeError unless they are complex symbols, ValueError unless they are (B, uses)."""
    check_symbols(s, name)
    if s.dim() != 2:
        raise ValueError(f"{name}: expected shape (B, uses), got {tuple(s.shape)}")

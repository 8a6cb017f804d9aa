# SPDX-License-Identifier: Apache-2.0
"""Several antennas at both ends: y = H x + n for each use, H of shape (nr, nt).

POWER CONVENTION: each transmit antenna sends unit power on average, nt in all; E|H_ij|^2 = 1; the noise is N0 = 10^(-snr_db/10) for each
receive antenna. So `snr_db` is that of one antenna heard alone, a receive antenna hears nt times as much, and total power is nt whatever
the precoding: a comparison at equal total power lowers `snr_db` by 10 log10(nt).

Precoding by the singular value decomposition H = U S V^H (Telatar, "Capacity of multi-antenna Gaussian channels", 1999): the transmitter
sends x = V sqrt(P) s, the receiver takes U^H y = S sqrt(P) s + U^H n, and U^H n has the law of n. What is left is min(nt, nr) scalar
channels.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import to_coherence, to_count
from semdiff._util.complex import product
from semdiff.phy.channel import Channel, Received, Uses, check_symbols, noise_variance
from semdiff.rng import KeyLike, complex_normal, key_tensor

Precoding = Literal["equal", "waterfilling", "equalizing"]
_PRECODINGS = (None, "equal", "waterfilling", "equalizing")


class MIMO(Channel):
    """Send with nt antennas and receive with nr: y = H x + n.

    Each transmit antenna sends unit power on average, nt in all; E|H_ij|^2 = 1; the noise is N0 = 10^(-snr_db / 10) for each receive
    antenna, so one hears nt times `snr_db`.

    Without precoding only the receiver knows H. Symbol k leaves antenna k % nt at use k // nt; the last use is padded with zeros. Received
    has the matrix form, y (B, uses, nr) and h (B, uses or 1, nr, nt), which `equalize` takes.

    With precoding both ends know H. Symbol k is stream k % m of use k // m, m = min(nt, nr), the strongest stream first. Received has the
    scalar form, y (B, n) and h (B, n), which is real and not negative: the stream's gain s_i sqrt(p_i), with sum p_i = nt.

    Args:
        nt: Transmit antennas, 1 to 4096.
        nr: Receive antennas, 1 to 4096.
        precoding: None. "equal": p_i = nt / m. "waterfilling": the p that maximise sum log2(1 + p_i s_i^2 / N0); a stream without power has
            h = 0: zf has an infinite noise variance there, mmse gain 0. "equalizing": p_i proportional to s_i^-2: all streams have SNR
            nt snr / sum_j s_j^-2, and all are silent if H is rank-deficient. (Telatar, 1999.)
        correlation: c in [-1, 1] gives antennas i, j of an end the correlation c^|i-j|: H = R_r^(1/2) W R_t^(1/2), the Kronecker model with
            exponential correlation (Loyka, 2001). A pair is (transmitter's, receiver's).
        coherence: "block": one H a sample; "fast": one a use; an integer: H lasts that many uses, or for the frame where that is shorter.

    Raises:
        TypeError: An argument of another type.
        ValueError: An argument out of its range.

    Example:
        >>> import semdiff
        >>> s = semdiff.pack(semdiff.normal((2, 16), semdiff.Key(0)))
        >>> semdiff.MIMO(2, 3)(s, 10.0, semdiff.Key(1))
        Received(y=complex64 (2, 4, 3), h=complex64 (2, 1, 3, 2), noise_var=float64 (2, 1, 1))
        >>> semdiff.MIMO(2, 2, "waterfilling")(s, 10.0, semdiff.Key(1))
        Received(y=complex64 (2, 8), h=complex64 (2, 8), noise_var=float64 (2, 1))
    """

    def __init__(
        self,
        nt: int,
        nr: int,
        precoding: Precoding | None = None,
        correlation: float | tuple[float, float] = 0.0,
        coherence: Literal["block", "fast"] | int = "block",
    ) -> None:
        super().__init__()
        self.nt, self.nr = to_count(nt, "nt", 1, 4096), to_count(nr, "nr", 1, 4096)
        if precoding not in _PRECODINGS:
            raise ValueError(f"precoding: expected None, equal, waterfilling or equalizing, got {precoding!r}")
        self.precoding = precoding
        self.correlation = _pair(correlation)
        self.coherence = to_coherence(coherence, "uses")

    @property
    def streams(self) -> int:
        """The symbols that one use carries."""
        return self.nt if self.precoding is None else min(self.nt, self.nr)

    def uses(self, symbols: int) -> Uses:
        """Count the uses, each of which carries `streams` symbols; as `Channel.uses`."""
        return Uses(-(-symbols // self.streams))

    def draw(
        self, batch: int, blocks: int, key: KeyLike = None, dtype: torch.dtype = torch.complex64, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Draw H: CN(0, 1) entries, correlated as asked.

        Args:
            batch: Samples.
            blocks: Matrices for each sample.
            key: Of the draw.
            dtype: complex64 or complex128.
            device: Of the result.

        Returns:
            Complex, (batch, blocks, nr, nt).

        Example:
            >>> import semdiff
            >>> semdiff.MIMO(2, 3).draw(4, 1, semdiff.Key(0)).shape
            torch.Size([4, 1, 3, 2])
        """
        h = complex_normal((batch, blocks, self.nr, self.nt), key, dtype, device)
        transmitter, receiver = self.correlation
        if receiver != 0:
            h = product(_root(receiver, self.nr).to(h), h)
        if transmitter != 0:
            h = product(h, _root(transmitter, self.nt).to(h).mT)
        return h

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols (B, n); arguments and errors are `Channel.forward`'s, Received is as the class says."""
        check_symbols(s)
        if s.dim() != 2:
            raise ValueError(f"s: expected shape (B, n), got {tuple(s.shape)}")
        n0 = noise_variance(snr_db, s)
        h_key, n_key = ops.key_split.default(key_tensor(key), 2).unbind()
        (batch, symbols), uses = s.shape, self.uses(s.shape[1]).payload
        lasts = self._lasts(uses)
        h = self.draw(batch, max(-(-uses // lasts), 1), h_key, s.dtype, s.device)
        if self.precoding is None:
            x = torch.nn.functional.pad(s, (0, uses * self.nt - symbols)).reshape(batch, uses, self.nt, 1)
            h = _over_uses(h, lasts, uses)
            y = product(h, x).squeeze(-1)
        else:
            gains = _over_uses(self._stream_gains(h, n0), lasts, uses).expand(batch, uses, self.streams).flatten(1)[:, :symbols]
            h = gains.to(s.dtype)
            y = h * s
        y = ops.diffuse.default(y, None, (n0 / 2).sqrt(), n_key)
        return Received(y, h, n0.reshape(batch, *(1,) * (y.dim() - 1)))

    def _lasts(self, uses: int) -> int:
        """Return the uses for which H stays the same."""
        if self.coherence == "block":
            return max(uses, 1)
        return 1 if self.coherence == "fast" else int(self.coherence)

    def _stream_gains(self, h: Tensor, n0: Tensor) -> Tensor:
        """Return s_i sqrt(p_i) of each block, (B, blocks, streams), float64."""
        s: Tensor = (ops.svd_2x2.default(h)[1] if self.nt == self.nr == 2 else torch.linalg.svdvals(h)).double()
        if self.precoding == "equal":
            return s * math.sqrt(self.nt / self.streams)
        if self.precoding == "waterfilling":
            return s * water_filling(s.square() / n0.reshape(-1, 1, 1), self.nt).sqrt()
        return (s.square().reciprocal().sum(-1, keepdim=True).reciprocal() * self.nt).sqrt().expand_as(s)

    def extra_repr(self) -> str:
        return f"{self.nt}, {self.nr}, precoding={self.precoding!r}, correlation={self.correlation}, coherence={self.coherence!r}"


def water_filling(gains: Tensor, total: float) -> Tensor:
    """Return the powers p >= 0 along the last dimension, summing to `total`, that maximise sum log2(1 + p_i gains_i).

    p_i = max(level - 1/gains_i, 0) (Cover and Thomas, "Elements of information theory", 9.4). gains (..., k): not negative, one of each row
    positive; float64 is returned. ValueError otherwise, or unless total is finite and positive.
    """
    if not gains.is_floating_point():
        raise TypeError(f"gains: expected a real floating-point tensor, got {gains.dtype}")
    if gains.dim() < 1 or gains.shape[-1] < 1:
        raise ValueError(f"gains: expected shape (..., k) with k >= 1, got {tuple(gains.shape)}")
    if not 0 < total < float("inf"):
        raise ValueError(f"total: expected a finite positive number, got {total}")
    noise_var = gains.double().reciprocal()
    if not torch.compiler.is_compiling() and not bool(((gains >= 0) & gains.isfinite()).all() & noise_var.isfinite().any(-1).all()):
        raise ValueError("gains: expected finite numbers >= 0, at least one of each row positive")
    floor = noise_var.amin(-1, keepdim=True)
    depth = noise_var - floor  # how far each stream's noise lies above the best one's: no digits are lost where all are far above `total`
    ordered = depth.sort(-1).values
    levels = (ordered.cumsum(-1) + total) / torch.arange(1, gains.shape[-1] + 1, device=gains.device)  # if the best 1, 2, ... have power
    used = (levels > ordered).sum(-1, keepdim=True)
    return (levels.gather(-1, used - 1) - depth).clamp_min(0)


def _over_uses(blocks: Tensor, lasts: int, uses: int) -> Tensor:
    """Repeat (B, blocks, ...) to (B, uses, ...), or (B, 1, ...) as it is."""
    return blocks if blocks.shape[1] == 1 else blocks.repeat_interleave(lasts, 1)[:, :uses]


def _root(c: float, n: int) -> Tensor:
    """Return the Cholesky factor of c^|i-j|: a first-order recursion, so row i is c times row i - 1, and then sqrt(1 - c^2)."""
    i = torch.arange(n, dtype=torch.float64, device="cpu")
    lag = i.unsqueeze(1) - i
    root = torch.pow(c, lag.clamp_min(0)).tril() * math.sqrt(1 - c * c)
    root[:, 0] = torch.pow(c, i)
    return root


def _pair(correlation: float | tuple[float, float]) -> tuple[float, float]:
    given = correlation if isinstance(correlation, (tuple, list)) else (correlation, correlation)
    try:
        values = tuple(float(c) for c in given if not isinstance(c, str))
    except (TypeError, ValueError):
        values = ()
    if len(values) != 2 or len(given) != 2:
        raise TypeError(f"correlation: expected a number or a pair (transmitter's, receiver's), got {correlation!r}")
    if not all(-1 <= c <= 1 for c in values):
        raise ValueError(f"correlation: expected numbers in [-1, 1], got {correlation!r}")
    return values[0], values[1]

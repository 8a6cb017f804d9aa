# SPDX-License-Identifier: Apache-2.0
"""Is there a frame, and where? Normalised correlation of the matched filter's output with the preamble, over a bank of frequencies.

    rho(n, f) = |sum_k conj(a_k) e^{-j 2 pi f k} m(n + k)|^2 / (sum_k |a_k|^2 sum_k |m(n + k)|^2),  between 0 and 1 for any gain

On white Gaussian noise rho is Beta(1, K - 1) for K preamble symbols, P(rho > x) = (1 - x)^(K - 1), so a threshold follows from the rate of
false alarms that is wanted in the whole recording. At an SNR g rho is about g / (1 + g).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from semdiff.phy.sync.frame import FrameSpec
from semdiff.phy.sync.pulse import Samples, rotate, shape

LARGEST_CFO = 0.02  # cycles a symbol, either way: what is promised
FALSE_ALARM = 1e-6  # for one recording of noise
BLOCK = 2**15  # samples transformed at once: memory stays small for long recordings


class Candidate(NamedTuple):
    """Hold a place where a frame may begin."""

    start: int  # sample of the first preamble symbol
    cfo: float  # cycles a symbol, to about half the bank's spacing
    rho: float


class Detection(NamedTuple):
    """Hold the best place for each frequency of the bank, best first, whether or not it is one; and what rho must exceed."""

    candidates: list[Candidate]
    threshold: float


def frequencies(spec: FrameSpec) -> Samples:
    """Return the bank of frequencies, in cycles a symbol, at half the resolution 1 / K of the preamble.

    It goes beyond what is promised by 1 / N: there the sequence looks much like itself at another place, and that must have its rival.
    """
    step, most = 1 / (4 * spec.preamble), LARGEST_CFO + 1 / spec.preamble
    n = int(np.ceil(most / step))
    return np.asarray(np.arange(-n, n + 1) * step)


def detect(samples: Samples, spec: FrameSpec) -> Detection:
    """Search finite complex samples for the preamble. Positions are those where the whole of it lies inside."""
    per_symbol, count = spec.samples_per_symbol, 2 * spec.preamble
    positions = len(samples) - (count - 1) * per_symbol
    bank = frequencies(spec)
    threshold = 1 - (FALSE_ALARM / (max(positions, 1) * len(bank))) ** (1 / (count - 1))
    loudest = float(np.abs(samples).max()) if positions > 0 else 0.0
    if loudest == 0:
        return Detection([Candidate(0, 0.0, 0.0)], threshold)
    margin = spec.span * per_symbol
    template = shape(np.tile(spec.sequence, 2), spec.pulse, per_symbol)
    size = min(BLOCK, 1 << (len(samples) + 2 * margin + len(template)).bit_length())
    matched = np.fft.fft(spec.pulse, size).conj()
    spectra = [np.fft.fft(rotate(template, f / per_symbol, -margin), size).conj() for f in bank]
    step = size - len(template) + 1
    padded = np.concatenate([np.zeros(margin), samples.astype(np.complex128) / loudest, np.zeros(margin)])
    best = [Candidate(0, float(f), 0.0) for f in bank]
    for start in range(0, positions, step):
        width = min(step, positions - start)
        block = np.fft.fft(padded[start : start + size], size)
        power = np.abs(np.fft.ifft(block * matched)) ** 2
        energy = _sums(power, count, per_symbol, width)
        energy += 1e-12 * count * power.max() + 1e-300  # silence is not divided by its own rounding errors
        for i, spectrum in enumerate(spectra):
            rho = np.abs(np.fft.ifft(block * spectrum)[:width]) ** 2 / (count * energy)
            n = int(rho.argmax())
            if rho[n] > best[i].rho:
                best[i] = Candidate(start + n, best[i].cfo, float(rho[n]))
    return Detection(sorted(best, key=lambda c: -c.rho), threshold)


def _sums(power: Samples, count: int, per_symbol: int, width: int) -> Samples:
    """Return sum_k power[n + k * per_symbol], k = 0..count-1, for n < width."""
    rows = -(-(width + count * per_symbol) // per_symbol)
    table = np.zeros(rows * per_symbol)
    table[: min(len(power), len(table))] = power[: len(table)]
    running = np.concatenate([np.zeros((1, per_symbol)), table.reshape(rows, per_symbol).cumsum(0)])
    return np.asarray((running[count:] - running[:-count]).reshape(-1)[:width])

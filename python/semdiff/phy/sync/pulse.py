# SPDX-License-Identifier: Apache-2.0
"""The root-raised-cosine pulse, of unit energy: after its own matched filter, symbols do not disturb each other (Nyquist).

h(t) = [sin(pi t (1 - a)) + 4 a t cos(pi t (1 + a))] / [pi t (1 - (4 a t)^2)],   t in symbols, a the roll-off
(Proakis and Salehi, Digital Communications, 5th ed., section 9.2)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.complexfloating]


def root_raised_cosine(samples_per_symbol: int, roll_off: float, span: int) -> NDArray[np.float64]:
    """Return the pulse over `span` symbols each way: 2 * span * samples_per_symbol + 1 numbers, symmetric, unit energy.

    Cut at a finite span it leaves an interference floor: -64 dB for roll-off 0.25 and span 12.
    """
    t = np.arange(-span * samples_per_symbol, span * samples_per_symbol + 1) / samples_per_symbol
    a = roll_off
    middle, corner = t == 0, np.isclose(np.abs(t), 1 / (4 * a), rtol=0, atol=1e-9)  # where the formula is 0 / 0; its limits are below
    t = np.where(middle | corner, 0.1, t)
    h = (np.sin(np.pi * t * (1 - a)) + 4 * a * t * np.cos(np.pi * t * (1 + a))) / (np.pi * t * (1 - (4 * a * t) ** 2))
    h[middle] = 1 - a + 4 * a / np.pi
    h[corner] = a / np.sqrt(2) * ((1 + 2 / np.pi) * np.sin(np.pi / (4 * a)) + (1 - 2 / np.pi) * np.cos(np.pi / (4 * a)))
    return np.asarray(h / np.linalg.norm(h))


def shape(symbols: Samples, pulse: NDArray[np.float64], samples_per_symbol: int) -> Samples:
    """Return symbols as samples: the first symbol's pulse has its centre at index len(pulse) // 2."""
    impulses = np.zeros((len(symbols) - 1) * samples_per_symbol + 1, np.complex128)
    impulses[::samples_per_symbol] = symbols
    return np.convolve(impulses, pulse)


def advance(samples: Samples, by: float) -> Samples:
    """Return the band-limited signal `by` samples later, x(n + by), taken as periodic: good away from the ends."""
    return np.asarray(np.fft.ifft(np.fft.fft(samples) * np.exp(2j * np.pi * np.fft.fftfreq(len(samples)) * by)))


def rotate(samples: Samples, cycles: float, start: int = 0) -> Samples:
    """Return x(n) e^{j 2 pi cycles (n + start)}: moved in frequency by `cycles` a sample."""
    return np.asarray(samples * np.exp(2j * np.pi * cycles * (np.arange(len(samples)) + start)))

# SPDX-License-Identifier: Apache-2.0
"""Samples at another rate: a band-limited signal between its samples, by a windowed sinc (Crochiere and Rabiner, Multirate Digital Signal
Processing, 1983, chapter 4)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from semdiff.phy.sync.pulse import Samples

ZEROS, BETA = 24, 9.0  # of the sinc each way, and of Kaiser's window: images and aliases are 90 dB down
FINEST = 2**16  # of the ratio's denominator: what is left of the ratio moves the end of a frame by no hundredth of a sample
MOST = 2**22  # products at a time


def resample(samples: Samples, sample_rate: float, wanted: float) -> Samples:
    """Resample complex samples (n,) of `sample_rate` a second at `wanted` a second: complex128, the first where the first was.

    Frequencies above half the lower rate are taken away.
    """
    ratio = _ratio(wanted, sample_rate)
    if ratio == 1:
        return np.asarray(samples, np.complex128)
    band = min(1.0, float(ratio))  # of the sinc, relative to the input's
    reach = int(np.ceil(ZEROS / band))
    taps = np.arange(-reach + 1, reach + 1)
    late = np.arange(ratio.numerator)[:, None] / ratio.numerator  # of each phase
    distance = (taps - late) * band
    window = np.i0(BETA * np.sqrt(np.clip(1 - (distance / ZEROS) ** 2, 0, None))) / np.i0(BETA)
    table = band * np.sinc(distance) * window
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(samples.astype(np.complex128), reach), len(taps))
    count = int(len(samples) * ratio)
    step = max(1, MOST // len(taps))
    parts = []
    for begin in range(0, count, step):
        n = np.arange(begin, min(count, begin + step)) * ratio.denominator
        parts.append(np.einsum("nk,nk->n", windows[n // ratio.numerator + 1], table[n % ratio.numerator]))
    return np.concatenate(parts) if parts else np.zeros(0, np.complex128)


def _ratio(wanted: float, given: float) -> Fraction:
    if wanted > given:
        return Fraction(wanted / given).limit_denominator(FINEST)
    return 1 / Fraction(given / wanted).limit_denominator(FINEST)

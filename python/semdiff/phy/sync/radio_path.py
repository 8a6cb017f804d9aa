# SPDX-License-Identifier: Apache-2.0
"""What a radio path does to samples: y(n) = g x(n - d) e^{j 2 pi f n / samples_per_symbol} + noise."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from semdiff.phy.sync.frame import FrameSpec
from semdiff.phy.sync.pulse import Samples, advance, rotate
from semdiff.rng import KeyLike, normal


def impair(
    samples: Samples,
    spec: FrameSpec,
    snr_db: float,
    delay: float = 0.0,
    gain_db: float = 0.0,
    phase: float = 0.0,
    cfo: float = 0.0,
    trailing: int = 0,
    key: KeyLike = None,
) -> NDArray[np.complex64]:
    """Make the samples of one frame as they arrive: complex64, with floor(delay) + trailing samples more, all of them noisy.

    snr_db: of a symbol after the matched filter, energy of the frame's symbols on average against noise variance. delay: samples >= 0,
    fractions too. phase: radians. cfo: carrier-frequency offset, cycles a symbol. ValueError, naming the argument, for what cannot be.
    """
    for name, value in {"snr_db": snr_db, "delay": delay, "gain_db": gain_db, "phase": phase, "cfo": cfo}.items():
        if not math.isfinite(value):
            raise ValueError(f"{name}: expected a finite number, got {value}")
    if abs(snr_db) > 300 or abs(gain_db) > 300:
        raise ValueError(f"snr_db, gain_db: expected numbers within +-300, got {snr_db} and {gain_db}")
    if not 0 <= delay <= 2**31:
        raise ValueError(f"delay: expected a number of samples in [0, 2**31], got {delay}")
    if not 0 <= trailing <= 2**31:
        raise ValueError(f"trailing: expected a number of samples in [0, 2**31], got {trailing}")
    whole = math.floor(delay)
    late: Samples = advance(
        np.concatenate([samples, np.zeros(64)]), whole - delay
    )  # some silence, so that the end does not wrap to the beginning
    moved: Samples = np.zeros(len(samples) + whole + trailing, np.complex128)
    end = min(len(moved), whole + len(late))
    moved[whole:end] = late[: end - whole]
    gain = 10 ** (gain_db / 20) * np.exp(1j * phase)
    moved = rotate(gain * moved, cfo / spec.samples_per_symbol)
    energy = float(np.sum(np.abs(samples.astype(np.complex128)) ** 2)) / spec.symbols * 10 ** (gain_db / 10)
    deviation = math.sqrt(energy * 10 ** (-snr_db / 10) / 2)
    noise = normal((len(moved), 2), key).numpy().astype(np.float64) * deviation
    return (moved + noise[:, 0] + 1j * noise[:, 1]).astype(np.complex64)

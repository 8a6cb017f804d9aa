# SPDX-License-Identifier: Apache-2.0
"""Another sample rate against sums of tones, which are known between samples too; offsets and warming up, which change nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import semdiff
from semdiff.phy.sync import FrameSpec, impair, modulate, resample, synchronize

RATES = [(2e6, 1e6), (1e6, 2e6), (2.4e6, 1e6), (1.024e6, 1e6), (1e6, 1.0001e6), (1e6 / 3, 1e6), (44100.0, 48000.0), (20e6, 1e6)]
SPEC = FrameSpec(payload=64)
SENT = semdiff.normalize_power(torch.view_as_complex(semdiff.normal((1, 64, 2), semdiff.Key(1))))[0]


@pytest.mark.parametrize(("rate", "wanted"), RATES)
def test_tones_stay_and_what_is_too_high_goes(rate: float, wanted: float) -> None:
    rng = np.random.default_rng(0)
    low = rng.uniform(-0.35, 0.35, 6) * min(rate, wanted)
    gains = rng.normal(size=6) + 1j * rng.normal(size=6)

    def signal(times: np.ndarray) -> np.ndarray:
        return np.asarray((gains * np.exp(2j * np.pi * np.outer(times, low))).sum(1))

    times = np.arange(20_000) / rate
    heard = signal(times)
    if rate > 1.7 * wanted:
        heard = heard + 3 * np.exp(2j * np.pi * 0.8 * wanted * times)
    found = resample(heard, rate, wanted)
    assert abs(len(found) - 20_000 * wanted / rate) < 1
    inner = slice(len(found) // 8, -len(found) // 8)  # away from the ends, beyond which there is silence
    assert np.abs(found - signal(np.arange(len(found)) / wanted))[inner].max() < 3e-4


def test_nothing_is_done_at_the_same_rate_and_nothing_of_nothing() -> None:
    samples = np.arange(5) + 1j
    assert np.array_equal(resample(samples, 3e6, 3e6), samples)
    assert len(resample(samples[:0], 1e6, 2e6)) == 0


def snr_db(samples: np.ndarray) -> float:
    """Of the straightened symbols, against those that were sent."""
    (y, h, _), _ = synchronize(samples, SPEC)
    return -10 * float(np.log10(np.mean(np.abs((y / h - SENT).numpy()) ** 2)))


@pytest.fixture(scope="module", params=[(10.0, 0.0), (10.0, 0.011), (60.0, -0.016)], ids=["10 dB", "10 dB, turning", "60 dB, turning"])
def arrived(request: pytest.FixtureRequest) -> np.ndarray:
    snr, cfo = request.param
    return impair(modulate(SENT, SPEC), SPEC, snr, 500.3, phase=0.4, cfo=cfo, trailing=400, key=semdiff.Key(3))


def test_a_constant_offset_costs_nothing(arrived: np.ndarray) -> None:
    """From none to a hundred times the signal: 0 dB of it cost 10 and 55 dB here."""
    level = np.sqrt(np.sum(np.abs(modulate(SENT, SPEC)) ** 2) / SPEC.symbols / 4)
    before = snr_db(arrived)
    for offset_db in (-20, 0, 20, 40):
        offset = level * 10 ** (offset_db / 20) * np.exp(0.7j)
        assert snr_db(arrived + offset) == pytest.approx(before, abs=0.02)


@pytest.mark.parametrize("count", [10, 200, 450])
@pytest.mark.parametrize("kind", ["burst", "falling", "nothing", "full scale"])
def test_what_a_receiver_begins_with_is_passed_over(arrived: np.ndarray, kind: str, count: int) -> None:
    """Beside an offset as strong as the signal, in all samples but these."""
    before = snr_db(arrived)
    heard = arrived + np.complex64(0.5 - 0.2j)
    n = np.arange(count)
    falling = heard[:count] + 1e3 * np.exp(-n / 30)
    heard[:count] = {"burst": 300 * (-1.0) ** n, "falling": falling, "nothing": 0 * n, "full scale": 100 + 0 * n}[kind]
    assert snr_db(heard) == pytest.approx(before, abs=0.1)


def test_zeros_before_most_of_a_recording() -> None:
    """More of them than of samples: the offset is still that of what was heard."""
    arrived = impair(modulate(SENT, SPEC), SPEC, 20.0, 300.0, trailing=300, key=semdiff.Key(3))
    heard = np.concatenate([np.zeros(20_000, np.complex64), arrived + np.complex64(20)])
    assert snr_db(heard) == pytest.approx(snr_db(arrived), abs=0.1)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from semdiff import Key, Multipath, Uses, equalize, normal, normalize_power, pack
from semdiff.phy.hardware import bussgang

SNRS = [0.0, 5.0, 10.0, 20.0]
NOISELESS = 300.0


def gaussian(batch: int, uses: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return normalize_power(pack(normal((batch, 2 * uses), Key(seed), dtype)))[0]


def rayleigh_gain(n0: float) -> float:
    """E |h|^2 / (|h|^2 + N0) for h ~ CN(0, 1), by the quantiles of |h|^2."""
    power = -np.log1p(-(np.arange(100_000) + 0.5) / 100_000)
    return float((power / (power + n0)).mean())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"taps": 1, "cyclic_prefix": 0},
        {"taps": 5, "subcarriers": 12, "cyclic_prefix": 4},
        {"gains": [1, 0, 0.5j, -0.25], "subcarriers": 7, "cyclic_prefix": 7, "coherence": 1},
        {"powers": [0.0, 1.0, 3.0], "coherence": 2},
    ],
    ids=str,
)
@pytest.mark.parametrize("uses", [128, 150])
def test_the_way_through_time_is_a_product_in_frequency(options: dict[str, Any], uses: int) -> None:
    s = gaussian(3, uses)
    y, h, noise_var = Multipath(**options)(s, NOISELESS, Key(2))
    assert y.shape == h.shape == s.shape
    assert noise_var.shape == (3, 1)
    assert torch.allclose(y, h * s, rtol=0, atol=1e-13)
    single = s.to(torch.complex64)
    y, h, _ = Multipath(**options)(single, NOISELESS, Key(2))
    assert y.dtype == h.dtype == torch.complex64
    assert torch.allclose(y, h * single, rtol=0, atol=1e-5)


def test_fixed_taps_against_numpy() -> None:
    gains, n, prefix = np.array([1, 0.5j, -0.25]), 8, 3
    gains = gains / np.linalg.norm(gains)
    s = gaussian(1, 3 * n)
    y, h, _ = Multipath(gains=torch.tensor(gains) * 7, subcarriers=n, cyclic_prefix=prefix)(s, NOISELESS, Key(1))
    assert np.allclose(h[0].numpy(), np.tile(np.fft.fft(gains, n), 3))
    x = np.fft.ifft(s[0].numpy().reshape(3, n)) * math.sqrt(n)
    heard = np.convolve(np.concatenate([x[:, -prefix:], x], 1).ravel(), gains)[: 3 * (n + prefix)]
    expected = np.fft.fft(heard.reshape(3, -1)[:, prefix:]) / math.sqrt(n)
    assert np.allclose(y[0].numpy(), expected.ravel(), atol=1e-13)


def test_taps_follow_the_profile() -> None:
    for channel, powers in (
        (Multipath(taps=3, decay=2.0), np.exp(-np.arange(3) / 2)),
        (Multipath(powers=torch.tensor([2.0, 0.0, 6.0])), np.array([2, 0, 6])),
    ):
        assert float(channel.powers.sum()) == pytest.approx(1)
        h = channel(torch.zeros(20_000, 64, dtype=torch.complex64), 0.0, Key(5)).h
        taps = torch.fft.ifft(h)
        # |g|^2 / p is exponential: a mean of 20,000 has a standard error of 0.7 %.
        assert taps[:, :3].abs().square().mean(0).tolist() == pytest.approx(list(powers / powers.sum()), rel=0.03, abs=1e-12)
        assert float(taps[:, 3:].abs().max()) < 1e-6
        covariance = taps[:, 0].conj() @ taps[:, 2] / 20_000
        assert abs(complex(covariance)) < 4 / math.sqrt(20_000)
    assert Multipath().powers.tolist() == pytest.approx(list(np.exp(-np.arange(8) / 4) / np.exp(-np.arange(8) / 4).sum()))


@pytest.mark.parametrize("snr_db", SNRS)
def test_noise_and_effective_snr_agree_with_theory(snr_db: float) -> None:
    s, n0 = gaussian(6000, 64, dtype=torch.float32), 10 ** (-snr_db / 10)
    received = Multipath()(s, snr_db, Key(3))
    y, h, noise_var = received
    assert float((y - h * s).abs().square().mean()) == pytest.approx(n0, rel=0.02)
    assert noise_var.flatten().tolist() == pytest.approx([n0] * 6000)
    assert float(h.abs().square().mean()) == pytest.approx(1, rel=0.02)
    # Each subcarrier alone is Rayleigh: E gain of the MMSE equaliser, and its mean squared error 1 - E gain.
    x, _, gain = equalize(received, "mmse")
    assert float(gain.mean()) == pytest.approx(rayleigh_gain(n0), rel=0.02)
    assert float((x - s).abs().square().mean()) == pytest.approx(1 - rayleigh_gain(n0), rel=0.02)


@pytest.mark.parametrize("snr_db", SNRS)
def test_noise_is_white_over_subcarriers(snr_db: float) -> None:
    s = gaussian(4000, 16)
    y, h, noise_var = Multipath(taps=4, subcarriers=8, cyclic_prefix=3)(s, snr_db, Key(4))
    n = (y - h * s) / noise_var.sqrt()
    covariance = n.mT @ n.conj() / 4000
    assert float((covariance - torch.eye(16)).abs().max()) < 5 / math.sqrt(4000)


@pytest.mark.parametrize("snr_db", SNRS)
@pytest.mark.parametrize("uses", [64, 80])
def test_noise_of_clipped_symbols_is_as_told(snr_db: float, uses: int) -> None:
    s = pack(normal((6000, 2 * uses), Key(6), torch.float64))
    y, h, noise_var = Multipath(papr_db=1.0)(s, snr_db, Key(7))
    assert noise_var.shape == s.shape
    unclipped = Multipath()(s, snr_db, Key(7)).h
    gain, distortion = bussgang(1.0)
    assert torch.allclose(h, gain * unclipped)
    assert torch.allclose(noise_var, 10 ** (-snr_db / 10) + distortion * unclipped.abs().square())
    for part in (slice(0, 64), slice(64, 80)):  # the second OFDM symbol, if there is one, is mostly filler
        if part.start < uses:
            error = y[:, part] - (h * s)[:, part]
            assert float((error.abs().square() / noise_var[:, part]).mean()) == pytest.approx(1, rel=0.02)
            correlation = float((error * (h * s)[:, part].conj()).real.mean() / (h * s)[:, part].abs().square().mean())
            assert correlation == pytest.approx(0, abs=0.01)


def test_coherence_counts_ofdm_symbols() -> None:
    s = gaussian(2, 64 * 5)
    h = Multipath(coherence=2)(s, 10.0, Key(1)).h.view(2, 5, 64)
    assert torch.equal(h[:, 0], h[:, 1])
    assert torch.equal(h[:, 2], h[:, 3])
    assert bool((h[:, 1] != h[:, 2]).all())
    assert bool((h[:, 3] != h[:, 4]).all())
    h = Multipath()(s, 10.0, Key(1)).h.view(2, 5, 64)
    assert torch.equal(h, h[:, :1].expand_as(h))
    assert bool((h[0] != h[1]).all())


def test_uses_count_what_the_air_is_busy_with() -> None:
    channel = Multipath(subcarriers=64, cyclic_prefix=16)
    assert channel.uses(128) == Uses(128, cyclic_prefix=32)
    assert channel.uses(129) == Uses(129, cyclic_prefix=3 * 80 - 129)  # 63 silent subcarriers
    assert channel.uses(1).total == 80
    assert channel.uses(0).total == 0


def test_bad_input() -> None:
    cases: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({"gains": [0, 0j]}, ValueError, "gains: expected a tap that is not zero, got 2 zeros"),
        ({"powers": [0.0, 0.0, 0.0]}, ValueError, "powers: expected a tap that is not zero, got 3 zeros"),
        ({"powers": [1.0, -1.0]}, ValueError, r"powers: expected numbers >= 0, got \[1.0, -1.0\]"),
        ({"powers": []}, ValueError, r"powers: expected shape \(taps,\), got \(0,\)"),
        ({"powers": "flat"}, TypeError, "powers: expected a sequence of numbers, got 'flat'"),
        ({"gains": [1, math.nan]}, ValueError, "gains: expected finite numbers"),
        ({"gains": [[1, 1]]}, ValueError, r"gains: expected shape \(taps,\), got \(1, 2\)"),
        ({"gains": [1], "powers": [1]}, ValueError, "expected one description, got powers and gains"),
        ({"taps": 2, "gains": [1]}, ValueError, "expected one description, got taps or decay and gains"),
        ({"taps": 0}, ValueError, "taps: expected at least 1, got 0"),
        ({"taps": 2.5}, TypeError, "taps: expected an integer, got float"),
        ({"decay": 0}, ValueError, "decay: expected a positive number of taps, got 0"),
        ({"cyclic_prefix": 6}, ValueError, "cyclic_prefix: expected at least taps - 1 = 7 and at most subcarriers = 64, got 6"),
        ({"cyclic_prefix": 65}, ValueError, "cyclic_prefix: expected at least taps - 1 = 7 and at most subcarriers = 64, got 65"),
        ({"cyclic_prefix": -1, "taps": 1}, ValueError, "cyclic_prefix: expected at least 0, got -1"),
        ({"subcarriers": 0}, ValueError, "subcarriers: expected at least 1, got 0"),
        ({"coherence": "fast"}, ValueError, "coherence: expected block or a number of OFDM symbols, got 'fast'"),
        ({"coherence": 0}, ValueError, "coherence: expected at least 1, got 0"),
        ({"coherence": True}, TypeError, "coherence: expected an integer, got bool"),
        ({"papr_db": "3"}, TypeError, "papr_db: expected a number, got str"),
    ]
    for options, error, message in cases:
        with pytest.raises(error, match=message):
            Multipath(**options)
    with pytest.raises(ValueError, match="coherence: expected at most the 2 OFDM symbols of the frame, got 3"):
        Multipath(coherence=3)(gaussian(1, 128), 3.0)
    with pytest.raises(TypeError, match="s: expected complex symbols"):
        Multipath()(torch.ones(2, 4), 3.0)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch

from semdiff import AWGN, Channel, HardwareImpairments, Key, Multipath, Received, normal, normalize_power, pack
from semdiff.phy.hardware import bussgang, clip_peaks, frequency_offset, phase_noise, rotate

SNRS = [0.0, 5.0, 10.0, 20.0]


def gaussian(batch: int, uses: int, seed: int = 1) -> torch.Tensor:
    return normalize_power(pack(normal((batch, 2 * uses), Key(seed), torch.float64)))[0]


@pytest.mark.parametrize("papr_db", [-10.0, 0.0, 3.0, 6.0])
def test_clipping_a_gaussian_is_its_closed_form(papr_db: float) -> None:
    s = gaussian(1, 1_000_000)
    x = clip_peaks(s, papr_db)
    a = 10 ** (papr_db / 20)
    assert float(x.abs().max()) <= a * (1 + 1e-12)
    kept = s.abs() < a * (1 - 1e-15)  # at the edge itself rounding decides, on each processor in its own way
    assert torch.equal(x[kept], s[kept])
    cut = s.abs() > a
    assert torch.allclose(x[cut] / a, s[cut] / s[cut].abs())
    gain, distortion = bussgang(papr_db)
    # The 1e6 products have deviations below 1, so 1e-3 is one standard error at the most.
    assert float((x * s.conj()).real.mean()) == pytest.approx(float(gain), rel=0.003)
    assert float(x.abs().square().mean()) == pytest.approx(1 - math.exp(-(a**2)), rel=0.003)
    rel = 0.01 if papr_db < 6 else 0.03  # 6 dB cuts one symbol in 50
    assert float((x - gain * s).abs().square().mean()) == pytest.approx(float(distortion), rel=rel)


def test_the_formulas_of_clipping_have_their_known_ends() -> None:
    assert float(bussgang(0.0).gain) == pytest.approx(1 - math.exp(-1) + math.sqrt(math.pi) / 2 * math.erfc(1), rel=1e-14)
    wide = bussgang(20.0)
    assert (float(wide.gain), float(wide.distortion)) == pytest.approx((1, 0), abs=1e-12)
    hard = bussgang(-60.0)  # only the phase is left: gain sqrt(pi) A / 2, power A^2
    assert float(hard.gain) == pytest.approx(math.sqrt(math.pi) / 2 * 1e-3, rel=1e-3)
    assert float(hard.distortion) == pytest.approx((1 - math.pi / 4) * 1e-6, rel=1e-3)


def test_phase_noise_is_a_wiener_process() -> None:
    std, uses, batch = 0.2, 40, 50_000
    phase = phase_noise(batch, uses, std, Key(3))
    assert bool((phase[:, 0] == 0).all())
    coherence = torch.polar(torch.ones_like(phase), phase).mean(0)
    k = torch.arange(uses, dtype=torch.float64)
    # A mean of 50,000 numbers in the unit circle: 0.0045 a standard error.
    assert float((coherence - torch.exp(-k * std**2 / 2)).abs().max()) < 4 / math.sqrt(batch)
    steps = phase.diff(dim=1)
    assert float(steps.square().mean()) == pytest.approx(std**2, rel=0.01)
    assert float((steps[:, :-1] * steps[:, 1:]).mean()) == pytest.approx(0, abs=4 * std**2 / math.sqrt(batch * (uses - 2)))
    assert torch.equal(phase_noise(2, uses, std, Key(3)), phase[:2])


def test_a_frequency_offset_turns_exactly() -> None:
    phase = frequency_offset(9, 0.25)
    quarter = torch.tensor([1, 1j, -1, -1j], dtype=torch.complex128).repeat(3)[:9]
    assert torch.allclose(rotate(torch.ones(9, dtype=torch.complex128), phase), quarter, rtol=0, atol=1e-15)
    # Whole turns are nothing, however many: no accuracy is lost far along.
    assert float(frequency_offset(1_000_001, 0.5)[-1]) == 0
    s = gaussian(2, 50)
    received = HardwareImpairments(AWGN(), frequency_offset=-0.01)(s, 300.0, Key(1))
    k = torch.arange(50, dtype=torch.float64)
    assert torch.allclose(received.y, s * torch.exp(-2j * math.pi * 0.01 * k), rtol=0, atol=1e-12)
    assert bool((received.h == 1).all())  # the receiver does not know


@pytest.mark.parametrize("snr_db", SNRS)
def test_the_noise_of_clipped_symbols_is_as_told(snr_db: float) -> None:
    s = gaussian(8, 50_000)
    y, h, noise_var = HardwareImpairments(AWGN(), papr_db=1.0)(s, snr_db, Key(2))
    assert noise_var.shape == (8, 1)
    assert float(((y - h * s).abs().square() / noise_var).mean()) == pytest.approx(1, rel=0.02)
    assert float((y * s.conj()).real.mean() / s.abs().square().mean()) == pytest.approx(float(h[0].real), rel=0.02)
    gain, distortion = bussgang(1.0)
    effective = h.abs().square() / noise_var
    assert effective.flatten().tolist() == pytest.approx([float(gain**2 / (distortion + 10 ** (-snr_db / 10)))] * 8, rel=1e-6)


def test_the_receiver_of_phase_noise_sees_a_smaller_gain() -> None:
    std = 0.2  # at the last use exp(-0.62), far from 1
    s = gaussian(3000, 32)
    received = HardwareImpairments(AWGN(), phase_noise=std)(s, 10.0, Key(4))
    gain = (received.y * s.conj()).mean(0)
    k = torch.arange(32, dtype=torch.float64)
    assert float((gain - torch.exp(-k * std**2 / 2)).abs().max()) < 5 * math.sqrt(2 / 3000)
    assert received.noise_var.flatten().tolist() == pytest.approx([0.1] * 3000)


def test_without_impairments_the_channel_is_as_it_was() -> None:
    s = gaussian(3, 20)
    bare = AWGN()(s, 5.0, Key(9).split(2)[0])
    for name, value in HardwareImpairments(AWGN())(s, 5.0, Key(9))._asdict().items():
        assert torch.equal(value, getattr(bare, name)), name


class TwoAntennas(Channel):
    def forward(self, s: torch.Tensor, snr_db: object, key: object = None) -> Received:
        return Received(s[..., None].expand(-1, -1, 2), torch.ones(1, 1, 2, 1), torch.ones(1, 1, 1))


def test_bad_input() -> None:
    s = gaussian(2, 4)
    for options, error, message in (
        ({"phase_noise": -0.1}, ValueError, "phase_noise: expected a finite number >= 0, got -0.1"),
        ({"phase_noise": "0.1"}, TypeError, "phase_noise: expected a number, got str"),
        ({"frequency_offset": math.nan}, ValueError, "frequency_offset: expected a finite number, got nan"),
        ({"papr_db": math.inf}, ValueError, "papr_db: expected a finite number, got inf"),
    ):
        with pytest.raises(error, match=message):
            HardwareImpairments(AWGN(), **options)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="channel: expected a Channel, got str"):
        HardwareImpairments("awgn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="channel: expected a single-carrier channel"):
        HardwareImpairments(Multipath())
    with pytest.raises(ValueError, match=r"channel: expected scalar gains, y of shape \(2, 4\) as s, got \(2, 4, 2\)"):
        HardwareImpairments(TwoAntennas())(s, 3.0)
    with pytest.raises(ValueError, match=r"s: expected shape \(B, uses\), got \(2, 4, 1\)"):
        HardwareImpairments(AWGN())(s[..., None], 3.0)

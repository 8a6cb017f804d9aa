# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from semdiff import (
    AWGN,
    BlindNoise,
    Channel,
    HardwareImpairments,
    ImperfectCSI,
    Key,
    Multipath,
    Pilots,
    Rayleigh,
    Uses,
    equalize,
    estimate_noise_var,
    normal,
    normalize_power,
    pack,
)

SNRS = [0.0, 5.0, 10.0, 20.0]


def gaussian(batch: int, uses: int, seed: int = 1, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return normalize_power(pack(normal((batch, 2 * uses), Key(seed), dtype)))[0]


def true_gain(channel: Pilots, s: torch.Tensor, snr_db: float, key: Key) -> torch.Tensor:
    """The gains that carried the payload: noiseless symbols of 1 show them. The channel draws the same ones at any SNR."""
    inner = channel.channel
    pilots = channel.uses(s.shape[1]).pilots
    frame = torch.ones(s.shape[0], s.shape[1] + pilots, dtype=s.dtype)
    return inner(frame, snr_db, key).h.expand(frame.shape)


@pytest.mark.parametrize("snr_db", SNRS)
@pytest.mark.parametrize("method", ["ls", "lmmse"])
@pytest.mark.parametrize("count", [1, 4])
def test_the_estimate_of_a_gain_is_its_closed_form(snr_db: float, method: Any, count: int) -> None:
    batch, n0 = 40_000, 10 ** (-snr_db / 10)
    s = gaussian(batch, 8)
    channel = Pilots(Rayleigh(), count, method)
    y, h, noise_var = received = channel(s, snr_db, Key(2))
    assert y.shape == s.shape
    assert h.shape == noise_var.shape == (batch, 1)
    v = n0 / count
    error_var, power = {"ls": (v, 1 + v), "lmmse": (v / (1 + v), 1 / (1 + v))}[method]
    assert noise_var.flatten().tolist() == pytest.approx([n0 + error_var] * batch)
    error = h - true_gain(channel, s, snr_db, Key(2))[:, -1:]
    # |e|^2 is exponential: a mean of 40,000 has a standard error of 0.5 %.
    assert float(error.abs().square().mean()) == pytest.approx(error_var, rel=0.02)
    assert float(h.abs().square().mean()) == pytest.approx(power, rel=0.02)
    assert float(((y - h * s).abs().square() / noise_var).mean()) == pytest.approx(1, rel=0.02)
    if method == "lmmse":  # the error is independent of the estimate, so the equaliser's books are right: h_hat ~ CN(0, 1 / (1 + v))
        assert abs(complex((error * h.conj()).mean())) < 4 * math.sqrt(error_var * power / batch)
        x, _, gain = equalize(received, "mmse")
        quantiles = -power * np.log1p(-(np.arange(100_000) + 0.5) / 100_000)
        expected = float((quantiles / (quantiles + n0 + error_var)).mean())
        assert float(gain.mean()) == pytest.approx(expected, rel=0.02)
        assert float((x - s).abs().square().mean()) == pytest.approx(1 - expected, rel=0.02)


@pytest.mark.parametrize("snr_db", SNRS)
@pytest.mark.parametrize("method", ["ls", "lmmse"])
def test_the_estimate_of_a_frequency_response_is_its_closed_form(snr_db: float, method: Any) -> None:
    count, n0 = 2, 10 ** (-snr_db / 10)
    inner = Multipath(taps=4, decay=1.5, subcarriers=16, cyclic_prefix=4)
    channel = Pilots(inner, count, method)
    s = gaussian(12_000, 24)
    y, h, noise_var = channel(s, snr_db, Key(3))
    v, p = n0 / (count * 16), inner.powers
    error_var = {"ls": n0 / count, "lmmse": float((p * v / (p + v)).sum())}[method]
    assert noise_var.flatten()[::1000].tolist() == pytest.approx([n0 + error_var] * (noise_var.numel() // 1000))
    error = h - true_gain(channel, s, snr_db, Key(3))[:, -24:]
    assert error.abs().square().mean(0).tolist() == pytest.approx([error_var] * 24, rel=0.04)  # the same on each subcarrier
    assert float(error.abs().square().mean()) == pytest.approx(error_var, rel=0.02)
    assert float(((y - h * s).abs().square() / noise_var).mean()) == pytest.approx(1, rel=0.02)


def test_lmmse_is_the_matrix_formula() -> None:
    """H_hat = R (R + N0 / m I)^-1 H_ls with R = F diag(p) F^H."""
    inner = Multipath(taps=3, subcarriers=8, cyclic_prefix=2)
    s = gaussian(2, 8)
    ls, lmmse = (Pilots(inner, 2, m)(s, 3.0, Key(1)) for m in ("ls", "lmmse"))
    f = np.exp(-2j * np.pi * np.outer(np.arange(8), np.arange(3)) / 8)
    r, n0 = f @ np.diag(inner.powers.numpy()) @ f.conj().T, 10**-0.3
    w = r @ np.linalg.inv(r + n0 / 2 * np.eye(8))
    assert np.allclose(lmmse.h.numpy(), ls.h.numpy() @ w.T, atol=1e-12)
    assert float(lmmse.noise_var[0, 0]) == pytest.approx(n0 + float((r - w @ r).real[0, 0]))


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_pilots_between_the_symbols_follow_the_channel(snr_db: float) -> None:
    n0 = 10 ** (-snr_db / 10)
    s = gaussian(8000, 23)
    channel = Pilots(Rayleigh(coherence=12), 2, "ls", every=10)
    y, h, noise_var = channel(s, snr_db, Key(4))
    assert channel.uses(23) == Uses(23, pilots=6)
    frame_h = true_gain(channel, s, snr_db, Key(4))
    payload = [i for i in range(29) if i % 12 >= 2]
    assert float((h - frame_h[:, payload]).abs().square().mean()) == pytest.approx(n0 / 2, rel=0.02)
    assert bool((h[:, 0] == h[:, 9]).all())
    assert bool((h[:, 9] != h[:, 10]).all())
    assert float(((y - h * s).abs().square() / noise_var).mean()) == pytest.approx(1, rel=0.02)
    ofdm = Pilots(Multipath(taps=2, subcarriers=4, cyclic_prefix=1, coherence=3), 1, "ls", every=2)
    y, h, noise_var = ofdm(s, 60.0, Key(4))
    assert torch.allclose(y, h * s, rtol=0, atol=0.05)
    assert ofdm.uses(23) == Uses(23, pilots=12, cyclic_prefix=9 * 5 - 35)


@pytest.mark.parametrize("method", ["ls", "lmmse"])
def test_pilots_through_a_clipping_transmitter(method: Any) -> None:
    s = gaussian(5000, 64)
    y, h, noise_var = Pilots(Multipath(papr_db=2.0), 2, method)(s, 10.0, Key(5))
    assert float(((y - h * s).abs().square() / noise_var).mean()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("snr_db", SNRS)
def test_a_mistaken_receiver(snr_db: float) -> None:
    s = gaussian(20_000, 2)
    told = ImperfectCSI(Rayleigh(), error_var=0.05, snr_offset_db=3.0)(s, snr_db, Key(6))
    true = Rayleigh()(s, snr_db, Key(6).split()[0])
    assert torch.equal(told.y, true.y)
    e = told.h - true.h
    assert float(e.abs().square().mean()) == pytest.approx(0.05, rel=0.02)
    assert float(e.real.square().mean()) == pytest.approx(0.025, rel=0.03)
    assert abs(complex((e * true.h.conj()).mean())) < 4 * math.sqrt(0.05 / 20_000)
    assert torch.allclose(told.noise_var, true.noise_var * 10**-0.3)  # an SNR that is 3 dB too high
    exact = ImperfectCSI(Rayleigh(), snr_offset_db=-3.0)(s, snr_db, Key(6))
    assert torch.equal(exact.h, true.h)
    assert torch.allclose(exact.noise_var, true.noise_var * 10**0.3)


@pytest.mark.parametrize(("snr_db", "uses"), [(0.0, 256), (5.0, 256), (10.0, 512), (20.0, 3072)])
def test_the_blind_estimate_and_its_deviation(snr_db: float, uses: int) -> None:
    n0, batch = 10 ** (-snr_db / 10), 3000
    # At 20 dB the floor would cut the estimates of strong gains.
    for name, channel in (("awgn", AWGN()), ("block", Rayleigh()))[: 1 if snr_db == 20 else 2]:
        s = gaussian(batch, uses, dtype=torch.float32)
        y, h, _ = channel(s, snr_db, Key(7))
        found = estimate_noise_var(y, None if name == "awgn" else h)
        assert found.dtype == torch.float64
        assert found.shape == (batch,)
        sd = ((2 * n0 * h.abs().double().square().flatten() + n0**2) / uses).sqrt()
        standard = (found - n0) / sd
        assert float(found.mean()) == pytest.approx(n0, rel=0.02)
        assert float(standard.mean()) == pytest.approx(0, abs=4 / math.sqrt(batch))
        assert float(standard.std()) == pytest.approx(1, rel=0.04)  # 1.3 % a standard error


def test_the_blind_deviation_where_the_gain_varies() -> None:
    n0, batch, uses = 0.1, 4000, 400
    h = torch.where(torch.arange(uses) % 2 == 0, 0.6, 1.2).to(torch.complex128)[None]
    s = gaussian(batch, uses)
    y = h * s + n0**0.5 * pack(normal((batch, 2 * uses), Key(8), torch.float64))
    found = estimate_noise_var(y, h)
    power = h.abs().square()
    variance = (2 * n0 * power.mean() + n0**2 + power.var(correction=0) * 1.0) / uses  # var |s|^2 = 1 for Gaussian symbols
    assert float(found.mean()) == pytest.approx(n0, abs=4 * math.sqrt(float(variance) / batch))
    assert float(found.std()) == pytest.approx(math.sqrt(float(variance)), rel=0.05)


def test_the_blind_estimate_is_exact_arithmetic_with_a_floor() -> None:
    y = torch.tensor([[1, 1j, 2, 0], [1, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.complex64)
    assert estimate_noise_var(y).tolist() == pytest.approx([0.5, 1e-3, 1e-3])
    assert estimate_noise_var(y, torch.tensor([[0.5], [0.5j], [0]])).tolist() == pytest.approx([1.25, 0.75, 1e-3])
    received = BlindNoise(AWGN())(gaussian(3, 50), 0.0, Key(1))
    assert received.noise_var.shape == (3, 1)
    assert torch.equal(received.noise_var.flatten(), estimate_noise_var(received.y, received.h))
    with pytest.raises(ValueError, match=r"y: expected at least one use, got shape \(3, 0\)"):
        estimate_noise_var(y[:, :0])
    with pytest.raises(ValueError, match=r"h: expected a shape that broadcasts to y's \(3, 4\), got \(2, 1\)"):
        estimate_noise_var(y, torch.ones(2, 1))


CHANNELS: dict[str, Channel] = {
    "multipath": Multipath(),
    "multipath, drawn again": Multipath(coherence=1, papr_db=3.0),
    "multipath, given": Multipath(gains=[1, 0.5j]),
    "impaired": HardwareImpairments(AWGN(), phase_noise=0.1, frequency_offset=0.01, papr_db=2.0),
    "impaired, fading": HardwareImpairments(Rayleigh(), phase_noise=0.1, papr_db=2.0),
    "pilots": Pilots(Rayleigh(), 3, "lmmse"),
    "pilots between": Pilots(Rayleigh(coherence=5), 1, "ls", every=4),
    "pilots of ofdm": Pilots(Multipath(), 2, "lmmse"),
    "pilots of ofdm between": Pilots(Multipath(coherence=2, papr_db=4.0), 1, "lmmse", every=1),
    "mistaken": ImperfectCSI(Multipath(), 0.1, 3.0),
    "blind": BlindNoise(Pilots(HardwareImpairments(Rayleigh(), phase_noise=0.01), 2)),
}


@pytest.mark.parametrize("name", CHANNELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_channel_keeps_the_contract(name: str, dtype: torch.dtype) -> None:
    channel, snr = CHANNELS[name], torch.tensor([3.0, 10.0, 7.5, 0.0, 20.0])
    s = gaussian(5, 131, dtype=dtype)
    received = channel(s, snr, Key(1))
    y, h, noise_var = received
    assert y.shape == s.shape == torch.broadcast_shapes(y.shape, h.shape, noise_var.shape)
    assert y.dtype == h.dtype == s.dtype
    assert noise_var.dtype == torch.float64
    assert bool((noise_var > 0).all())
    assert all(torch.equal(a, b) for a, b in zip(received, channel(s, snr, Key(1).tensor), strict=True))
    assert not torch.equal(y, channel(s, snr, Key(2)).y)
    # A sample does not know its mates: not how many they are, not what they hold, not their SNR.
    for few in (0, 1, 3):
        for a, b in zip(received, channel(s[:few], snr[:few], Key(1)), strict=True):
            assert torch.equal(a[:few], b)
    others = channel(torch.cat([s[:2], 9 * s[2:]]), torch.cat([snr[:2], -snr[2:]]), Key(1))
    for a, b in zip(received, others, strict=True):
        assert torch.equal(a[:2], b[:2])
    assert channel.uses(131).payload == 131
    assert channel.uses(131).total >= 131


@pytest.mark.parametrize("name", CHANNELS)
def test_neither_threads_nor_mates_change_a_long_sample(name: str) -> None:
    channel, s = CHANNELS[name], gaussian(2, 40_003, dtype=torch.float32)  # torch splits loops of more than 32,768 elements
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        received = channel(s, 10.0, Key(1))
        torch.set_num_threads(3)
        assert all(torch.equal(a, b) for a, b in zip(received, channel(s, 10.0, Key(1)), strict=True))
        assert all(torch.equal(a[:1], b) for a, b in zip(received, channel(s[:1], 10.0, Key(1)), strict=True))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("name", CHANNELS)
def test_gradients_reach_the_transmitter(name: str) -> None:
    channel = CHANNELS[name]
    s = gaussian(1, 7 if not isinstance(channel, Multipath) else 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: channel(x, 10.0, Key(3)).y, (s,), eps=1e-7, atol=1e-5)


def test_pilots_of_ofdm_compile_whole() -> None:
    channel, s = CHANNELS["pilots of ofdm"], gaussian(2, 70)
    compiled = torch.compile(lambda x, key: channel(x, 5.0, key), fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(s, Key(2).tensor), channel(s, 5.0, Key(2)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", CHANNELS)
def test_every_channel_refuses_bad_input(name: str) -> None:
    channel, s = CHANNELS[name], gaussian(2, 70)
    with pytest.raises(ValueError, match=r"snr_db: expected shape \(\) or \(2,\), got \(3,\)"):
        channel(s, torch.ones(3))
    with pytest.raises(ValueError, match="snr_db: expected a finite number"):
        channel(s, math.nan)
    with pytest.raises(TypeError, match="s: expected complex symbols"):
        channel(s.real, 3.0)
    with pytest.raises(ValueError, match=r"s: expected shape \(B, uses\)"):
        channel(s[0], 3.0)
    with pytest.raises(TypeError, match="key: expected a Key"):
        channel(s, 3.0, 1.5)


class TwoAntennas(Channel):
    nt = 2


def test_bad_input() -> None:
    cases: list[tuple[Any, type[Exception], str]] = [
        (lambda: Pilots(AWGN(), 0), ValueError, "count: expected at least 1, got 0"),
        (lambda: Pilots(AWGN(), 1.5), TypeError, "count: expected an integer, got float"),  # type: ignore[arg-type]
        (lambda: Pilots(AWGN(), 1, every=0), ValueError, "every: expected at least 1, got 0"),
        (lambda: Pilots(AWGN(), 1, "mmse"), ValueError, "method: expected ls or lmmse, got 'mmse'"),  # type: ignore[arg-type]
        (lambda: Pilots(Rayleigh("fast"), 1), ValueError, "channel: expected gains that last.*got coherence 'fast'"),
        (lambda: Pilots(Rayleigh(8), 1), ValueError, r"every: expected count \+ every to divide .* coherence 8, got 1 \+ None"),
        (lambda: Pilots(Rayleigh(8), 1, every=8), ValueError, r"every: expected count \+ every to divide .* coherence 8, got 1 \+ 8"),
        (lambda: Pilots(BlindNoise(Rayleigh(8)), 1), ValueError, "every: expected count"),
        (lambda: Pilots(TwoAntennas(), 1), ValueError, "channel: expected scalar gains"),
        (lambda: Pilots(BlindNoise(HardwareImpairments(AWGN(), papr_db=3.0)), 1), ValueError, "channel: expected one that does not clip"),
        (lambda: Pilots("awgn", 1), TypeError, "channel: expected a Channel, got str"),  # type: ignore[arg-type]
        (lambda: ImperfectCSI(AWGN(), -0.1), ValueError, "error_var: expected a finite number >= 0, got -0.1"),
        (lambda: ImperfectCSI(AWGN(), snr_offset_db=math.nan), ValueError, "snr_offset_db: expected a finite number, got nan"),
        (lambda: Pilots(Multipath(coherence=6), 2, every=1)(gaussian(1, 64), 3.0), ValueError, "coherence: expected at most the 3 OFDM"),
    ]
    for call, error, message in cases:
        with pytest.raises(error, match=message):
            call()

# SPDX-License-Identifier: Apache-2.0
"""Fading channels: the law of the gain, its coherence, the noise, and the fused path with the equaliser."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from semdiff import AWGN, Channel, FixedChannel, Key, Rayleigh, Received, Rician, equalize, normal, normalize_power, pack
from semdiff.phy.equalizer import EqualizerMethod, rayleigh_mmse_gain
from semdiff.phy.matrix_equalizer import METHODS

CHANNELS: list[Any] = [Rayleigh(), Rayleigh("fast"), Rayleigh(7), Rician(3.0), Rician(-2.0, "fast"), Rician(8.0, 10)]
each_channel = pytest.mark.parametrize("channel", CHANNELS, ids=str)


def symbols(batch: int, uses: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return normalize_power(pack(normal((batch, 2 * uses), Key(seed), dtype)))[0]


def moments(h: torch.Tensor) -> tuple[float, float]:
    power = h.to(torch.complex128).abs().square()
    return float(power.mean()), float(power.var(correction=0))


# --- the law -----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coherence", ["block", "fast", 4])
def test_rayleigh_gains_are_circular_normal_numbers_of_power_one(coherence: Any) -> None:
    s = symbols(100_000, 4) if coherence != "fast" else symbols(1000, 400)
    h = Rayleigh(coherence)(s, 10.0, Key(2)).h.flatten(1)[:, :: 4 if coherence == 4 else 1].flatten().to(torch.complex128)
    count = h.numel()
    power, variance = moments(h)
    assert power == pytest.approx(1, abs=4 / math.sqrt(count))  # |h|^2 is exponential: deviation 1
    assert variance == pytest.approx(1, abs=4 * math.sqrt(8 / count))
    assert abs(complex(h.mean())) < 4 / math.sqrt(count)
    assert abs(complex(h.square().mean())) < 4 * math.sqrt(2 / count)  # circular
    # P(|h|^2 < p) = 1 - e^-p at the deciles.
    for p in (0.1, 0.5, 1.0, 2.0):
        below = float((h.abs().square() < p).double().mean())
        assert below == pytest.approx(1 - math.exp(-p), abs=4 * 0.5 / math.sqrt(count))


@pytest.mark.parametrize("k_db", [-10.0, 0.0, 6.0, 15.0])
def test_ricians_k_comes_back_from_the_moments(k_db: float) -> None:
    """Var |h|^2 = (1 + 2K) / (1 + K)^2, so K/(K+1) = sqrt(1 - Var/E^2) (Greenstein, Michelson, Erceg, 1999)."""
    h = Rician(k_db, "fast")(symbols(1000, 1000), 10.0, Key(3)).h
    power, variance = moments(h)
    k = 10 ** (k_db / 10)
    assert power == pytest.approx(1, abs=0.005)
    assert variance == pytest.approx((1 + 2 * k) / (1 + k) ** 2, rel=0.02)
    part = math.sqrt(1 - variance / power**2)
    assert part == pytest.approx(k / (k + 1), rel=0.02, abs=0.07 if k_db < -5 else 0)
    assert complex(h.to(torch.complex128).mean()) == pytest.approx(math.sqrt(k / (k + 1)), abs=0.005)  # the path has phase 0


def test_a_strong_path_is_awgn() -> None:
    s = symbols(3, 100, dtype=torch.float64)
    faded, plain = Rician(300.0)(s, 5.0, Key(4)), AWGN()(s, 5.0, Key(4).split()[1])
    assert torch.allclose(faded.y, plain.y, rtol=1e-12, atol=1e-14)
    assert torch.equal(faded.noise_var, plain.noise_var)


@each_channel
def test_noise_is_that_of_the_average_snr(channel: Channel) -> None:
    s, snr = symbols(4, 50_000), torch.tensor([0.0, 5.0, 10.0, 20.0])
    y, h, noise_var = channel(s, snr, Key(5))
    n = torch.view_as_real(y - h * s).double()
    assert noise_var.flatten().tolist() == pytest.approx([10 ** (-v / 10) for v in snr.tolist()], rel=1e-6)
    for i, n0 in enumerate(noise_var.flatten().tolist()):
        assert n[i].square().mean(0).tolist() == pytest.approx([n0 / 2] * 2, rel=0.03)  # four standard errors: 2.6 %
        assert abs(float((n[i, :, 0] * n[i, :, 1]).mean())) < 4 * n0 / 2 / math.sqrt(50_000)


def test_gains_and_noise_are_the_keys_halves() -> None:
    """The documented layout, with the public functions alone."""
    s = symbols(3, 50, dtype=torch.float64)
    for_gains, for_noise = Key(6).split()
    z = torch.view_as_complex(normal((3, 8, 2), for_gains, torch.float64)) / math.sqrt(2)
    y, h, _ = Rayleigh(7)(s, 4.0, Key(6))
    assert torch.allclose(h, z.repeat_interleave(7, 1)[:, :50], rtol=1e-14)
    n = AWGN()(torch.zeros_like(s), 4.0, for_noise).y
    assert torch.allclose(y, h * s + n, rtol=1e-13)


# --- coherence ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("coherence", "uses"), [("block", 100), ("fast", 100), (1, 100), (7, 100), (25, 100), (100, 100), (64, 2500)])
def test_a_gain_lasts_as_long_as_it_should(coherence: Any, uses: int) -> None:
    h = Rayleigh(coherence)(symbols(5, uses), 0.0, Key(7)).h
    run = {"block": uses, "fast": 1}.get(coherence, coherence)
    assert h.shape == ((5, 1) if run == uses else (5, uses))
    full = h.expand(5, uses)
    changes = (full[:, 1:] != full[:, :-1]).nonzero()
    assert changes.tolist() == [[b, i - 1] for b in range(5) for i in range(run, uses, run)]
    assert len(full[:, ::run].real.unique()) == full[:, ::run].numel()


def test_fast_and_coherence_one_are_the_same_and_so_are_block_and_all() -> None:
    s = symbols(3, 40)
    for a, b in ((Rayleigh("fast"), Rayleigh(1)), (Rayleigh("block"), Rayleigh(40)), (Rician(3.0), Rician(3.0, 40))):
        assert all(torch.equal(x, y) for x, y in zip(a(s, 3.0, Key(8)), b(s, 3.0, Key(8)), strict=True))


@each_channel
def test_a_sample_does_not_depend_on_its_mates(channel: Any) -> None:
    s, snr = symbols(6, 53), torch.linspace(0, 10, 6)
    together, equalized = channel(s, snr, Key(9)), channel.equalized(s, snr, "mmse", Key(9))
    for batch in (1, 2, 5):
        part, part_equalized = channel(s[:batch], snr[:batch], Key(9)), channel.equalized(s[:batch], snr[:batch], "mmse", Key(9))
        assert all(torch.equal(a, b[:batch]) for a, b in zip(part, together, strict=True))
        assert all(torch.equal(a, b[:batch]) for a, b in zip(part_equalized, equalized, strict=True))
    # Other symbols and another SNR for the mates: the first sample stays.
    other = channel(torch.cat([s[:1], s[1:] * 3]), torch.cat([snr[:1], snr[1:] - 20]), Key(9))
    assert torch.equal(other.y[0], together.y[0])


@each_channel
def test_keys(channel: Channel) -> None:
    s = symbols(2, 64)
    first, again, other = (channel(s, 3.0, key) for key in (Key(1), Key(1), Key(2)))
    assert torch.equal(first.y, again.y)
    assert not torch.equal(first.h, other.h)
    assert not torch.equal(channel(s, 3.0).h, channel(s, 3.0).h)
    torch.manual_seed(5)
    lazy = channel(s, 3.0)
    torch.manual_seed(5)
    assert torch.equal(channel(s, 3.0).y, lazy.y)


# --- equalized ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("method", METHODS)
@each_channel
def test_the_fused_path_has_the_same_bits(channel: Any, method: EqualizerMethod, dtype: torch.dtype) -> None:
    for shape in ((3, 1501), (2, 4, 33), (1, 7), (5, 10)):
        s = symbols(shape[0], math.prod(shape[1:]), dtype=dtype).reshape(shape)
        if math.prod(shape[1:]) < 10 and channel.coherence == 10:
            continue
        snr = torch.linspace(-3, 20, shape[0], dtype=torch.float64)
        fused, steps = channel.equalized(s, snr, method, Key(3)), equalize(channel(s, snr, Key(3)), method)
        for a, b in zip(fused, steps, strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


@pytest.mark.parametrize("snr_db", [0.0, 5.0, 10.0, 20.0])
@pytest.mark.parametrize("method", ["zf", "mmse", "mmse_unbiased", "matched"])
def test_gain_and_noise_variance_are_those_of_a_simulation(method: EqualizerMethod, snr_db: float) -> None:
    """2 %: conditional on |h|, in each fifth of its law, and on average; 500,000 symbols."""
    s = symbols(50, 10_000, dtype=torch.float64)
    x, noise_var, gain = Rayleigh("fast").equalized(s, snr_db, method, Key(11))
    h, n0 = Rayleigh("fast")(s, snr_db, Key(11)).h, 10 ** (-snr_db / 10)
    for part in h.abs().flatten().argsort().chunk(5):
        sent, got, g, v = (t.flatten()[part] for t in (s, x, gain, noise_var))
        scale = v.sqrt()  # whitened: zf's variances have no average
        regression = float(((sent.conj() * got).real / scale).sum() / ((sent.abs().square() * g) / scale).sum())
        assert regression == pytest.approx(1, abs=0.02)
        assert float(((got - g * sent).abs().square() / v).mean()) == pytest.approx(1, abs=0.02)
    if method == "mmse":
        mean = float(rayleigh_mmse_gain(snr_db))
        assert float(gain.mean()) == pytest.approx(mean, rel=0.02)
        assert float((x - s).abs().square().mean()) == pytest.approx(1 - mean, rel=0.02)  # and m is the squared error
        assert float((x - mean * s).abs().square().mean()) == pytest.approx(mean * (1 - mean), rel=0.02)
    if method == "matched":
        assert float(gain.mean()) == pytest.approx(1, rel=0.02)
        assert float(noise_var.mean()) == pytest.approx(n0, rel=0.02)
    if method in ("zf", "mmse_unbiased"):
        assert bool((gain == 1).all())
        assert float(noise_var.median()) == pytest.approx(n0 / math.log(2), rel=0.02)  # the median of |h|^2 is ln 2


@each_channel
def test_gradients_are_those_of_the_steps(channel: Any) -> None:
    s, weight = symbols(3, 40, dtype=torch.float64), symbols(3, 40, 2, torch.float64)
    for method in ("zf", "mmse", "matched"):
        gradients = []
        for run in (lambda s: channel.equalized(s, 5.0, method, Key(1)), lambda s: equalize(channel(s, 5.0, Key(1)), method)):  # noqa: B023
            leaf = s.clone().requires_grad_()
            (run(leaf).x * weight).real.sum().backward()
            gradients.append(leaf.grad)
        assert torch.allclose(gradients[0], gradients[1], rtol=1e-12)


def test_no_gradient_of_an_snr_in_the_fused_path() -> None:
    snr = torch.tensor([3.0, 4.0], requires_grad=True)
    s = symbols(2, 8)
    Rayleigh()(s, snr, Key(1)).y.abs().sum().backward()  # the two steps have one
    assert snr.grad is not None
    with pytest.raises(ValueError, match="noise_var: fading_equalized has no gradient for it"):
        Rayleigh().equalized(s, snr, key=Key(1))


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("uses", [0, 1, 9])
@pytest.mark.parametrize("coherence", ["block", "fast"])
def test_any_batch_and_frame(batch: int, uses: int, coherence: Any) -> None:
    s = torch.ones(batch, uses, dtype=torch.complex64)
    received, equalized = Rayleigh(coherence)(s, 3.0, Key(1)), Rayleigh(coherence).equalized(s, 3.0, "mmse", key=Key(1))
    assert received.y.shape == equalized.x.shape == s.shape
    assert torch.broadcast_shapes(received.h.shape, s.shape) == s.shape
    assert all(torch.equal(a, b) for a, b in zip(equalized, equalize(received, "mmse"), strict=True))
    plain = Rayleigh(coherence).equalized(s, 3.0, key=Key(1))  # the two ways have one default
    assert all(torch.equal(a, b) for a, b in zip(plain, equalize(received), strict=True))


def test_compiles_whole() -> None:
    def link(s: torch.Tensor, key: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return Rayleigh("fast").equalized(s, 5.0, "mmse", key).x, equalize(Rician(2.0)(s, 5.0, key), "matched").x

    s = symbols(2, 20)
    got = torch.compile(link, fullgraph=True, backend="aot_eager")(s, Key(2).tensor)
    assert all(torch.equal(a, b) for a, b in zip(got, link(s, Key(2).tensor), strict=True))


def test_a_use_carries_a_symbol() -> None:
    assert all(channel.uses(100).total == 100 for channel in (*CHANNELS, FixedChannel(1j)))


def test_names() -> None:
    assert [str(c) for c in CHANNELS[2:4]] == ["Rayleigh(coherence=7)", "Rician(k_db=3.0, coherence='block')"]


# --- FixedChannel ------------------------------------------------------------------------------------------------------------------------


def test_given_gains_are_applied() -> None:
    s = symbols(3, 200, dtype=torch.float64)
    for shape in ((), (200,), (3, 1), (1, 200), (3, 200)):
        h = torch.view_as_complex(normal((*shape, 2), Key(2), torch.float64))
        received = FixedChannel(h)(s, torch.tensor([0.0, 5.0, 9.0]), Key(3))
        plain = AWGN()(h * s, torch.tensor([0.0, 5.0, 9.0]), Key(3))
        assert torch.allclose(received.y, plain.y, rtol=1e-13)
        assert torch.equal(received.h, h)
        assert torch.equal(received.noise_var, plain.noise_var)
    assert torch.allclose(FixedChannel(0.6 + 0.8j, 0.0)(s).y, s * (0.6 + 0.8j), rtol=1e-14)
    assert FixedChannel(1j)(s.to(torch.complex64), 3.0).y.dtype == torch.complex64


def test_a_fading_channels_draw_can_be_given_again() -> None:
    s = symbols(3, 200, dtype=torch.float64)
    y, h, noise_var = Rayleigh(10)(s, 7.0, Key(5))
    assert torch.allclose(FixedChannel(h, noise_var)(s, key=Key(5).split()[1]).y, y, rtol=1e-12)


@pytest.mark.parametrize("shape", [(), (3,), (3, 1), (3, 20_000)])
def test_given_noise_variances_are_used(shape: tuple[int, ...]) -> None:
    s = symbols(3, 20_000, dtype=torch.float64)
    noise_var = 0.2 + 0.1 * normal(shape, Key(1), torch.float64).abs()
    received = FixedChannel(1j, noise_var)(s, 40.0, Key(3))  # whatever the SNR says
    want = noise_var.reshape(3, 1) if shape == (3,) else noise_var.expand(s.shape)
    n = (received.y - 1j * s).abs().square() / want
    assert n.mean(1).tolist() == pytest.approx([1] * 3, abs=0.04)
    assert torch.broadcast_shapes(received.noise_var.shape, s.shape) == s.shape
    assert torch.allclose(equalize(received).noise_var.expand(s.shape), want.expand(s.shape))


def test_gradients_pass_a_given_gain() -> None:
    s, h = symbols(2, 5, dtype=torch.float64).requires_grad_(), symbols(2, 5, 2, torch.float64)
    FixedChannel(h, 0.1)(s, key=Key(1)).y.real.sum().backward()
    assert torch.allclose(s.grad, h.conj())


# --- bad input ---------------------------------------------------------------------------------------------------------------------------

S = torch.ones(2, 4, dtype=torch.complex64)
WRONG: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "no coherence": (lambda: Rayleigh(0), ValueError, "coherence: expected at least 1, got 0"),
    "a negative one": (lambda: Rician(3.0, -2), ValueError, "coherence: expected at least 1, got -2"),
    "a long one": (lambda: Rayleigh(5)(S, 3.0), ValueError, "coherence: expected at most the 4 symbols of a sample, got 5"),
    "a long one, fused": (lambda: Rayleigh(5).equalized(S, 3.0), ValueError, "coherence: expected at most the 4 symbols"),
    "a word": (lambda: Rayleigh("slow"), ValueError, "coherence: expected block, fast or a number of symbols, got 'slow'"),  # type: ignore[arg-type]
    "a part": (lambda: Rayleigh(1.5), TypeError, "coherence: expected an integer, got float"),  # type: ignore[arg-type]
    "snr of three": (lambda: Rayleigh()(S, torch.ones(3)), ValueError, r"snr_db: expected shape \(\) or \(2,\), got \(3,\)"),
    "snr of three, fused": (lambda: Rayleigh().equalized(S, torch.ones(3)), ValueError, r"snr_db: expected shape \(\) or \(2,\)"),
    "snr nan": (lambda: Rician(3.0)(S, math.nan), ValueError, "snr_db: expected a finite number"),
    "method": (lambda: Rayleigh().equalized(S, 3.0, "ml"), ValueError, "method: expected zf, mmse"),  # type: ignore[arg-type]
    "real symbols": (lambda: Rayleigh()(S.real, 3.0), TypeError, "s: expected complex symbols"),
    "no batch": (lambda: Rayleigh()(S[0], 3.0), ValueError, r"s: expected shape \(B, uses\), got \(4,\)"),
    "k nan": (lambda: Rician(math.nan), ValueError, "k_db: expected a finite number, within .*got nan"),
    "k text": (lambda: Rician("3"), TypeError, "k_db: expected a number, got str"),  # type: ignore[arg-type]
    "h's batch": (
        lambda: FixedChannel(S[:1].expand(3, 4))(S, 3.0),
        ValueError,
        r"h: expected a shape that broadcasts to s's .*got \(3, 4\)",
    ),
    "h's uses": (lambda: FixedChannel(S[:, :3])(S, 3.0), ValueError, r"h: expected a shape that broadcasts to s's \(2, 4\), got \(2, 3\)"),
    "h's dimensions": (lambda: FixedChannel(S[None])(S, 3.0), ValueError, r"h: expected a shape .*got \(1, 2, 4\)"),
    "h real": (lambda: FixedChannel(S.real), TypeError, "h: expected complex gains, got torch.float32"),
    "h text": (lambda: FixedChannel("1"), TypeError, "h: expected a complex number or tensor, got str"),  # type: ignore[arg-type]
    "h nan": (lambda: FixedChannel(S * math.nan), ValueError, "h: expected finite gains"),
    "h zero": (lambda: equalize(FixedChannel(S * 0)(S, 3.0)), ValueError, "h: expected non-zero gains for zf"),
    "no noise": (lambda: FixedChannel(1j)(S), ValueError, "snr_db: expected a number or .*got None"),
    "noise below zero": (lambda: FixedChannel(1j, -0.1), ValueError, "noise_var: expected finite numbers >= 0, got -0.1"),
    "noise of three": (lambda: FixedChannel(1j, torch.ones(3))(S), ValueError, r"noise_var: expected shape \(\), \(2,\), .*got \(3,\)"),
    "noise text": (lambda: FixedChannel(1j, "1"), TypeError, "noise_var: expected a number or a floating-point tensor, got str"),  # type: ignore[arg-type]
    "noise integers": (lambda: FixedChannel(1j, torch.ones(2).int()), TypeError, "noise_var: expected .*got torch.int32"),
}


@pytest.mark.parametrize("case", WRONG)
def test_the_error_tells(case: str) -> None:
    call, error, message = WRONG[case]
    with pytest.raises(error, match=message):
        call()


def test_a_block_of_no_gain_is_refused_by_zf_alone() -> None:
    received = Received(S, torch.tensor([[0j], [1]]).to(S.dtype), torch.ones(2, 1, dtype=torch.float64))
    with pytest.raises(ValueError, match="got only zeros in sample 0"):
        equalize(received)
    assert equalize(received, "mmse").x[0].tolist() == [0] * 4

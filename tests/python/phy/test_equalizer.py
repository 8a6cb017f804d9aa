# SPDX-License-Identifier: Apache-2.0
"""Scalar equalisers against their closed forms, and what they do where there is nothing to undo."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from semdiff import AWGN, Equalized, Key, NoiseSchedule, Received, equalize, normal, pack
from semdiff.phy.equalizer import EqualizerMethod, rayleigh_mmse_gain
from semdiff.phy.matrix_equalizer import METHODS

# Theory: E gain, SNR after undoing it in dB, and the first step of the schedule at least as noisy, for fast Rayleigh fading and MMSE.
FAST_RAYLEIGH_MMSE = [
    (0, 0.404, -1.69, 414),
    (3, 0.538, 0.66, 332),
    (6, 0.664, 2.96, 256),
    (9, 0.769, 5.23, 190),
    (10, 0.799, 5.98, 171),
    (12, 0.849, 7.50, 135),
    (15, 0.905, 9.79, 92),
    (20, 0.959, 13.71, 43),
]


def symbols(batch: int, uses: int, seed: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return pack(normal((batch, 2 * uses), Key(seed), dtype))


def faded(dtype: torch.dtype = torch.float64, gains: int = 100) -> Received:
    s, h = symbols(4, 100, 1, dtype), symbols(4, gains, 5, dtype)
    n0 = torch.tensor([0.05, 0.2, 1.0, 3.0], dtype=torch.float64).reshape(4, 1)
    return Received(h * s + n0.sqrt().to(dtype) * symbols(4, 100, 6, dtype), h, n0)


def closed_form(y: torch.Tensor, h: torch.Tensor, n0: torch.Tensor, method: str) -> Equalized:
    p = h.abs().square()
    if method == "mmse":
        return Equalized(h.conj() * y / (p + n0), p * n0 / (p + n0).square(), p / (p + n0))
    if method == "matched":
        return Equalized(h.conj() * y, p * n0, p)
    return Equalized(y / h, n0 / p, torch.ones_like(p))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("gains", [1, 100])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_every_method_is_its_closed_form(method: EqualizerMethod, gains: int, dtype: torch.dtype) -> None:
    received = Received(*(v.to(dtype) if v.is_complex() else v for v in faded(gains=gains)))
    out = equalize(received, method)
    want = closed_form(received.y.to(torch.complex128), received.h.to(torch.complex128), received.noise_var, method)
    for got, expected in zip(out, want, strict=True):
        assert torch.allclose(got.to(expected.dtype), expected, rtol=2e-6 if dtype == torch.complex64 else 1e-13, atol=0)
    terms = torch.float64 if gains == 1 else dtype.to_real()
    assert (out.x.dtype, out.noise_var.dtype, out.gain.dtype) == (dtype, terms, terms)
    assert out.noise_var.shape == out.gain.shape == (4, gains)


@pytest.mark.parametrize("method", ["zf", "mmse", "mmse_unbiased", "matched"])
def test_any_shapes_that_broadcast(method: EqualizerMethod) -> None:
    y = symbols(3, 10, 1)
    for h_shape in ((), (1,), (10,), (3, 1), (1, 10), (3, 10)):
        for n_shape in ((), (1,), (10,), (3, 1), (1, 10), (3, 10)):
            h = torch.view_as_complex(normal((*h_shape, 2), Key(2), torch.float64))
            n0 = normal(n_shape, Key(3), torch.float64).abs()
            out = equalize(Received(y, h, n0), method)
            for got, expected in zip(out, closed_form(y, h, n0, method), strict=True):
                assert torch.allclose(got, expected.expand(got.shape), rtol=1e-12, atol=0)
            assert out.gain.shape == ((3, 1) if {h_shape, n_shape} <= {(), (1,), (3, 1)} else (3, 10))


@pytest.mark.parametrize("method", METHODS)
def test_gain_and_noise_describe_the_error(method: EqualizerMethod) -> None:
    """Conditional on h: (x - gain s) / sqrt(noise_var) is standard, 2 % at 400,000 symbols (four standard errors are 0.7 %)."""
    s, h, n = (symbols(4, 100_000, seed) for seed in (1, 2, 3))
    n0 = torch.tensor([1, 10**-0.5, 0.1, 0.01], dtype=torch.float64).reshape(4, 1)
    out = equalize(Received(h * s + n0.sqrt() * n, h, n0), method)
    error = out.x - out.gain * s
    assert ((error.abs().square() / out.noise_var).mean(1) - 1).abs().max() < 0.02
    # In every quarter of the channel's strength.
    for i in range(4):
        for part in h[i].abs().argsort().chunk(4):
            assert float((error[i, part].abs().square() / out.noise_var[i, part]).mean()) == pytest.approx(1, abs=0.03)
    # Uncorrelated with the symbols: the gain is all of s that is there.
    correlation = (error / out.noise_var.sqrt() * s.conj()).mean(1)
    assert float(correlation.abs().max()) < 4 / math.sqrt(100_000)


def test_unbiased_mmse_is_mmse_over_its_gain_and_zf() -> None:
    received = faded()
    biased, unbiased, zf, mrc = (equalize(received, m) for m in ("mmse", "mmse_unbiased", "zf", "mrc"))  # type: ignore[arg-type]
    assert torch.allclose(unbiased.x, biased.x / biased.gain, rtol=1e-13)
    assert torch.allclose(unbiased.noise_var, biased.noise_var / biased.gain.square(), rtol=1e-12)
    for a, b in ((unbiased, zf), (mrc, zf)):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_all_methods_have_the_same_snr() -> None:
    received = faded()
    want = received.h.abs().square() / received.noise_var
    for method in METHODS:
        out = equalize(received, method)  # type: ignore[arg-type]
        assert torch.allclose(out.gain.square() / out.noise_var, want, rtol=1e-12)


@pytest.mark.parametrize("gains", [1, 3])
def test_a_gain_of_zero(gains: int) -> None:
    y, n0 = torch.ones(2, 3, dtype=torch.complex64), torch.full((2, 1), 0.5, dtype=torch.float64)
    h = torch.ones(2, gains, dtype=torch.complex64)
    h[0, 0] = 0
    received = Received(y, h, n0)
    x, noise_var, gain = equalize(received, "mmse_unbiased")
    assert (x[0, 0].item(), noise_var[0, 0].item(), gain[0, 0].item()) == (0, math.inf, 1)
    x, noise_var, gain = equalize(received, "mmse")
    assert (x[0, 0].item(), noise_var[0, 0].item(), gain[0, 0].item()) == (0, 0, 0)
    assert bool(equalize(received, "matched").x.isfinite().all())
    if gains == 3:  # one dead symbol says nothing, its sample does
        assert equalize(received, "zf").noise_var.tolist() == [[math.inf, 0.5, 0.5], [0.5] * 3]
    for method in ("zf", "mrc"):
        with pytest.raises(ValueError, match="h: expected non-zero gains for zf, got only zeros in sample 0"):
            equalize(received._replace(h=h * torch.tensor([[0], [1]])), method)  # type: ignore[arg-type]


def test_without_noise_mmse_is_zf() -> None:
    received = faded()._replace(noise_var=torch.zeros(4, 1, dtype=torch.float64))
    for a, b in zip(equalize(received, "mmse"), equalize(received, "zf"), strict=True):
        assert torch.allclose(a, b, rtol=1e-13)
    dead = equalize(received._replace(h=received.h * 0), "mmse")
    assert all(float(v.abs().max()) == 0 for v in dead)


def test_nan_stays_nan() -> None:
    y, h, n0 = faded()
    h = h.clone()
    h[1, 2] = complex("nan+nanj")
    for method in METHODS:
        x, noise_var, _ = equalize(Received(y, h, n0), method)  # type: ignore[arg-type]
        assert x.isnan().nonzero().tolist() == [[1, 2]]
        assert noise_var.isnan().nonzero().tolist() == [[1, 2]]


def test_equalizing_awgn_changes_nothing_with_zf_and_scales_with_mmse() -> None:
    s = symbols(2, 64, 1)
    received = AWGN()(s, 3.0, Key(1))
    assert torch.equal(equalize(received).x, received.y)
    assert torch.equal(equalize(received).noise_var, received.noise_var)
    assert torch.allclose(equalize(received, "mmse").x, received.y / (1 + 10**-0.3))


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("uses", [0, 1, 5])
def test_any_batch_and_frame(batch: int, uses: int) -> None:
    y = torch.ones(batch, uses, dtype=torch.complex64)
    for h in (y, torch.ones(batch, 1, dtype=torch.complex64)):
        out = equalize(Received(y, h, torch.ones(batch, 1, dtype=torch.float64)), "mmse")
        assert out.x.shape == y.shape
        assert out.gain.shape == h.shape


def test_results_do_not_depend_on_the_batch() -> None:
    for gains in (1, 100):
        received = faded(gains=gains)
        for method in METHODS:
            together = equalize(received, method)  # type: ignore[arg-type]
            for i in range(4):
                alone = equalize(Received(*(v[i : i + 1] for v in received)), method)  # type: ignore[arg-type]
                assert all(torch.equal(a[0], b[i]) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("method", ["zf", "mmse", "matched"])
@pytest.mark.parametrize("gains", [1, 6])
def test_gradients_of_all_arguments_at_once(method: EqualizerMethod, gains: int) -> None:
    y, h, n0 = symbols(2, 6, 1), symbols(2, gains, 2), torch.full((2, 1), 0.3, dtype=torch.float64)
    inputs = tuple(v.clone().requires_grad_() for v in (y, h, n0))
    assert torch.autograd.gradcheck(lambda *a: tuple(equalize(Received(*a), method)), inputs)


def test_a_gradient_of_y_alone_leaves_the_terms_without_one() -> None:
    y, h, n0 = faded()
    out = equalize(Received(y.clone().requires_grad_(), h, n0), "mmse")
    assert (out.x.requires_grad, out.noise_var.requires_grad, out.gain.requires_grad) == (True, False, False)


def test_wrong_arguments() -> None:
    y, h, n0 = faded()
    cases: list[tuple[Received, str, type[Exception], str]] = [
        (Received(y, h, n0), "ml", ValueError, "method: expected zf, mmse, mmse_unbiased, matched or mrc, got 'ml'"),
        (Received(y, h[:3], n0), "zf", ValueError, r"h: expected a shape that broadcasts to y's \[4, 100\], got \[3, 100\]"),
        (Received(y, h, n0[:3]), "zf", ValueError, r"noise_var: expected a shape that broadcasts to y's \[4, 100\], got \[3, 1\]"),
        (Received(y, h.real, n0), "zf", TypeError, "received.h: expected complex gains, got torch.float64"),
        (Received(y.real, h, n0), "zf", TypeError, "received.y: expected complex symbols, got torch.float64"),
        (Received(y, h, n0.int()), "zf", TypeError, "noise_var: expected a floating-point tensor, got Int"),
    ]
    for received, method, error, message in cases:
        with pytest.raises(error, match=message):
            equalize(received, method)  # type: ignore[arg-type]


def test_methods_are_those_of_the_type() -> None:
    assert get_args(EqualizerMethod) == METHODS


@pytest.mark.parametrize(("snr_db", "gain", "after", "t"), FAST_RAYLEIGH_MMSE)
def test_what_a_fast_rayleigh_channel_leaves(snr_db: float, gain: float, after: float, t: int) -> None:
    mean = float(rayleigh_mmse_gain(snr_db))
    assert mean == pytest.approx(gain, abs=5e-4)
    assert 10 * math.log10(mean / (1 - mean)) == pytest.approx(after, abs=5e-3)
    assert float(NoiseSchedule.scaled_linear().timestep((1 - mean) / mean, "ceil")) == t


def test_the_exponential_integral() -> None:
    """Against known values (Abramowitz and Stegun, tables 5.1 and 5.2) and, where it is installed, SciPy's."""
    for c, e1 in ((0.1, 1.8229239584), (0.5, 0.5597735948), (1.0, 0.2193839344), (2.0, 0.0489005107)):
        assert float(rayleigh_mmse_gain(-10 * math.log10(c))) == pytest.approx(1 - c * math.exp(c) * e1, abs=2e-9)
    snr = torch.linspace(-40, 60, 101, dtype=torch.float64)
    gain = rayleigh_mmse_gain(snr)
    assert gain.shape == snr.shape
    assert bool((gain.diff() > 0).all())
    special = pytest.importorskip("scipy.special")
    c = 10 ** (-snr[15:] / 10)  # where exp(c) is a float64
    assert torch.allclose(1 - gain[15:], c * c.exp() * torch.from_numpy(special.exp1(c.numpy())), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("snr_db", [math.nan, math.inf, 301.0])
def test_a_gain_needs_a_finite_snr(snr_db: float) -> None:
    with pytest.raises(ValueError, match="snr_db: expected finite numbers, within"):
        rayleigh_mmse_gain(snr_db)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from semdiff import MIMO, Key, Received, equalize, normal, pack
from semdiff.phy.matrix_equalizer import equalize_matrix

METHODS = ["zf", "mmse", "mmse_unbiased", "matched", "mrc"]
SNRS = [0.0, 5.0, 10.0, 20.0]
SIZES = list(itertools.product(range(1, 5), range(1, 5)))


def symbols(batch: int, n: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return pack(normal((batch, 2 * n), Key(seed), dtype))


def received(nt: int, nr: int, batch: int = 2, uses: int = 20) -> tuple[torch.Tensor, Received]:
    """At 7 dB, complex128, so that a closed form is met to 1e-12."""
    s = symbols(batch, nt * uses, dtype=torch.float64)
    return s, MIMO(nt, nr, coherence="fast")(s, 7.0, Key(3))


@pytest.mark.parametrize("snr_db", SNRS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("nt", "nr"), [(2, 2), (2, 3), (1, 4)])
def test_stated_statistics_are_those_of_simulation(nt: int, nr: int, method: Any, snr_db: float) -> None:
    """Error power in units of the stated variance is 1 to 2 %, and the symbols come through with the stated gain."""
    s = symbols(4, 16000)
    x, noise_var, gain = equalize_matrix(MIMO(nt, nr, coherence="fast")(s, snr_db, Key(2)), method)
    assert x.shape == noise_var.shape == gain.shape == s.shape
    error = x - gain * s
    assert float((error.abs().square() / noise_var).mean()) == pytest.approx(1, rel=0.02)
    # The error is uncorrelated with its own symbol: 4 standard errors of a mean of unit-power products.
    inner = (error / noise_var.sqrt() * s.conj()).mean()
    assert float(inner.abs()) < 4 / math.sqrt(s.numel())


@pytest.mark.parametrize(("nt", "nr"), [(nt, nr) for nt, nr in SIZES if nr >= nt])
def test_zero_forcing_is_the_pseudo_inverse(nt: int, nr: int) -> None:
    _, r = received(nt, nr)
    x, noise_var, gain = equalize_matrix(r, "zf")
    w = torch.linalg.pinv(r.h)
    assert torch.allclose(x.reshape(2, 20, nt), (w @ r.y.unsqueeze(-1)).squeeze(-1), rtol=1e-10, atol=1e-11)
    gram = torch.linalg.inv(r.h.mH @ r.h).diagonal(dim1=-2, dim2=-1).real
    assert torch.allclose(noise_var.reshape(2, 20, nt), r.noise_var * gram, rtol=1e-9)
    assert bool((gain == 1).all())


@pytest.mark.parametrize(("nt", "nr"), SIZES)
def test_mmse_is_its_closed_form(nt: int, nr: int) -> None:
    """g = 1 - N0 [(H^H H + N0 I)^-1]_ii, noise g (1 - g); unbiased: SINR g / (1 - g)."""
    _, r = received(nt, nr)
    m = torch.linalg.inv(r.h.mH @ r.h + 10**-0.7 * torch.eye(nt, dtype=torch.float64))
    g = (1 - 10**-0.7 * m.diagonal(dim1=-2, dim2=-1).real).flatten(1)
    expected = (m @ r.h.mH @ r.y.unsqueeze(-1)).flatten(1)
    x, noise_var, gain = equalize_matrix(r, "mmse")
    assert torch.allclose(x, expected, rtol=1e-11, atol=1e-12)
    assert torch.allclose(gain, g, rtol=1e-11)
    assert torch.allclose(noise_var, g * (1 - g), rtol=1e-10)
    x, noise_var, gain = equalize_matrix(r, "mmse_unbiased")
    assert torch.allclose(x, expected / g, rtol=1e-11, atol=1e-12)
    assert torch.allclose(noise_var, (1 - g) / g, rtol=1e-10)
    assert bool((gain == 1).all())


@pytest.mark.parametrize(("nt", "nr"), SIZES)
def test_matched_filters_count_interference_as_noise(nt: int, nr: int) -> None:
    _, r = received(nt, nr)
    gram = r.h.mH @ r.h
    own = gram.diagonal(dim1=-2, dim2=-1).real
    noise = (gram.abs().square().sum(-1) - own.square() + r.noise_var * own).flatten(1)
    matched, mrc = equalize_matrix(r, "matched"), equalize_matrix(r, "mrc")
    assert torch.allclose(matched.gain, own.flatten(1))
    assert torch.allclose(matched.noise_var, noise, rtol=1e-9, atol=1e-12)
    assert torch.allclose(mrc.x * own.flatten(1), matched.x, rtol=1e-11, atol=1e-12)
    assert torch.allclose(mrc.noise_var, noise / own.flatten(1).square(), rtol=1e-9, atol=1e-12)


def test_one_stream_is_maximum_ratio_combining_by_any_unbiased_method() -> None:
    _, r = received(1, 4)
    for method in ("mrc", "zf", "mmse_unbiased"):
        x, noise_var, gain = equalize_matrix(r, method)  # type: ignore[arg-type]
        assert torch.allclose(noise_var, 10**-0.7 / r.h.abs().square().sum((-2, -1)), rtol=1e-12)
        assert torch.allclose(x, equalize_matrix(r, "mrc").x, rtol=1e-12)
        assert bool((gain == 1).all())


def test_one_antenna_each_is_the_scalar_equalizer() -> None:
    _, r = received(1, 1)
    scalar = Received(r.y[:, :, 0], r.h[:, :, 0, 0], r.noise_var[:, :, 0])
    for method in ("zf", "mmse"):
        for ours, theirs in zip(equalize_matrix(r, method), equalize(scalar, method), strict=True):  # type: ignore[arg-type]
            assert torch.allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("snr_db", SNRS)
def test_mmse_has_the_least_error(snr_db: float) -> None:
    s = symbols(4, 16000)
    r = MIMO(2, 2, coherence="fast")(s, snr_db, Key(2))
    errors = {m: float((equalize_matrix(r, m).x - s).abs().square().mean()) for m in METHODS}  # type: ignore[arg-type]
    assert min(errors, key=errors.__getitem__) == "mmse"
    gain = equalize_matrix(r, "mmse").gain
    assert errors["mmse"] == pytest.approx(float((1 - gain).mean()), rel=0.03)  # E|x - s|^2 = 1 - g


@pytest.mark.parametrize(("nt", "nr"), [(2, 2), (3, 3), (2, 3)])
def test_badly_conditioned_matrices_keep_their_digits(nt: int, nr: int) -> None:
    """Singular values 1 and 1e-5, complex64: the closed forms do not square the condition number."""
    u, _, vh = torch.linalg.svd(MIMO(nt, nr).draw(1, 1, Key(1), torch.complex128), full_matrices=False)
    h = ((u * torch.tensor([1.0] * (nt - 1) + [1e-5])) @ vh).to(torch.complex64)
    s = symbols(1, 50 * nt, dtype=torch.float64)
    y = (h.to(torch.complex128)[:, 0] @ s.reshape(1, 50, nt).mT).mT.contiguous()
    x = equalize_matrix(Received(y, h, torch.full((1, 1, 1), 1e-30, dtype=torch.float64)), "zf").x
    assert torch.allclose(x, s, atol=1e-9)
    x = equalize_matrix(Received(y, h, torch.full((1, 1, 1), 1e-30, dtype=torch.float64)), "mmse").x
    assert torch.allclose(x, s, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("nt", "nr"), [(2, 2), (3, 3), (2, 4), (1, 2)])
@pytest.mark.parametrize("coherence", ["block", "fast"])
def test_no_sample_depends_on_its_mates(nt: int, nr: int, method: Any, coherence: Any) -> None:
    r = MIMO(nt, nr, coherence=coherence)(symbols(5, 37), torch.tensor([0.0, 3.0, 10.0, 20.0, -5.0]), Key(1))
    whole = equalize_matrix(r, method)
    for i in range(5):
        alone = equalize_matrix(Received(*(v[i : i + 1] for v in r)), method)
        for ours, theirs in zip(alone, whole, strict=True):
            assert torch.equal(ours[0], theirs[i])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("nt", "nr"), SIZES)
def test_any_size_and_batch(nt: int, nr: int, method: Any) -> None:
    if method == "zf" and nr < nt:
        with pytest.raises(ValueError, match=f"received.h: expected at least as many receive as transmit antennas .* nr = {nr}, nt = {nt}"):
            equalize_matrix(received(nt, nr)[1], method)
        return
    for coherence, (batch, n) in itertools.product(("block", "fast"), ((0, 7), (1, 0), (1, 1), (2, 7))):
        s = symbols(batch, n)
        x, noise_var, gain = equalize_matrix(MIMO(nt, nr, coherence=coherence)(s, 200.0, Key(1)), method)
        assert x.shape == noise_var.shape == gain.shape == (batch, math.ceil(n / nt) * nt)
        assert x.dtype == torch.complex64
        assert noise_var.dtype == gain.dtype == torch.float64
        if method == "zf" or (method == "mmse" and nr >= nt):
            assert torch.allclose(x[:, :n], s, atol=1e-3)  # the order in which the symbols went out


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_what_was_heard(method: Any) -> None:
    for nt, nr in ((2, 2), (2, 3)):
        _, r = received(nt, nr, batch=1, uses=2)
        y = r.y.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda y, r=r: equalize_matrix(Received(y, r.h, r.noise_var), method).x, y)


@pytest.mark.parametrize("method", METHODS)
def test_compiles_whole(method: Any) -> None:
    _, r = received(2, 2)
    torch.compiler.reset()
    compiled = torch.compile(lambda *r: equalize_matrix(Received(*r), method), fullgraph=True, backend="aot_eager")(*r)
    for ours, theirs in zip(compiled, equalize_matrix(r, method), strict=True):
        assert torch.allclose(ours, theirs)


def test_a_channel_that_carries_nothing() -> None:
    """All zero: mmse says so (gain 0, x 0, no error beyond the symbol's own), the unbiased ones cannot."""
    for nt, nr in ((2, 2), (2, 3), (3, 2), (1, 1)):
        r = Received(symbols(1, 4 * nr).reshape(1, 4, nr), torch.zeros(1, 1, nr, nt, dtype=torch.complex64), torch.ones(1, 1, 1))
        for method in ("mmse", "matched"):
            x, noise_var, gain = equalize_matrix(r, method)  # type: ignore[arg-type]
            assert not bool(x.any() | noise_var.any() | gain.any())
        for method in ("mmse_unbiased", "mrc"):
            with pytest.raises(ValueError, match=f"received.h: expected a non-zero column for each stream with {method}"):
                equalize_matrix(r, method)  # type: ignore[arg-type]
        if nr >= nt:
            with pytest.raises(ValueError, match=r"received\.h: expected matrices of full column rank for zf, got a singular one"):
                equalize_matrix(r, "zf")


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
@pytest.mark.parametrize(("nt", "nr"), [(2, 2), (2, 3), (3, 3)])
def test_a_singular_matrix_among_good_ones_is_refused_by_zf(nt: int, nr: int, dtype: torch.dtype) -> None:
    h = MIMO(nt, nr).draw(2, 3, Key(1), dtype)
    y = symbols(2, 3 * nr, dtype=dtype.to_real()).reshape(2, 3, nr)
    r = Received(y, h, torch.ones(2, 1, 1))
    equalize_matrix(r, "zf")
    h[1, 2, :, 1] = h[1, 2, :, 0] * (0.3 - 1.7j)  # rank one, up to rounding
    with pytest.raises(ValueError, match=r"received\.h: expected matrices of full column rank for zf"):
        equalize_matrix(r, "zf")
    assert bool(equalize_matrix(r, "mmse_unbiased").x.isfinite().all())


C, R = torch.complex64, torch.float32
GOOD = Received(torch.ones(2, 3, 2, dtype=C), torch.ones(2, 1, 2, 2, dtype=C), torch.ones(2, 1, 1))
BAD: list[tuple[Received, Any, type[Exception], str]] = [
    (GOOD, "ml", ValueError, "method: expected zf, mmse, mmse_unbiased, matched or mrc, got 'ml'"),
    (GOOD._replace(y=torch.ones(2, 3, 2)), "mmse", TypeError, "received.y: expected a complex tensor, got torch.float32"),
    (GOOD._replace(h=torch.ones(2, 1, 2, 2)), "mmse", TypeError, "received.h: expected a complex tensor"),
    (GOOD._replace(y=torch.ones(2, 3, dtype=C)), "mmse", ValueError, r"received.y: expected shape \(B, uses, nr\), got \(2, 3\)"),
    (GOOD._replace(h=torch.ones(2, 2, 2, dtype=C)), "mmse", ValueError, r"received.h: expected shape \(B, uses or 1, nr, nt\)"),
    (GOOD._replace(h=torch.ones(2, 1, 3, 2, dtype=C)), "mmse", ValueError, r"received.h: expected shape \(2, 3 or 1, 2, nt\), got"),
    (GOOD._replace(h=torch.ones(2, 2, 2, 2, dtype=C)), "mmse", ValueError, r"received.h: expected shape \(2, 3 or 1, 2, nt\), got"),
    (GOOD._replace(h=torch.ones(1, 1, 2, 2, dtype=C)), "mmse", ValueError, r"received.h: expected shape \(2, 3 or 1, 2, nt\), got"),
    (GOOD._replace(noise_var=torch.ones(2, 1, 2)), "mmse", ValueError, r"received.noise_var: expected shape \(2, 3 or 1, 1\), got"),
    (GOOD._replace(noise_var=torch.ones(3, 1, 1)), "mmse", ValueError, "received.noise_var: expected shape"),
    (GOOD._replace(noise_var=torch.ones(1, 2, 1, 1)), "mmse", ValueError, "received.noise_var: expected shape"),
]


@pytest.mark.parametrize(("r", "method", "error", "message"), BAD, ids=[f"{i}" for i in range(len(BAD))])
def test_wrong_arguments_are_named(r: Received, method: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        equalize_matrix(r, method)


@pytest.mark.parametrize(("nr", "nt"), [(2, 2), (3, 3), (2, 3)])
@pytest.mark.parametrize("method", ["mmse", "mmse_unbiased"])
def test_mmse_needs_noise_or_full_rank(method: Any, nr: int, nt: int) -> None:
    y, h = torch.ones(1, 2, nr, dtype=torch.complex64), torch.ones(1, 1, nr, nt, dtype=torch.complex64)
    with pytest.raises(ValueError, match=rf"received\.h: expected matrices of full column rank for {method} without noise"):
        equalize_matrix(Received(y, h, torch.zeros(1, 1, 1, dtype=torch.float64)), method)
    got = equalize_matrix(Received(y, h, torch.full((1, 1, 1), 1e-6, dtype=torch.float64)), method)
    assert all(bool(v.isfinite().all()) for v in got)

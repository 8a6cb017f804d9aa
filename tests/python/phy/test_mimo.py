# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from semdiff import MIMO, Key, Uses, equalize, normal, pack
from semdiff.phy.channel import Received
from semdiff.phy.mimo import water_filling

SNRS = [0.0, 5.0, 10.0, 20.0]
SIZES = list(itertools.product(range(1, 5), range(1, 5)))
PRECODINGS = ["equal", "waterfilling", "equalizing"]


def symbols(batch: int, n: int, seed: int = 1, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return pack(normal((batch, 2 * n), Key(seed), dtype))


def singular_values(h: torch.Tensor) -> torch.Tensor:
    return torch.linalg.svdvals(h.to(torch.complex128))


# --- the channel's matrix -------------------------------------------------------------------------------------------------------------


def test_independent_entries_have_unit_power() -> None:
    h = MIMO(3, 4).draw(2, 20000, Key(1))
    assert h.shape == (2, 20000, 4, 3)
    power = h.abs().square().mean((0, 1))
    assert torch.allclose(power, torch.ones(4, 3), atol=4 / math.sqrt(40000))  # |H_ij|^2 is exponential: deviation 1
    flat = h.reshape(-1, 12)
    covariance = flat.mT.conj() @ flat / len(flat)
    assert float((covariance - torch.eye(12)).abs().max()) < 5 / math.sqrt(40000)


def test_singular_values_of_independent_2x2() -> None:
    """E s^2 = 3.5 and 0.5 (eigenvalues of a complex Wishart matrix); mean gains +4.8 and -5.5 dB."""
    s2 = singular_values(MIMO(2, 2).draw(1, 200_000, Key(2))).square()[0]
    assert s2.mean(0).tolist() == pytest.approx([3.5, 0.5], rel=0.01)
    db = (10 * s2.log10()).mean(0)
    assert db.tolist() == pytest.approx([4.8, -5.5], abs=0.07)
    # lambda_2 is exponential of mean 1/2, so E 10 log10 is 10 log10(1/2) - 10 gamma / ln 10.
    assert float(db[1]) == pytest.approx(10 * math.log10(0.5) - 10 * 0.5772156649 / math.log(10), abs=0.05)
    assert float((s2[:, 1] < 0.1).double().mean()) == pytest.approx(1 - math.exp(-0.2), abs=0.003)  # below -10 dB: 18 %


@pytest.mark.parametrize(("transmitter", "receiver"), [(0.7, 0.3), (0.0, 0.9), (-0.5, 0.0), (1.0, 0.5)])
def test_kronecker_correlation_is_recovered(transmitter: float, receiver: float) -> None:
    nt, nr, blocks = 3, 4, 40000
    h = MIMO(nt, nr, correlation=(transmitter, receiver)).draw(1, blocks, Key(3), torch.complex128)[0]
    i, j = torch.arange(nr).double(), torch.arange(nt).double()
    r_r, r_t = receiver ** (i[:, None] - i).abs(), transmitter ** (j[:, None] - j).abs()
    flat = h.flatten(1)  # row by row
    covariance = flat.mT @ flat.conj() / blocks
    assert float((covariance - torch.kron(r_r, r_t)).abs().max()) < 5 / math.sqrt(blocks)
    assert float((flat.mT @ flat / blocks).abs().max()) < 5 / math.sqrt(blocks)  # circular


def test_one_number_correlates_both_ends() -> None:
    one, pair = MIMO(2, 3, correlation=0.4), MIMO(2, 3, correlation=(0.4, 0.4))
    assert torch.equal(one.draw(2, 3, Key(1)), pair.draw(2, 3, Key(1)))


# --- without precoding ----------------------------------------------------------------------------------------------------------------


def test_the_matrix_form() -> None:
    s = symbols(2, 7)
    y, h, noise_var = MIMO(3, 2)(s, 300.0, Key(1))
    assert (y.shape, h.shape, noise_var.shape) == ((2, 3, 2), (2, 1, 2, 3), (2, 1, 1))
    x = torch.zeros(2, 9, dtype=torch.complex64)
    x[:, :7] = s
    assert torch.allclose(y, x.reshape(2, 3, 3) @ h[:, 0].mT, atol=1e-6)


@pytest.mark.parametrize("snr_db", SNRS)
def test_each_receive_antenna_hears_nt_times_unit_power_and_n0(snr_db: float) -> None:
    s = symbols(4, 30000)
    y, h, noise_var = MIMO(2, 3, coherence="fast")(s, snr_db, Key(2))
    noise = y - (h @ s.reshape(4, -1, 2, 1)).squeeze(-1)
    n0 = 10 ** (-snr_db / 10)
    assert noise_var.flatten().tolist() == pytest.approx([n0] * 4)
    assert noise.abs().square().mean((0, 1)).tolist() == pytest.approx([n0] * 3, rel=0.02)
    assert y.abs().square().mean((0, 1)).tolist() == pytest.approx([2 + n0] * 3, rel=0.02)


@pytest.mark.parametrize(("coherence", "lasts"), [("block", 10), ("fast", 1), (4, 4), (10, 10), (100, 10)])
def test_coherence_is_the_uses_that_share_a_matrix(coherence: Any, lasts: int) -> None:
    channel = MIMO(2, 2, coherence=coherence)
    h = channel(symbols(2, 20), 10.0, Key(1)).h.expand(2, 10, 2, 2)
    changed = (h[:, 1:] != h[:, :-1]).flatten(2).all(-1)
    assert changed.tolist() == [[(i + 1) % lasts == 0 for i in range(9)]] * 2
    assert bool((h[0] != h[1]).all())
    gain = MIMO(2, 2, "equal", coherence=coherence)(symbols(2, 20), 10.0, Key(1)).h
    assert torch.allclose(gain.real.reshape(2, 10, 2).double(), singular_values(h), rtol=1e-5)  # the same key, the same matrices


# --- precoding ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nt", "nr"), [(2, 2), (3, 2), (2, 4)])
@pytest.mark.parametrize("precoding", PRECODINGS)
def test_the_scalar_form_is_precoding_multiplied_out(nt: int, nr: int, precoding: Any) -> None:
    """U^H (H (V sqrt(P) s) + n) = S sqrt(P) s + U^H n, whose first term is h s of the channel; V sqrt(P) s has power nt."""
    m, uses, snr_db = min(nt, nr), 50, 3.0
    channel = MIMO(nt, nr, precoding, coherence="fast")
    s = symbols(1, m * uses, dtype=torch.float64)
    received = channel(s, snr_db, Key(5))
    h_key, _ = Key(5).split()
    h = channel.draw(1, uses, h_key, torch.complex128)
    u, sigma, vh = torch.linalg.svd(h, full_matrices=False)
    gain = received.h.reshape(1, uses, m)
    root_p = gain.real / sigma
    x = (vh.mH @ (root_p * s.reshape(1, uses, m)).unsqueeze(-1)).squeeze(-1)
    n = symbols(1, uses * nr, seed=6, dtype=torch.float64).reshape(1, uses, nr) * 10 ** (-snr_db / 20)
    y = (u.mH @ ((h @ x.unsqueeze(-1)) + n.unsqueeze(-1))).squeeze(-1)
    rotated = (u.mH @ n.unsqueeze(-1)).squeeze(-1)
    assert float((y - (gain * s.reshape(1, uses, m) + rotated)).abs().max()) < 1e-12
    assert root_p.square().sum(-1).flatten().tolist() == pytest.approx([nt] * uses, rel=1e-12)
    # and what the channel itself sent is that first term, with white noise of N0 beside it
    assert float(((received.y - received.h * s).abs().square().mean() / received.noise_var).item()) == pytest.approx(1, abs=0.5)


def test_rotated_noise_is_white_noise() -> None:
    blocks = 100_000
    u, _, _ = torch.ops.semdiff.svd_2x2.default(MIMO(2, 2).draw(1, blocks, Key(1), torch.complex128)[0])
    n = symbols(1, 2 * blocks, seed=2, dtype=torch.float64).reshape(blocks, 2, 1)
    rotated = (u.mH @ n).squeeze(-1)
    covariance = rotated.mT @ rotated.conj() / blocks
    assert float((covariance - torch.eye(2)).abs().max()) < 5 / math.sqrt(blocks)
    assert float((rotated.mT @ rotated / blocks).abs().max()) < 5 / math.sqrt(blocks)  # circular
    fourth = rotated.abs().pow(4).mean(0)
    assert fourth.tolist() == pytest.approx([2, 2], rel=0.03)  # Gaussian


@pytest.mark.parametrize("snr_db", SNRS)
@pytest.mark.parametrize("precoding", PRECODINGS)
def test_stated_statistics_are_those_of_simulation(precoding: Any, snr_db: float) -> None:
    s = symbols(4, 12000)
    received = MIMO(2, 2, precoding, coherence="fast")(s, snr_db, Key(3))
    noise = received.y - received.h * s
    assert float(noise.abs().square().mean()) == pytest.approx(10 ** (-snr_db / 10), rel=0.02)
    x, noise_var, gain = equalize(received, "mmse")
    on = gain > 0
    assert float(((x - gain * s).abs().square() / noise_var)[on].mean()) == pytest.approx(1, rel=0.02)
    assert bool((x[~on] == 0).all())
    if precoding != "waterfilling":
        x, noise_var, _ = equalize(received, "zf")
        assert float(((x - s).abs().square() / noise_var).mean()) == pytest.approx(1, rel=0.02)


def test_equalizing_gives_all_streams_one_snr() -> None:
    s = symbols(3, 40)
    channel = MIMO(2, 2, "equalizing")
    h = channel(s, 10.0, Key(4)).h.real
    sigma = singular_values(channel.draw(3, 1, Key(4).split()[0]))[:, 0]
    expected = 2 / sigma.pow(-2).sum(-1, keepdim=True)  # SNR over snr
    assert torch.allclose(h.double().square(), expected.expand(3, 40), rtol=1e-5)


def test_equal_power_serves_the_streams_unequally() -> None:
    h = MIMO(2, 2, "equal")(symbols(1, 4), 10.0, Key(4)).h.real[0]
    assert torch.equal(h[0::2], h[:1].expand(2))
    assert torch.equal(h[1::2], h[1:2].expand(2))
    assert float(h[0]) > float(h[1])


def test_a_stream_without_power_is_silent() -> None:
    received = MIMO(2, 2, "waterfilling", coherence="fast")(symbols(1, 2000), -10.0, Key(1))
    silent = received.h == 0
    assert 0.3 < float(silent.double().mean()) < 0.5  # the weak half, mostly
    x, noise_var, _ = equalize(received, "zf")
    assert bool((x[silent] == 0).all())
    assert bool(noise_var[silent].isinf().all())
    assert bool(noise_var[~silent].isfinite().all())
    assert bool((equalize(received, "mmse").gain[silent] == 0).all())


# --- water-filling --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 2, 3, 5])
@pytest.mark.parametrize("scale", [1e-30, 1e-3, 1.0, 1e3, 1e30])
def test_water_filling_satisfies_kkt_and_beats_other_powers(k: int, scale: float) -> None:
    gains = normal((500, k), Key(1), torch.float64).square() * scale
    total = 2.0
    p = water_filling(gains, total)
    assert bool((p >= 0).all())
    assert p.sum(-1).tolist() == pytest.approx([total] * 500, rel=1e-12)
    # Stationarity: the marginal capacity g/(1 + p g) is one number where p > 0, and nowhere larger.
    marginal = gains / (1 + p * gains)
    level = marginal.amax(-1, keepdim=True)
    assert torch.allclose(marginal[p > 1e-9], level.expand_as(p)[p > 1e-9], rtol=1e-9)

    def capacity(power: torch.Tensor) -> torch.Tensor:
        return torch.log1p(power * gains).sum(-1)

    best = capacity(p)
    assert bool((best >= capacity(torch.full_like(p, total / k)) * (1 - 1e-12)).all())
    for seed in range(5):
        other = normal((500, k), Key(10 + seed), torch.float64).square()
        assert bool((best >= capacity(other / other.sum(-1, keepdim=True) * total) * (1 - 1e-12)).all())
    if k > 1 and scale == 1:
        assert float((best - capacity(torch.full_like(p, total / k))).mean()) > 0.05


def test_water_filling_of_known_answers() -> None:
    gains = torch.tensor([[1.0, 0.5], [1.0, 0.0], [4.0, 4.0], [1.0, 0.1]])
    assert torch.allclose(water_filling(gains, 2.0), torch.tensor([[1.5, 0.5], [2, 0], [1, 1], [2, 0]], dtype=torch.float64))
    assert water_filling(torch.ones(0, 2), 1.0).shape == (0, 2)


# --- any size, any mates --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nt", "nr"), SIZES)
@pytest.mark.parametrize("precoding", [None, *PRECODINGS])
def test_any_number_of_antennas_odd_counts_and_batches(nt: int, nr: int, precoding: Any) -> None:
    for coherence, (batch, n) in itertools.product(("block", "fast", 2), ((0, 7), (1, 0), (1, 1), (2, 7))):
        channel = MIMO(nt, nr, precoding, coherence=coherence)
        s = symbols(batch, n)
        y, h, noise_var = channel(s, torch.full((batch,), 10.0), Key(1))
        m = nt if precoding is None else min(nt, nr)
        assert channel.uses(n) == Uses(math.ceil(n / m))
        assert y.shape == ((batch, math.ceil(n / m), nr) if precoding is None else (batch, n))
        assert y.dtype == h.dtype == torch.complex64
        assert noise_var.dtype == torch.float64
        assert bool(y.isfinite().all())
        if precoding is not None:
            assert h.shape == y.shape
            assert torch.broadcast_shapes(noise_var.shape, y.shape) == y.shape


@pytest.mark.parametrize(("nt", "nr"), [(2, 2), (3, 3), (4, 2), (1, 3)])
@pytest.mark.parametrize("precoding", [None, *PRECODINGS])
@pytest.mark.parametrize("coherence", ["block", "fast"])
def test_no_sample_depends_on_its_mates(nt: int, nr: int, precoding: Any, coherence: Any) -> None:
    """The beginning of a batch is the batch of its beginning, bit for bit; a mate's symbols and SNR change nothing."""
    channel = MIMO(nt, nr, precoding, correlation=0.5, coherence=coherence)
    s, snr = symbols(5, 37), torch.tensor([0.0, 3.0, 10.0, 20.0, -5.0])
    whole = channel(s, snr, Key(1))
    for batch in (1, 2, 4):
        for ours, theirs in zip(channel(s[:batch], snr[:batch], Key(1)), whole, strict=True):
            assert torch.equal(ours, theirs[:batch])
    other = torch.cat([s[:4], symbols(1, 37, seed=9)])
    for ours, theirs in zip(channel(other, torch.cat([snr[:4], snr[:1]]), Key(1)), whole, strict=True):
        assert torch.equal(ours[:4], theirs[:4])


def test_same_key_same_numbers_and_gradients_reach_the_symbols() -> None:
    for precoding in (None, *PRECODINGS):
        channel = MIMO(2, 2, precoding)  # type: ignore[arg-type]
        s = symbols(2, 6).requires_grad_()
        a, b = channel(s, 5.0, Key(1)), channel(s, 5.0, Key(1))
        assert torch.equal(a.y, b.y)
        assert not torch.equal(a.y, channel(s, 5.0, Key(2)).y)
        (gradient,) = torch.autograd.grad(a.y.abs().square().sum(), s)
        assert bool((gradient.abs() > 0).any())


def test_one_antenna_each_is_block_rayleigh() -> None:
    s = symbols(4000, 3)
    y, h, _ = MIMO(1, 1)(s, 200.0, Key(1))
    assert torch.allclose(y[:, :, 0], h[:, :, 0, 0] * s, atol=1e-6)
    assert float(h.abs().square().mean()) == pytest.approx(1, abs=4 / math.sqrt(4000))
    aligned = MIMO(1, 1, "equal")(s, 200.0, Key(1))
    assert torch.allclose(aligned.h.real, h[:, :, 0, 0].abs().expand(-1, 3), rtol=1e-6)


@pytest.mark.parametrize("precoding", [None, *PRECODINGS])
def test_compiles_whole(precoding: Any) -> None:
    channel = MIMO(2, 2, precoding)

    def run(s: torch.Tensor, key: torch.Tensor) -> Received:
        return channel(s, 5.0, key)

    s = symbols(2, 6)
    torch.compiler.reset()
    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")(s, Key(2).tensor)
    for ours, theirs in zip(compiled, run(s, Key(2).tensor), strict=True):
        assert torch.allclose(ours, theirs)


BAD: list[tuple[Any, type[Exception], str]] = [
    (lambda: MIMO(0, 2), ValueError, "nt: expected at least 1, got 0"),
    (lambda: MIMO(2, -1), ValueError, "nr: expected at least 1, got -1"),
    (lambda: MIMO(1.5, 2), TypeError, "nt: expected an integer, got float"),
    (lambda: MIMO(True, 2), TypeError, "nt: expected an integer, got bool"),
    (lambda: MIMO(2, 2, "svd"), ValueError, "precoding: expected None, equal, waterfilling or equalizing, got 'svd'"),
    (lambda: MIMO(2, 2, correlation=1.1), ValueError, r"correlation: expected numbers in \[-1, 1\], got 1.1"),
    (lambda: MIMO(2, 2, correlation=(0.5, math.nan)), ValueError, "correlation: expected numbers in"),
    (lambda: MIMO(2, 2, correlation=(0.5,)), TypeError, "correlation: expected a number or a pair"),
    (lambda: MIMO(2, 2, correlation="0.5"), TypeError, "correlation: expected a number or a pair"),
    (lambda: MIMO(2, 2, coherence="slow"), ValueError, "coherence: expected block, fast or a number of uses, got 'slow'"),
    (lambda: MIMO(2, 2, coherence=0), ValueError, "coherence: expected at least 1, got 0"),
    (lambda: MIMO(2, 2)(torch.ones(2, 4), 3.0), TypeError, "s: expected complex symbols"),
    (lambda: MIMO(2, 2)(symbols(2, 4).reshape(2, 2, 2), 3.0), ValueError, r"s: expected shape \(B, n\), got \(2, 2, 2\)"),
    (lambda: MIMO(2, 2)(symbols(2, 4), math.nan), ValueError, "snr_db: expected a finite number"),
    (lambda: MIMO(2, 2)(symbols(2, 4), torch.ones(3)), ValueError, "snr_db: expected shape"),
    (lambda: water_filling(torch.zeros(2, 2), 1.0), ValueError, "gains: expected finite numbers >= 0, at least one of each row positive"),
    (lambda: water_filling(torch.tensor([1.0, -1.0]), 1.0), ValueError, "gains: expected finite numbers >= 0"),
    (lambda: water_filling(torch.tensor([1.0, math.inf]), 1.0), ValueError, "gains: expected finite numbers >= 0"),
    (lambda: water_filling(torch.ones(2), 0.0), ValueError, "total: expected a finite positive number, got 0.0"),
    (lambda: water_filling(torch.ones(2, dtype=torch.complex64), 1.0), TypeError, "gains: expected a real floating-point tensor"),
    (lambda: water_filling(torch.ones(2, 0), 1.0), ValueError, r"gains: expected shape \(..., k\) with k >= 1, got \(2, 0\)"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD, ids=[b[2][:40] for b in BAD])
def test_wrong_arguments_are_named(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()

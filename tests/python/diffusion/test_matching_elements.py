# SPDX-License-Identifier: Apache-2.0
"""Noise that differs from element to element: the laws of what `match` makes of it, and the paths from there against exact posteriors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from semdiff import DiffusionState, Key, NoiseSchedule, Received, equalize, match, normal, pack, posterior_mean, sample, unpack
from semdiff import unpack_per_symbol as per_symbol
from semdiff.diffusion.matching import Spread
from semdiff.oracle import GaussianMixture
from studies.match_spread import PRIORS, study

SCHEDULE = NoiseSchedule.scaled_linear()
COARSE = NoiseSchedule.from_alphas_cumprod(SCHEDULE.alphas_cumprod[1::20])
SPREADS: tuple[Spread, ...] = ("element", "mean", "top_up")
SOLVERS = ("dpmpp_2m", "ddim", "ddpm", "heun")
F64 = torch.float64


def faded(shape: tuple[int, ...] = (4, 4, 64, 64), snr_db: float = 5.0) -> tuple[Tensor, Tensor, Tensor]:
    """z, z + n, and the variance of each n: from N0 / 3 to 10 N0."""
    z = normal(shape, Key(1), F64)
    v = 10 ** (-snr_db / 10) * torch.exp(torch.linspace(-math.log(3), math.log(10), z[0].numel(), dtype=F64)).reshape(1, *shape[1:])
    return z, z + v.sqrt() * normal(shape, Key(2), F64), v


def assert_normal(n: Tensor) -> None:
    """N(0, 1): mean, variance and kurtosis within 4.5 standard errors."""
    root = 4.5 / math.sqrt(n.numel())
    assert abs(float(n.mean())) < root
    assert float(n.var()) == pytest.approx(1, abs=root * math.sqrt(2))
    assert float((n**4).mean() / n.var() ** 2) == pytest.approx(3, abs=root * math.sqrt(24))


def whitened(state: DiffusionState, z: Tensor, schedule: NoiseSchedule = SCHEDULE) -> Tensor:
    a = schedule.alpha_bar(state.t)
    a = a if a.dim() == z.dim() else a.reshape(-1, *(1,) * (z.dim() - 1))
    return (state.x - a.sqrt() * z) / (1 - a).sqrt()


# --- the state ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gain", [None, 0.6])
@pytest.mark.parametrize("schedule", [SCHEDULE, COARSE], ids=repr)
@pytest.mark.parametrize("rounding", ["none", "ceil"])
@pytest.mark.parametrize("spread", ["element", "top_up"])
def test_the_law_is_the_forward_law_in_every_element(spread: Spread, rounding: str, schedule: NoiseSchedule, gain: float | None) -> None:
    z, y, v = faded()
    g = gain or 1.0
    state = match(g * y, g * g * v, schedule, key=Key(3), rounding=rounding, gain=gain, spread=spread)
    assert state.t.shape == (z.shape if spread == "element" else (4,))
    n = whitened(state, z, schedule)
    assert_normal(n)
    order = v.expand(z.shape).flatten().argsort()
    for part in (order[: len(order) // 8], order[-len(order) // 8 :]):  # the best measured and the worst by themselves
        assert_normal(n.flatten()[part])
    assert abs(float((n * z).mean())) < 4.5 / math.sqrt(n.numel())


def test_times_follow_the_noise_of_each_element_or_the_noisiest() -> None:
    _, y, v = faded((2, 64))
    state = match(y, v, SCHEDULE)
    torch.testing.assert_close(state.t, SCHEDULE.timestep(v).expand(2, 64))
    torch.testing.assert_close(state.x, y / (1 + v).sqrt())
    assert torch.equal(state.x, match(y, v, SCHEDULE, key=Key(8)).x)  # no random number
    assert match(y, v, SCHEDULE, spread="top_up").t.tolist() == [float(SCHEDULE.timestep(v.max()))] * 2


@pytest.mark.parametrize("spread", SPREADS)
def test_equal_noise_is_the_match_of_one_number(spread: Spread) -> None:
    y = normal((3, 4, 8), Key(1), F64)
    v = torch.tensor([0.01, 0.3, 5.0], dtype=F64)
    for rounding in ("none", "ceil"):
        one = match(y, v, SCHEDULE, key=Key(2), rounding=rounding)
        each = match(y, v.reshape(3, 1, 1).expand(3, 4, 8), SCHEDULE, key=Key(2), rounding=rounding, spread=spread)
        torch.testing.assert_close(each.x, one.x, rtol=1e-6, atol=1e-7)
        torch.testing.assert_close(each.t if spread != "element" else each.t[:, 0, 0], one.t, rtol=1e-9, atol=1e-9)
    column = match(y, v.reshape(3, 1, 1), SCHEDULE, spread=spread)  # a channel's noise_var: one for each sample
    assert column.t.shape == (3,)
    assert torch.equal(column.x, match(y, v, SCHEDULE).x)


def test_a_gain_for_the_whole_sample_is_undone() -> None:
    y, g = normal((2, 50), Key(1), F64), torch.tensor([0.5, 2.0], dtype=F64)
    got, plain = match(g[:, None] * y, 0.3 * g * g, SCHEDULE, gain=g), match(y, 0.3, SCHEDULE)
    torch.testing.assert_close(got.x, plain.x)
    torch.testing.assert_close(got.t, plain.t)


# theory: nominal SNR, the step that the official procedure takes for it, and the step of the effective SNR (1 - m) / m
RAYLEIGH_MMSE = [(0, 354, 414), (3, 255, 332), (6, 170, 256), (9, 105, 190), (10, 88, 171), (12, 61, 135), (15, 33, 92), (20, 11, 43)]


@pytest.mark.parametrize(("snr_db", "nominal", "right"), RAYLEIGH_MMSE)
def test_fast_rayleigh_behind_mmse_starts_at_the_right_step(snr_db: int, nominal: int, right: int) -> None:
    """m = c e^c E1(c) with c = 1 / snr, simulated. |h|^2 is one of each of 200,000 equal shares of its law, so the mean gain is exact."""
    n0, generator, count = 10 ** (-snr_db / 10), torch.Generator().manual_seed(snr_db), 200_000

    def circular() -> Tensor:
        return torch.randn(1, count, dtype=torch.complex128, generator=generator)

    s, phase, n = circular(), circular(), circular()
    power = -((torch.arange(count, dtype=F64) + 0.5) / count).log().unsqueeze(0)
    h = power.sqrt() * phase / phase.abs()
    x = h.conj() * (h * s + math.sqrt(n0) * n) / (power + n0)
    shape = (1, 2 * count)
    noise_var, gain = (per_symbol(v, shape) for v in (power * n0 / (power + n0) ** 2, power / (power + n0)))
    state = match(unpack(x, shape), noise_var, SCHEDULE, rounding="ceil", gain=gain, spread="mean", key=Key(1))
    assert float(state.t) == right
    assert int(match(unpack(x, shape), n0, SCHEDULE, mode="paper").t) == nominal
    # To second order it is the forward law: no noise is left that correlates with z, and the variance is right.
    z, a = unpack(s, shape), SCHEDULE.alpha_bar(state.t)
    assert float((state.x - a.sqrt() * z).var() / (1 - a)) == pytest.approx(1, abs=0.02)
    assert float(((state.x - a.sqrt() * z) * z).mean()) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("spread", SPREADS)
def test_zero_forcing_and_mmse_give_the_same_state(spread: Spread) -> None:
    z = normal((3, 2, 33), Key(1), F64)
    s = pack(z)
    h = torch.view_as_complex(normal((3, 33, 2), Key(2), F64)) * math.sqrt(0.5)
    n = torch.view_as_complex(normal((3, 33, 2), Key(3), F64)) * math.sqrt(0.05)
    received = Received(h * s + n, h, torch.full((3, 1), 0.1, dtype=F64))
    states = []
    for method in ("zf", "mmse"):
        x, noise_var, gain = equalize(received, method)
        of_elements = (per_symbol(v, z.shape) for v in (noise_var, gain))
        states.append(match(unpack(x, z.shape), next(of_elements), SCHEDULE, key=Key(4), gain=next(of_elements), spread=spread))
    for a, b in zip(*states, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)


def test_calibrated_estimates_have_an_error_for_each_element() -> None:
    z, y, v = faded()
    for spread in SPREADS:
        got = match(y / (1 + v), v / (1 + v), SCHEDULE, "calibrated", key=Key(2), spread=spread)
        want = match(y, v, SCHEDULE, key=Key(2), spread=spread)
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-7)
    assert_normal(whitened(match(y / (1 + v), v / (1 + v), SCHEDULE, "calibrated"), z))


def test_elements_that_carry_nothing() -> None:
    """A deep fade under MMSE: gain 0, noise 0. It starts at the end of the schedule, and no estimate is moved by it."""
    prior = GaussianMixture([[0.0] * 4], [1.0])
    x, noise, gain = (torch.tensor([[v, v, 0.0, v]], dtype=F64) for v in (0.7, 0.2, 0.9))
    for spread in SPREADS:
        state = match(x, noise, SCHEDULE, key=Key(1), gain=gain, spread=spread)
        assert bool(state.x.isfinite().all())
        out = posterior_mean(prior.denoiser(SCHEDULE), state, SCHEDULE)
        assert bool(out.isfinite().all())
        if spread != "top_up":
            assert out[0, 2] == 0
    assert match(x, noise, SCHEDULE, gain=gain).t[0, 2] == 999


# --- from the state to z -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_equal_times_go_the_way_of_one_time(solver: str, prediction: str) -> None:
    prior = GaussianMixture(normal((3, 8), Key(1), F64), [0.1, 0.2, 0.3])
    denoise = prior.denoiser(SCHEDULE, prediction)
    one = match(prior.sample(5, Key(2), F64), 0.5, SCHEDULE)
    each = DiffusionState(one.x, one.t.unsqueeze(1).expand(5, 8))
    torch.testing.assert_close(posterior_mean(denoise, each, SCHEDULE, prediction), posterior_mean(denoise, one, SCHEDULE, prediction))
    got, want = (sample(denoise, s, SCHEDULE, 6, solver, prediction=prediction, key=Key(3)) for s in (each, one))
    torch.testing.assert_close(got, want, rtol=1e-7, atol=1e-7)
    once = sample(denoise, each, SCHEDULE, 1, prediction=prediction)
    torch.testing.assert_close(once, posterior_mean(denoise, each, SCHEDULE, prediction))


def test_the_mean_of_independent_gaussians_is_exact() -> None:
    """z ~ N(0, 1): y / (1 + v) for every element, whatever the denoiser was told; also the ends of the schedule's range."""
    prior = GaussianMixture([[0.0] * 4096], [1.0])
    v = torch.exp(torch.linspace(math.log(1e-3), math.log(100), 4096, dtype=F64)).unsqueeze(0)
    y = prior.sample(1, Key(1), F64) + v.sqrt() * normal((1, 4096), Key(2), F64)
    out = posterior_mean(prior.denoiser(SCHEDULE), match(y, v, SCHEDULE), SCHEDULE)
    error = out - prior.posterior_mean(y, v)
    # eta is estimated from one sample of 4,096 elements, so to about 1 / sqrt(2048) of itself.
    assert float(error.square().mean()) < 1e-3 * float(prior.posterior_variance(y, v).mean())


def gauss_markov_error(v: Tensor, spread: Spread) -> tuple[float, float]:
    """Squared error over the exact MMSE, of the mean and of 8 steps, for a Gaussian of 64 elements with correlation 0.95^|i - j|."""
    i = torch.arange(64, dtype=F64)
    covariance = 0.95 ** (i.unsqueeze(1) - i).abs()
    power, basis = torch.linalg.eigh(covariance)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        a = SCHEDULE.alpha_bar(t).unsqueeze(1)
        return (x @ basis * (a.sqrt() * power / (a * power + 1 - a))) @ basis.T

    z = normal(v.shape, Key(5), F64) @ torch.linalg.cholesky(covariance).T
    y = z + v.sqrt() * normal(v.shape, Key(6), F64)
    best = torch.linalg.solve(covariance + torch.diag_embed(v), y.unsqueeze(-1)).squeeze(-1) @ covariance
    state = match(y, v, SCHEDULE, key=Key(7), spread=spread)
    mean, out = posterior_mean(denoise, state, SCHEDULE, "x0"), sample(denoise, state, SCHEDULE, prediction="x0", key=Key(8))
    least = (best - z).square().mean()
    return float((mean - z).square().mean() / least), float((out - z).square().mean() / least)


@pytest.mark.parametrize("snr_db", [5.0, 10.0, 20.0])
def test_a_time_for_each_element_beats_one_time(snr_db: float) -> None:
    """Fast Rayleigh over correlated data: the order that made it the default, and how far from the best it stays."""
    v = 10 ** (-snr_db / 10) / -torch.special.ndtr(normal((500, 64), Key(9), F64)).log()
    errors = {spread: gauss_markov_error(v, spread) for spread in SPREADS}
    for path in range(2):
        assert errors["element"][path] < 0.97 * errors["mean"][path] < 0.3 * errors["top_up"][path]
    assert 1 < errors["element"][0] < 1.25
    assert errors["element"][1] < 1.4


@pytest.mark.slow
def test_chains_draw_from_the_posterior_of_unequal_noise() -> None:
    """One Gaussian with independent elements of one variance p, one y: 2,000 ancestral chains of 100 steps against the closed form,
    N(m + p / (p + v) (y - m), p v / (p + v)).

    Tolerances: 4.5 standard errors of the mean and 0.02 of a deviation, 15 % of the variance, for the finite steps (8 %, as for one time)
    and for eta, which is estimated from the 64 elements of the one y. Where the elements' own variances differ by ten the worst measured
    get up to 70 % too little: eta is one number for a sample.
    """
    d, n, p = 64, 2000, 0.6
    prior = GaussianMixture(0.8 * normal((1, d), Key(1), F64), [p])
    w = torch.exp(torch.linspace(math.log(0.02), math.log(8), d, dtype=F64)).unsqueeze(0)
    y = (prior.sample(1, Key(3), F64) + w.sqrt() * normal((1, d), Key(4), F64)).expand(n, d).contiguous()
    draws = sample(prior.denoiser(SCHEDULE), match(y, w, SCHEDULE), SCHEDULE, 100, "ddpm", key=Key(5))
    mean, variance = prior.posterior_mean(y[:1], w)[0], prior.posterior_variance(y[:1], w)[0]
    assert bool(((draws.mean(0) - mean).abs() < (4.5 / math.sqrt(n) + 0.02) * variance.sqrt()).all())
    ratio = draws.var(0) / variance
    assert float(ratio.mean()) == pytest.approx(1, abs=0.12)
    assert bool(((ratio - 1).abs() < 0.15 + 4.5 * math.sqrt(2 / n)).all())


@pytest.mark.parametrize("solver", SOLVERS)
def test_samples_ignore_their_mates(solver: str) -> None:
    prior = GaussianMixture(normal((3, 8), Key(1), F64), [0.1, 0.2, 0.3])
    v = torch.exp(normal((3, 8), Key(2), F64))
    state = match(prior.sample(3, Key(3), F64), v, SCHEDULE)
    alone = DiffusionState(state.x[:1], state.t[:1])
    denoise = prior.denoiser(SCHEDULE)
    torch.testing.assert_close(posterior_mean(denoise, alone, SCHEDULE), posterior_mean(denoise, state, SCHEDULE)[:1])
    together, single = (sample(denoise, s, SCHEDULE, 5, solver, key=Key(4)) for s in (state, alone))
    torch.testing.assert_close(single, together[:1])
    for spread in SPREADS:
        y = prior.sample(3, Key(3), F64)
        torch.testing.assert_close(match(y, v, SCHEDULE, key=Key(5), spread=spread).x[:1],
                                   match(y[:1], v[:1], SCHEDULE, key=Key(5), spread=spread).x)  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes_gradients_and_keys(dtype: torch.dtype) -> None:
    y, v = normal((2, 4, 8), Key(1), dtype).requires_grad_(), torch.exp(normal((2, 4, 8), Key(2), F64))
    state = match(y, v, SCHEDULE)
    assert state.x.dtype == dtype
    assert state.t.dtype == F64
    denoise = GaussianMixture([[0.0] * 32], [0.5]).denoiser(SCHEDULE)
    for solver in SOLVERS:
        out = sample(denoise, state, SCHEDULE, 4, solver, key=Key(3))
        assert out.dtype == dtype
        assert torch.equal(out, sample(denoise, state, SCHEDULE, 4, solver, key=Key(3)))
    mean = posterior_mean(denoise, state, SCHEDULE, clip=0.3)
    assert mean.dtype == dtype
    assert float(mean.detach().abs().max()) <= 0.3 * (1 + torch.finfo(dtype).eps)
    posterior_mean(denoise, state, SCHEDULE).float().sum().backward()
    assert y.grad is not None
    assert bool((y.grad > 0).all())


@pytest.mark.slow
def test_compiles_whole() -> None:
    y, v, g = normal((2, 8), Key(1)), torch.exp(normal((2, 8), Key(2))), torch.full((2, 8), 0.5)
    for spread in SPREADS:

        def run(y: Tensor, v: Tensor, g: Tensor, key: Tensor, spread: Spread = spread) -> tuple[Tensor, Tensor]:
            return tuple(match(y, v, SCHEDULE, key=key, gain=g, spread=spread))

        got = torch.compile(run, fullgraph=True, backend="aot_eager")(y, v, g, Key(2).tensor)
        for a, b in zip(got, run(y, v, g, Key(2).tensor), strict=True):
            assert torch.equal(a, b)


# --- the oracle under such noise, the helper, bad input ----------------------------------------------------------------------------------


def test_oracle_against_a_grid() -> None:
    """Two dimensions by the midpoint rule on a dense grid of z: mean and variance, noise of 0.05 and 2."""
    prior = GaussianMixture([[-1.0, 0.5], [1.0, -0.5], [0.3, 1.5]], [[0.05, 0.2], [0.1, 0.1], [0.3, 0.05]], [0.5, 0.2, 0.3])
    y, v = torch.tensor([[0.4, -1.2]], dtype=F64), torch.tensor([[0.05, 2.0]], dtype=F64)
    axis = torch.linspace(-6, 6, 401, dtype=F64)
    z = torch.cartesian_prod(axis, axis)
    weights = (prior.log_prob(z) - ((y - z).square() / (2 * v)).sum(1)).softmax(0)
    mean = weights @ z
    torch.testing.assert_close(prior.posterior_mean(y, v)[0], mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(prior.posterior_variance(y, v)[0], weights @ (z - mean).square(), rtol=1e-9, atol=1e-9)
    draws = prior.posterior_sample(y.expand(40_000, -1), v, Key(1))
    torch.testing.assert_close(draws.mean(0), mean, rtol=0, atol=0.03)
    torch.testing.assert_close(draws.var(0), prior.posterior_variance(y, v)[0], rtol=0.04, atol=0)


def test_oracle_of_one_gaussian_and_of_equal_noise() -> None:
    m, p = torch.tensor([[1.0, -2.0, 0.5]], dtype=F64), torch.tensor([[0.5, 2.0, 1.0]], dtype=F64)
    y, v = normal((4, 3), Key(1), F64), torch.exp(normal((4, 3), Key(2), F64))
    prior = GaussianMixture(m, p)
    torch.testing.assert_close(prior.posterior_mean(y, v), m + p / (p + v) * (y - m))
    torch.testing.assert_close(prior.posterior_variance(y, v), p * v / (p + v))
    torch.testing.assert_close(prior.posterior_mean(y.reshape(4, 1, 3), v[:, None]), prior.posterior_mean(y, v)[:, None])
    mixed = GaussianMixture(normal((3, 3), Key(3), F64), [0.1, 0.2, 0.3])
    for f in (mixed.posterior_mean, mixed.posterior_variance):
        torch.testing.assert_close(f(y, torch.full((4, 3), 0.3, dtype=F64)), f(y, 0.3))
        torch.testing.assert_close(f(y, v[:, :1]), f(y, v[:, 0]))
    assert torch.equal(mixed.posterior_sample(y, v[:1], Key(1)), mixed.posterior_sample(y, v[:1].expand(4, 3), Key(1)))
    for bad in (v[:2], v.reshape(4, 3, 1), v[0]):
        with pytest.raises(ValueError, match=r"noise_var: expected shape \(\) or \(4,\), or one that broadcasts to \(4, 3\)"):
            prior.posterior_mean(y, bad)


def test_values_of_a_symbol_serve_its_two_elements() -> None:
    values = torch.arange(6.0).reshape(2, 3)
    assert per_symbol(values, (2, 5)).tolist() == [[0, 0, 1, 1, 2], [3, 3, 4, 4, 5]]
    assert per_symbol(values, (2, 1, 2, 3)).shape == (2, 1, 2, 3)
    assert per_symbol(values[:, :1], (2, 1, 2, 3)).shape == (2, 1, 1, 1)
    assert per_symbol(values[:1], (4, 6)).shape == (4, 6)
    s = torch.complex(values, values)
    torch.testing.assert_close(unpack(s, (2, 6)), math.sqrt(2) * per_symbol(values, (2, 6)))
    for bad, shape in ((values, (2, 7)), (values, (3, 6)), (values[0], (2, 6)), (s, (2, 6))):
        with pytest.raises(ValueError, match="values: expected"):
            per_symbol(bad, shape)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_var": torch.ones(2, 5)}, r"noise_var: expected shape \(\) or \(2,\), or one that broadcasts to \(2, 6\), got \(2, 5\)"),
        ({"noise_var": torch.ones(6)}, r"noise_var: expected shape .*, got \(6,\)"),
        ({"noise_var": torch.tensor([[0.1, -0.1, 1, 1, 1, 1]])}, "noise_var: expected"),
        ({"noise_var": torch.tensor([[0.1, NAN, 1, 1, 1, 1]])}, "noise_var: expected"),
        ({"noise_var": torch.tensor([[0.1, INF, 1, 1, 1, 1]])}, "noise_var: expected"),
        ({"noise_var": torch.tensor([[0.1, -0.1, 1, 1, 1, 1]]), "spread": "mean"}, "noise_var: expected"),
        ({"noise_var": torch.tensor([[0.1, NAN, 1, 1, 1, 1]]), "spread": "top_up"}, "noise_var: expected"),
        ({"noise_var": torch.tensor([[0.1, INF, 1, 1, 1, 1]]), "spread": "mean"}, "noise_var: expected"),
        ({"noise_var": torch.tensor([[0.1, -0.1, 1, 1, 1, 1]]), "gain": 0.5}, "noise_var: expected"),
        ({"noise_var": torch.ones(2, 6), "mode": "paper"}, r"noise_var: expected shape \(\) or \(B,\) in paper mode"),
        ({"gain": 0.0}, "gain: expected finite positive numbers"),
        ({"gain": -torch.ones(2, 6)}, "gain: expected finite positive numbers"),
        ({"gain": torch.tensor([NAN, 1.0])}, "gain: expected finite positive numbers"),
        ({"gain": torch.ones(3)}, r"gain: expected shape \(\) or \(2,\)"),
        ({"gain": 0.5, "mode": "calibrated"}, "gain: expected None in calibrated mode"),
        ({"spread": "median"}, "spread: expected element, mean or top_up, got 'median'"),
    ],
)
def test_bad_input(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        match(torch.zeros(2, 6), **{"noise_var": 0.5, "schedule": SCHEDULE, **arguments})  # type: ignore[arg-type]


def test_bad_states() -> None:
    denoise = GaussianMixture([[0.0] * 6], [1.0]).denoiser(SCHEDULE)
    state = DiffusionState(torch.zeros(2, 6), torch.zeros(2, 5, dtype=F64))
    for f in (posterior_mean, sample):
        with pytest.raises(ValueError, match=r"state.t: expected shape \(2,\) or that of state.x, \(2, 6\), got \(2, 5\)"):
            f(denoise, state, SCHEDULE)
    with pytest.raises(TypeError, match="gain: expected a number"):
        match(torch.zeros(2, 6), 0.5, SCHEDULE, gain="1")  # type: ignore[arg-type]


def test_the_study_runs_and_says_what_the_default_rests_on() -> None:
    rows = study(PRIORS["waves"](), 10.0, 60, (("dpmpp_2m", 4),))
    errors = {(r["equalizer"], r["way"], r["path"]): r["mse_over_mmse"] for r in rows}
    for path in ("posterior_mean", "dpmpp_2m"):
        assert errors["mmse", "element", path] < errors["mmse", "mean", path] < errors["mmse", "paper", path]
    assert errors["-", "exact", "sample"] == pytest.approx(2, rel=0.25)


@pytest.mark.parametrize(("gain", "noise_var"), [(1e-9, 1.0), (1.0, 1e15), (1e3, 1e20), (1e-7, 1e-3)])
def test_noise_however_strong_is_scaled_to_unit_variance(gain: float, noise_var: float) -> None:
    noise, each = (torch.full((1, 4), v, dtype=F64) for v in (noise_var, gain))
    x = torch.tensor([[-1.0, 0.5, 1.0, 2.0]], dtype=F64)
    state = match(x * noise_var**0.5, noise, SCHEDULE, gain=each)
    assert bool((state.t == 999).all())
    torch.testing.assert_close(state.x, x, rtol=1e-6, atol=0)

# SPDX-License-Identifier: Apache-2.0
"""The oracle against independent routes to the same numbers (autograd, moments, quadrature), and the core against the oracle."""

import math

import pytest
import torch
from torch import Tensor

import semdiff
from semdiff import DiffusionState, Key, NoiseSchedule
from semdiff.diffusion import sampler
from semdiff.oracle import GaussianMixture

SCHEDULE = NoiseSchedule.scaled_linear()


def mixture(k: int = 4, d: int = 6, seed: int = 7) -> GaussianMixture:
    means, spread, weights = (
        semdiff.normal(size, key, torch.float64) for size, key in zip([(k, d), (k, d), (k,)], Key(seed).split(3), strict=True)
    )
    return GaussianMixture(means, 0.02 + 0.1 * spread.square(), weights.exp()).standardized()


def through_channel(prior: GaussianMixture, n: int, snr_db: float, seed: int) -> tuple[Tensor, Tensor, float]:
    """z, and z as an AWGN channel delivers it."""
    from_prior, from_channel = Key(seed).split(2)
    z = prior.sample(n, from_prior, torch.float64)
    received = semdiff.AWGN()(semdiff.pack(z), snr_db, from_channel)
    return z, semdiff.unpack(received.y, z.shape), float(received.noise_var[0, 0])


def mean_and_error(x: Tensor) -> tuple[float, float]:
    return float(x.mean()), float(x.std() / math.sqrt(x.numel()))


# --- the oracle itself -------------------------------------------------------------------------------------------------------------------


def test_sample_has_the_priors_moments() -> None:
    prior, n = mixture(), 100_000
    z = prior.sample(n, Key(1), torch.float64)
    deviations = (z.mean(0) - prior.mean) / (prior.variance / n).sqrt()
    assert deviations.abs().max() < 4.5
    torch.testing.assert_close(z.var(0), prior.variance, rtol=0.03, atol=0)
    torch.testing.assert_close(prior.mean, torch.zeros(6, dtype=torch.float64), rtol=0, atol=1e-12)
    assert float(prior.variance.mean()) == pytest.approx(1, abs=1e-12)


def test_sample_prefix_and_dtype() -> None:
    prior = mixture()
    assert torch.equal(prior.sample(5, Key(3)), prior.sample(50, Key(3))[:5])
    assert prior.sample(2, Key(3)).dtype == torch.float32
    assert prior.sample(0, Key(3)).shape == (0, 6)


def test_log_prob_is_torchs() -> None:
    prior = mixture()
    components = torch.distributions.Independent(torch.distributions.Normal(prior.means, prior.variances.sqrt()), 1)
    torchs = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(prior.weights), components)
    x = prior.sample(100, Key(2), torch.float64)
    torch.testing.assert_close(prior.log_prob(x), torchs.log_prob(x), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("t", [0.0, 12.5, 354.0, 999.0])
def test_denoiser_is_the_score(t: float) -> None:
    """eps = -sqrt(1 - alpha_bar) * gradient of ln p_t, and x0, v follow from it (Tweedie)."""
    prior, a = mixture(), SCHEDULE.alpha_bar(t)
    x = prior.diffused(float(a)).sample(20, Key(5), torch.float64).requires_grad_()
    (score,) = torch.autograd.grad(prior.diffused(float(a)).log_prob(x).sum(), x)
    x = x.detach()
    eps = prior.denoiser(SCHEDULE)(x, torch.tensor(t))
    torch.testing.assert_close(eps, -(1 - a).sqrt() * score, rtol=1e-9, atol=1e-9)
    x0 = prior.denoiser(SCHEDULE, "x0")(x, torch.full((20,), t))
    torch.testing.assert_close(a.sqrt() * x0 + (1 - a).sqrt() * eps, x, rtol=1e-9, atol=1e-9)
    v = prior.denoiser(SCHEDULE, "v")(x, torch.full((20,), t))
    torch.testing.assert_close(v, a.sqrt() * eps - (1 - a).sqrt() * x0, rtol=1e-9, atol=1e-9)


def test_denoiser_is_differentiable() -> None:
    prior = mixture(3, 4)
    x = prior.sample(3, Key(1), torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: prior.denoiser(SCHEDULE)(x, torch.tensor([3.5, 100.0, 700.0])), x)


def test_one_gaussian_is_the_wiener_filter() -> None:
    m, v, w = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 2.0]), 0.3
    prior = GaussianMixture(m[None], v[None], [1.0])
    y = torch.tensor([[0.1, 0.2], [3.0, -4.0]])
    torch.testing.assert_close(prior.posterior_mean(y, w), m + v / (v + w) * (y - m))
    torch.testing.assert_close(prior.posterior_variance(y, w), (v * w / (v + w)).expand(2, 2))
    assert float(prior.mmse(w).value) == pytest.approx(float((v * w / (v + w)).mean()), rel=1e-6)
    assert prior.mmse(w).standard_error == 0
    eps = prior.denoiser(SCHEDULE)(y, torch.tensor(88.0))
    a = SCHEDULE.alpha_bar(88.0).float()
    torch.testing.assert_close(eps, (1 - a).sqrt() * (y - a.sqrt() * m) / (a * v + 1 - a))


def test_mmse_quadrature_monte_carlo_and_error_agree() -> None:
    narrow = GaussianMixture([[-1.0], [2.0]], [0.1, 0.3], [0.4, 0.6])
    # The same prior in a plane whose second element is known to 1e-12 almost: Monte Carlo instead of quadrature.
    plane = GaussianMixture([[-1.0, 0.0], [2.0, 0.0]], [[0.1, 1e-12], [0.3, 1e-12]], [0.4, 0.6])
    noise = torch.tensor([[0.0, 0.01], [0.3, 10.0]])
    exact, (value, error) = narrow.mmse(noise), plane.mmse(noise)
    assert exact.value.shape == value.shape == (2, 2)
    assert bool((exact.standard_error == 0).all())
    assert exact.value[0, 0] == 0
    assert bool(((2 * value - exact.value).abs() <= 2 * 4 * error + 1e-9).all())
    assert torch.equal(value, plane.mmse(noise).value)  # the default key is fixed
    z = narrow.sample(200_000, Key(1), torch.float64)
    mean, error_of_mean = mean_and_error(
        (narrow.posterior_mean(z + 0.3**0.5 * semdiff.normal(z.shape, Key(2), torch.float64), 0.3) - z).square()
    )
    assert abs(mean - float(exact.value[1, 0])) < 4 * error_of_mean


def test_posterior_sample_has_the_posteriors_moments() -> None:
    prior, n = mixture(), 50_000
    y = prior.sample(1, Key(3), torch.float64) + 0.5
    draws = prior.posterior_sample(y.expand(n, -1), 0.5, Key(4))
    mean, variance = prior.posterior_mean(y, 0.5)[0], prior.posterior_variance(y, 0.5)[0]
    assert ((draws.mean(0) - mean) / (variance / n).sqrt()).abs().max() < 4.5
    torch.testing.assert_close(draws.var(0), variance, rtol=0.05, atol=0)


def test_a_posterior_sample_has_twice_the_mmse() -> None:
    prior = mixture()
    z, y, noise_var = through_channel(prior, 50_000, 3.0, 9)
    of_sample = (prior.posterior_sample(y, noise_var, Key(5)) - z).square().mean(-1)
    of_mean = (prior.posterior_mean(y, noise_var) - z).square().mean(-1)
    mean, error = mean_and_error(of_sample - 2 * of_mean)
    assert abs(mean) < 4 * error


def test_safe_far_away_and_near_certainty() -> None:
    """Where every density underflows float64, the posterior is still the nearest component's."""
    prior = GaussianMixture([[-1.0, 0.0], [1.0, 0.0]], [1e-10, 1e-10], [0.5, 0.5])
    y = torch.tensor([[300.0, 5.0], [-300.0, 5.0]])
    torch.testing.assert_close(prior.posterior_mean(y, 1e-3), torch.tensor([[1.00003, 0.0], [-1.00003, 0.0]]), rtol=1e-6, atol=1e-6)
    assert bool(prior.log_prob(y).isfinite().all())
    assert bool(prior.denoiser(SCHEDULE)(y * 1e6, torch.tensor(999.0)).isfinite().all())


def test_any_batch_and_shape() -> None:
    prior = mixture()
    denoise = prior.denoiser(SCHEDULE)
    x = prior.sample(4, Key(1))
    t = torch.tensor([0.0, 1.5, 300.25, 999.0])
    out = denoise(x, t)
    assert out.dtype == torch.float32
    assert torch.equal(denoise(x.reshape(4, 1, 2, 3), t), out.reshape(4, 1, 2, 3))
    for i in range(4):  # a sample's result does not depend on the rest of the batch
        torch.testing.assert_close(denoise(x[i : i + 1], t[i : i + 1])[0], out[i], rtol=1e-6, atol=1e-7)
    assert denoise(x[:0], t[:0]).shape == (0, 6)
    assert prior.posterior_mean(x[:0], 0.1).shape == (0, 6)


NAN = float("nan")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([1.0], [1.0], [1.0]), ValueError, r"means: expected shape \(K, D\), got \(1,\)"),
        (([[]], [1.0], [1.0]), ValueError, r"means: expected shape \(K, D\)"),
        (("ab", [1.0], [1.0]), TypeError, "means: expected numbers, got str"),
        (([[NAN]], [1.0], [1.0]), ValueError, "means: expected finite"),
        (([[1.0, 2.0]], [1.0, 2.0], [1.0]), ValueError, r"variances: expected shape \(1,\) or \(1, 2\), got \(2,\)"),
        (([[1.0]], [0.0], [1.0]), ValueError, "variances: expected positive"),
        (([[1.0]], [1.0], [1.0, 2.0]), ValueError, r"weights: expected shape \(1,\), got \(2,\)"),
        (([[1.0]], [1.0], [-1.0]), ValueError, "weights: expected positive"),
    ],
)
def test_bad_priors(arguments: tuple[object, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        GaussianMixture(*arguments)


def test_bad_calls() -> None:
    prior = mixture()
    x = torch.zeros(2, 6)
    with pytest.raises(ValueError, match=r"noise_var: expected finite numbers >= 0, got -1"):
        prior.posterior_mean(x, -1.0)
    with pytest.raises(ValueError, match="noise_var: expected finite"):
        prior.mmse(NAN)
    with pytest.raises(ValueError, match=r"noise_var: expected shape \(\) or \(2,\), or one that broadcasts to \(2, 6\), got \(3,\)"):
        prior.posterior_mean(x, torch.ones(3))
    with pytest.raises(ValueError, match=r"y: expected shape \(B, \.\.\.\) with 6 elements a sample, got \(2, 5\)"):
        prior.posterior_sample(x[:, :5], 1.0)
    with pytest.raises(TypeError, match=r"x: expected a floating-point tensor, got torch.int64"):
        prior.log_prob(x.long())
    with pytest.raises(ValueError, match="prediction: expected eps, x0 or v, got 'noise'"):
        prior.denoiser(SCHEDULE, "noise")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"t: expected shape \(\) or \(2,\), got \(3,\)"):
        prior.denoiser(SCHEDULE)(x, torch.zeros(3))
    with pytest.raises(ValueError, match="alpha_bar: expected"):
        prior.diffused(0.0)
    with pytest.raises(ValueError, match="n: expected"):
        prior.sample(-1)
    with pytest.raises(ValueError, match="draws: expected"):
        prior.mmse(1.0, draws=1)


# --- the core against it -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 5.0, 10.0, 15.0, 20.0])
@pytest.mark.parametrize("rounding", ["none", "ceil"])
def test_posterior_mean_from_the_matched_state_reaches_the_mmse(snr_db: float, rounding: semdiff.diffusion.schedule.Rounding) -> None:
    prior = mixture()
    z, y, noise_var = through_channel(prior, 20_000, snr_db, 11)
    state = semdiff.match(y, noise_var, SCHEDULE, key=Key(12), rounding=rounding)
    estimate = semdiff.posterior_mean(prior.denoiser(SCHEDULE), state, SCHEDULE)
    # "ceil" adds noise up to the next step, and so has that step's MMSE.
    reached = float(SCHEDULE.noise_var(state.t[0]))
    best = prior.mmse(reached)
    mean, error = mean_and_error((estimate - z).square().mean(-1))
    assert abs(mean - float(best.value)) < 4 * math.hypot(error, float(best.standard_error))
    if rounding == "none":
        assert reached == pytest.approx(noise_var, rel=1e-9)
        torch.testing.assert_close(estimate, prior.posterior_mean(y, noise_var), rtol=1e-9, atol=1e-9)


def test_per_sample_noise_is_matched_per_sample() -> None:
    prior = mixture()
    z = prior.sample(64, Key(1), torch.float64)
    noise_var = 10 ** torch.linspace(-2, 0.5, 64, dtype=torch.float64)
    y = z + noise_var.sqrt().unsqueeze(-1) * semdiff.normal(z.shape, Key(2), torch.float64)
    state = semdiff.match(y, noise_var, SCHEDULE)
    estimate = semdiff.posterior_mean(prior.denoiser(SCHEDULE), state, SCHEDULE)
    torch.testing.assert_close(estimate, prior.posterior_mean(y, noise_var), rtol=1e-9, atol=1e-9)


def grid_to(state: DiffusionState, end: float, steps: int) -> Tensor:
    """Uniform in ln SNR from the state's times to `end`, without the last jump to clean data, which is of first order for every solver."""
    start, stop = SCHEDULE.alpha_bar(state.t).logit(), SCHEDULE.alpha_bar(end).logit()
    share = torch.linspace(0, 1, steps + 1, dtype=torch.float64).unsqueeze(-1)
    times = SCHEDULE.timestep(torch.exp(-(start + (stop - start) * share)))
    times[0], times[-1] = state.t, end
    return times


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("heun", 2)])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_solvers_converge_at_their_orders(solver: sampler.Solver, order: int, prediction: sampler.Prediction) -> None:
    prior = mixture()
    _, y, noise_var = through_channel(prior, 16, 0.0, 21)
    state = semdiff.match(y, noise_var, SCHEDULE)

    def end(solver: sampler.Solver, steps: int) -> Tensor:
        denoise = prior.denoiser(SCHEDULE, prediction)
        return semdiff.sample(denoise, state, SCHEDULE, solver=solver, prediction=prediction, grid=grid_to(state, 20.0, steps))

    exact = end("heun", 1024)  # its own error is (128 / 1024)^2 of what is measured
    coarse, fine = ((end(solver, steps) - exact).square().mean().sqrt() for steps in (64, 128))
    assert math.log2(coarse / fine) == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize(
    ("solver", "bounds"), [("ddim", {8: 0.1, 16: 0.05, 64: 0.014}), ("dpmpp_2m", {4: 0.06, 8: 5e-3, 16: 2.5e-3, 64: 2e-3})]
)
def test_gaussian_end_point_on_the_default_grid(solver: sampler.Solver, bounds: dict[int, float]) -> None:
    """Against the closed form of the probability-flow ODE, z = m + sqrt(v / (a v + 1 - a)) (x_t - sqrt(a) m), at 0 dB and v = 1/4.

    What stays with many steps, 1.7e-3, is the schedule's own end: its first step has alpha_bar = 0.99915, and from there all jump.
    """
    prior, a = GaussianMixture([[0.7]], [0.25], [1.0]), 0.5
    state = DiffusionState(torch.tensor([[1.3]], dtype=torch.float64), SCHEDULE.timestep(torch.ones(1)))
    exact = 0.7 + math.sqrt(0.25 / (a * 0.25 + 1 - a)) * (1.3 - math.sqrt(a) * 0.7)
    for steps, bound in bounds.items():
        out = float(semdiff.sample(prior.denoiser(SCHEDULE), state, SCHEDULE, steps=steps, solver=solver))
        assert abs(out - exact) / abs(exact - 0.7) < bound


def test_ddpm_draws_from_the_posterior() -> None:
    """For one received y: 3,000 ancestral chains of 64 steps have the mean and the variance of p(z | y)."""
    prior, n = mixture(3, 4), 3000
    _, y, noise_var = through_channel(prior, 1, 0.0, 31)
    state = semdiff.match(y.expand(n, -1).contiguous(), noise_var, SCHEDULE)
    draws = semdiff.sample(prior.denoiser(SCHEDULE), state, SCHEDULE, steps=64, solver="ddpm", key=Key(32))
    mean, variance = prior.posterior_mean(y, noise_var)[0], prior.posterior_variance(y, noise_var)[0]
    # For the finite steps: 2 % of a standard deviation, and 7 % of the variance, which ancestral steps make too small. The rest is 4.5
    # standard errors of the mean, and 3 of the variance.
    assert bool(((draws.mean(0) - mean).abs() < (4.5 / math.sqrt(n) + 0.02) * variance.sqrt()).all())
    torch.testing.assert_close(draws.var(0), variance, rtol=0.15, atol=0)


def test_ode_samples_have_the_priors_moments() -> None:
    """The ODE carries the law of x_t to the prior: 8 steps of the default solver from what a 3 dB channel delivers."""
    prior, n = mixture(), 20_000
    _, y, noise_var = through_channel(prior, n, 3.0, 41)
    out = semdiff.sample(prior.denoiser(SCHEDULE), semdiff.match(y, noise_var, SCHEDULE), SCHEDULE)
    assert ((out.mean(0) - prior.mean) / prior.variance.sqrt()).abs().max() < 0.04
    torch.testing.assert_close(out.var(0), prior.variance, rtol=0.06, atol=0)


def test_the_wrong_time_costs() -> None:
    """3 dB beside the matched time, either way, is worse than the match."""
    prior = mixture()
    z, y, noise_var = through_channel(prior, 5000, 8.0, 51)

    def error(factor: float) -> float:
        state = semdiff.match(y, noise_var * factor, SCHEDULE)
        return float((semdiff.posterior_mean(prior.denoiser(SCHEDULE), state, SCHEDULE) - z).square().mean())

    assert error(1.0) < error(2.0)
    assert error(1.0) < error(0.5)

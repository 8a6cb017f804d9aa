# SPDX-License-Identifier: Apache-2.0
"""The oracle: for data N(0, P) the exact denoiser is eps = sqrt(1 - a) x / (a P + 1 - a), and the probability flow scales x by its
deviation. The parts that need diffusers are in test_sampler_diffusers.py."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from semdiff import (
    DiffusionState,
    Key,
    NoiseSchedule,
    add_noise,
    ddim_step,
    ddpm_step,
    dpmpp_2m_step,
    normal,
    posterior_mean,
    sample,
    time_grid,
)
from semdiff.diffusion.sampler import Denoiser

SCHEDULE = NoiseSchedule.scaled_linear()
SOLVERS = ("dpmpp_2m", "ddim", "ddpm", "heun")


def gaussian(power: float = 1.0, prediction: str = "eps", schedule: NoiseSchedule = SCHEDULE) -> Denoiser:
    def denoise(x: Tensor, t: Tensor) -> Tensor:
        a = schedule.alpha_bar(t).reshape(-1, *[1] * (x.dim() - 1))
        eps = (1 - a).sqrt() * x / (a * power + 1 - a)
        x0 = a.sqrt() * power * x / (a * power + 1 - a)
        return {"eps": eps, "x0": x0, "v": a.sqrt() * eps - (1 - a).sqrt() * x0}[prediction].to(x.dtype)

    return denoise


def state(*t: float, shape: tuple[int, ...] = (6,), dtype: torch.dtype = torch.float64) -> DiffusionState:
    return DiffusionState(normal((len(t), *shape), Key(1), dtype), torch.tensor(t, dtype=torch.float64))


def angle(t: float | Tensor) -> Tensor:
    return SCHEDULE.alpha_bar(t).sqrt().acos()


def test_a_denoiser_in_numpy() -> None:
    """Its array counts as a tensor of the state's dtype; what is neither is named."""
    state = DiffusionState(normal((2, 3), Key(0)), torch.tensor([100.0, 400.0], dtype=torch.float64))
    for draw in (posterior_mean, lambda *given: sample(*given, steps=3, solver="heun")):
        expected = draw(lambda x, t: 0.5 * x, state, SCHEDULE)
        found = draw(lambda x, t: 0.5 * x.numpy().astype("float64"), state, SCHEDULE)
        assert found.dtype == torch.float32
        assert torch.equal(found, expected)
    with pytest.raises(TypeError, match=r"denoiser: expected denoiser\(x, t\) to return a tensor, got list$"):
        posterior_mean(lambda x, t: x.tolist(), state, SCHEDULE)


@pytest.mark.parametrize(("t", "s"), [(999, 998), (354, 0), (354, -1), (88.5, 20.25), (1, 0), (0, -1), (0.5, 0)])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_ddim_of_unit_gaussian_data_is_a_cosine(t: float, s: float, prediction: str) -> None:
    x, times = state(t)
    out = ddim_step(x, gaussian(1, prediction)(x, times), times, s, SCHEDULE, prediction=prediction)
    assert torch.allclose(out, x * torch.cos(angle(t) - angle(s)), rtol=1e-12)


def test_the_official_decode_from_10_db() -> None:
    """The 500-step grid 1, 3, ...: 44 evaluations from its index 44 to its index 0 multiply x by .99904 in all (theory 2.7)."""
    x, times = state(89.0)
    grid = torch.tensor([*range(89, 0, -2)], dtype=torch.float64).unsqueeze(1)
    assert len(grid) - 1 == 44
    out = sample(gaussian(), DiffusionState(x, times), SCHEDULE, solver="ddim", grid=grid)
    assert torch.allclose(out / x, torch.full_like(x, 0.99904), rtol=0, atol=5e-6)


@pytest.mark.parametrize(("snr_db", "one_shot", "many_steps"), [(10, 0.0909, 0.0931), (0, 0.5, 0.586)])
def test_posterior_mean_has_the_least_error_and_many_steps_a_known_one(snr_db: float, one_shot: float, many_steps: float) -> None:
    z = normal((32, 4096), Key(1), torch.float64)
    v = 10 ** (-snr_db / 10)
    t = SCHEDULE.timestep(v).expand(32)
    x_t = DiffusionState(add_noise(z, t, SCHEDULE, Key(2)), t)
    assert float((posterior_mean(gaussian(), x_t, SCHEDULE) - z).square().mean()) == pytest.approx(one_shot, rel=0.01)
    assert float((sample(gaussian(), x_t, SCHEDULE, 100, "ddim") - z).square().mean()) == pytest.approx(many_steps, rel=0.01)


@pytest.mark.parametrize(("solver", "order"), [("ddim", 1), ("dpmpp_2m", 2), ("heun", 2)])
@pytest.mark.parametrize("prediction", ["eps", "v"])
@pytest.mark.parametrize("power", [0.25, 4.0])
def test_orders_of_convergence(solver: str, order: int, prediction: str, power: float) -> None:
    """From 0 dB to 10 dB the error against the exact flow falls as steps^-order. (To 20 dB the error of dpmpp_2m changes its sign on the
    way for variance 0.25: it is smaller there than its order says, so nothing can be read from it.)"""
    x = torch.ones(1, 1, dtype=torch.float64)
    start, end = SCHEDULE.timestep(1.0), SCHEDULE.timestep(0.1)
    a, b = SCHEDULE.alpha_bar(start), SCHEDULE.alpha_bar(end)
    exact = ((b * power + 1 - b) / (a * power + 1 - a)).sqrt()
    errors = []
    for steps in (16, 32, 64, 128):
        ln_snr = torch.linspace(float(a.logit()), float(b.logit()), steps + 1, dtype=torch.float64)
        grid = SCHEDULE.timestep((-ln_snr).exp()).unsqueeze(1)
        out = sample(gaussian(power, prediction), DiffusionState(x, grid[0]), SCHEDULE, solver=solver, prediction=prediction, grid=grid)
        errors.append(abs(float(out - exact)))
    for coarse, fine in pairwise(errors):
        assert math.log2(coarse / fine) == pytest.approx(order, abs=0.1)


def test_eta_1_is_the_ddpm_posterior() -> None:
    """q(x_s | x_t, x_0): mean (sqrt(b) (1 - a/b) x0 + sqrt(a/b) (1 - b) x) / (1 - a), variance (1 - b) (1 - a/b) / (1 - a)."""
    x, t = state(400.0, 354.5, shape=(100_000,))
    s = torch.tensor([399.0, 100.25], dtype=torch.float64)
    x0 = normal(x.shape, Key(5), torch.float64)
    a, b = (SCHEDULE.alpha_bar(v).unsqueeze(1) for v in (t, s))
    mean = (b.sqrt() * (1 - a / b) * x0 + (a / b).sqrt() * (1 - b) * x) / (1 - a)
    sigma = ((1 - b) * (1 - a / b) / (1 - a)).sqrt()
    out = ddpm_step(x, x0, t, s, SCHEDULE, prediction="x0", key=Key(6))
    assert torch.allclose(out, mean + sigma * normal(x.shape, Key(6), torch.float64), atol=1e-12)
    assert torch.equal(out, ddim_step(x, x0, t, s, SCHEDULE, 1.0, "x0", key=Key(6)))


def test_ancestral_sampling_has_the_posteriors_moments() -> None:
    """Unit Gaussian data: x_0 given x_t is N(sqrt(a) x_t, 1 - a). 10,000 draws, tolerances of 4 standard errors and 1 % for 200 steps."""
    x_t = DiffusionState(torch.full((1, 10_000), 0.8, dtype=torch.float64), torch.tensor([354.0], dtype=torch.float64))
    a = float(SCHEDULE.alpha_bar(354))
    for solver, eta in (("ddpm", 0.0), ("ddim", 1.0)):
        out = sample(gaussian(), x_t, SCHEDULE, 200, solver, eta, key=Key(3))
        assert float(out.mean()) == pytest.approx(math.sqrt(a) * 0.8, abs=4 * math.sqrt((1 - a) / 10_000) + 0.005)
        assert float(out.var()) == pytest.approx(1 - a, rel=4 * math.sqrt(2 / 10_000) + 0.01)


# --- the classic slips: step counts, ends, and who is told which time ---------------------------------------------------------------------


@pytest.mark.parametrize("solver", SOLVERS)
def test_any_number_of_steps_from_any_start(solver: str) -> None:
    schedule = NoiseSchedule.linear(20, 0.001, 0.3)
    for steps in range(1, 21):
        calls = 0

        def counted(x: Tensor, t: Tensor) -> Tensor:
            nonlocal calls
            calls += 1
            assert bool(((t >= 0) & (t <= 19)).all())
            return gaussian(schedule=schedule)(x, t)

        out = sample(counted, state(19.0, 7.3, 1.0, 0.0), schedule, steps, solver, key=Key(1))
        assert bool(out.isfinite().all())
        assert calls == (2 * steps - 1 if solver == "heun" else steps)


@pytest.mark.parametrize("steps", [300, 400, 600, 999, 1000])
def test_step_counts_that_do_not_divide_the_schedule(steps: int) -> None:
    """The official sampler fails at 300, 600 and 1000 (index 1000), and takes 500 steps when asked for 400."""
    seen: list[float] = []
    out = sample(gaussian(), state(999.0, shape=(1,)), SCHEDULE, steps, "ddim", callback=lambda i, x, t: seen.append(float(t)))
    assert len(seen) == steps
    assert seen[0] == 999
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == steps
    assert bool(out.isfinite().all())


@pytest.mark.parametrize("t", [999.0, 500.0, 88.37, 1.0, 0.25, 0.0])
@pytest.mark.parametrize("solver", SOLVERS)
def test_the_denoiser_is_told_the_time_of_what_it_sees(t: float, solver: str) -> None:
    """img2img starts one index late: at index i it decodes from i - 1, and at index 0 not at all."""
    first: list[float] = []

    def listen(x: Tensor, time: Tensor) -> Tensor:
        first.append(float(time))
        return gaussian()(x, time)

    s = state(t)
    out = sample(listen, s, SCHEDULE, 4, solver, key=Key(1))
    assert first[0] == t
    if t == 0:  # one evaluation's worth of denoising, with its division by sqrt(alpha_bar)
        assert torch.allclose(out, s.x * SCHEDULE.alphas_cumprod[0].sqrt(), rtol=1e-9)


def test_the_last_step_lands_on_clean_data() -> None:
    """Not on the table's first entry, whose alpha_bar is .99915."""
    x, t = state(50.0)
    z = normal(x.shape, Key(9), torch.float64)
    for solver in SOLVERS:
        out = sample(lambda x, t: z, DiffusionState(x, t), SCHEDULE, 5, solver, prediction="x0", key=Key(2))
        assert torch.allclose(out, z, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_step_is_the_posterior_mean(solver: str) -> None:
    s = state(354.0, 20.5)
    mean = posterior_mean(gaussian(), s, SCHEDULE)
    assert torch.equal(sample(gaussian(), s, SCHEDULE, 1, solver, key=Key(1)), mean)
    assert torch.allclose(mean, s.x * SCHEDULE.alpha_bar(s.t).sqrt().unsqueeze(1), rtol=1e-12)


def test_the_grid_is_uniform_in_ln_snr() -> None:
    t = torch.tensor([999.0, 354.2, 3.0], dtype=torch.float64)
    grid = time_grid(t, 8, SCHEDULE)
    assert grid.shape == (9, 3)
    assert torch.equal(grid[0], t)
    assert grid[-1].tolist() == [-1] * 3
    ln_snr = torch.cat([SCHEDULE.alpha_bar(grid[:-1]).logit(), SCHEDULE.alphas_cumprod[:1].logit().expand(1, 3)])
    steps = ln_snr.diff(dim=0)
    assert torch.allclose(steps, steps[:1].expand_as(steps), rtol=1e-6)
    assert time_grid(torch.zeros(2, dtype=torch.float64), 3, SCHEDULE)[:-1].eq(0).all()


# --- per-sample times, predictions, clipping ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["dpmpp_2m", "ddim", "heun"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_is_its_samples_one_by_one(solver: str, dtype: torch.dtype) -> None:
    s = state(900.5, 354.0, 20.25, 0.0, shape=(3, 7, 5), dtype=dtype)
    together = sample(gaussian(0.3), s, SCHEDULE, 6, solver)
    for i in range(4):
        alone = sample(gaussian(0.3), DiffusionState(s.x[i : i + 1], s.t[i : i + 1]), SCHEDULE, 6, solver)
        assert torch.allclose(alone[0], together[i], rtol=1e-5 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_predictions_agree(solver: str) -> None:
    s = state(700.0, 100.5)
    want, *others = (sample(gaussian(0.5, p), s, SCHEDULE, 6, solver, prediction=p, key=Key(4)) for p in ("eps", "x0", "v"))
    for other in others:
        assert torch.allclose(other, want, rtol=1e-10)


def test_clip_bounds_the_prediction_and_the_direction_follows_it() -> None:
    x, t = state(500.0, shape=(1000,))
    eps = normal(x.shape, Key(2), torch.float64)
    a, b = SCHEDULE.alpha_bar(500), SCHEDULE.alpha_bar(400)
    clipped = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
    want = b.sqrt() * clipped + (1 - b).sqrt() * (x - a.sqrt() * clipped) / (1 - a).sqrt()
    assert torch.allclose(ddim_step(x, eps, t, 400, SCHEDULE, clip=1.0), want, rtol=1e-10, atol=1e-12)
    assert torch.allclose(dpmpp_2m_step(x, eps, None, None, t, 400, SCHEDULE, clip=1.0)[1], clipped)
    for solver in SOLVERS:
        assert float(sample(lambda x, t: 5 * x, state(500.0), SCHEDULE, 4, solver, clip=0.5, key=Key(1)).abs().max()) <= 0.5 + 1e-12


def test_a_step_of_no_length_changes_nothing() -> None:
    x, t = state(300.5, 2.0)
    assert torch.equal(ddim_step(x, x, t, t, SCHEDULE), x)
    assert torch.equal(ddim_step(x, x, t, t, SCHEDULE, eta=1.0, key=Key(1)), x)
    assert torch.equal(dpmpp_2m_step(x, x, None, None, t, t, SCHEDULE)[0], x)


def test_add_noise_is_the_forward_process() -> None:
    z, n = normal((2, 50), Key(1), torch.float64), normal((2, 50), Key(2), torch.float64)
    t = torch.tensor([10.5, 900.0])
    a = SCHEDULE.alpha_bar(t).unsqueeze(1)
    assert torch.allclose(add_noise(z, t, SCHEDULE, Key(2)), a.sqrt() * z + (1 - a).sqrt() * n, rtol=1e-13)
    assert torch.equal(add_noise(z, -1, SCHEDULE, Key(2)), z)
    assert torch.equal(add_noise(z, 3, SCHEDULE, Key(2)), add_noise(z, torch.tensor([3, 3]), SCHEDULE, Key(2)))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_network_gets_times_that_its_dtype_can_tell_apart(dtype: torch.dtype) -> None:
    """bfloat16 counts in fours at 1000, so halves get float32 times."""
    times: list[Tensor] = []

    def listen(x: Tensor, t: Tensor) -> Tensor:
        times.append(t)
        return x

    out = sample(listen, state(997.0, dtype=dtype), SCHEDULE, 2)
    assert out.dtype == dtype
    assert times[0].tolist() == [997]
    assert times[0].shape == (1,)
    assert times[0].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


def test_noise_is_the_keys_alone() -> None:
    s = state(500.0)
    draws = [sample(gaussian(), s, SCHEDULE, 4, "ddpm", key=k) for k in (Key(1), Key(1), Key(2))]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    for solver in ("dpmpp_2m", "heun"):
        with pytest.raises(ValueError, match=f"eta: expected 0, because {solver} draws no noise"):
            sample(gaussian(), s, SCHEDULE, 4, solver, 0.5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_gradients_pass_through_the_whole_chain(solver: str) -> None:
    s = state(300.0, shape=(2,))

    def run(x: Tensor) -> Tensor:
        return sample(gaussian(0.5), DiffusionState(x, s.t), SCHEDULE, 3, solver, key=Key(1))

    assert torch.autograd.gradcheck(run, s.x.requires_grad_(), fast_mode=True)

# SPDX-License-Identifier: Apache-2.0
"""Schedules that begin at clean data (alpha_bar = 1) or end in noise alone (alpha_bar = 0), and schedulers whose networks know others."""

from __future__ import annotations

import math

import diffusers
import pytest
import torch
from torch import Tensor

import semdiff
from semdiff import DiffusionState, Key, NoiseSchedule
from semdiff.oracle import GaussianMixture

# Rescaled as Lin et al. ("Common diffusion noise schedules and sample steps are flawed", 2024, algorithm 1) do it: sqrt(alpha_bar) moved
# so that its last is 0, stretched so that its first stays.
PLAIN = NoiseSchedule.scaled_linear().alphas_cumprod.sqrt()
ZERO = NoiseSchedule(((PLAIN - PLAIN[-1]) * PLAIN[0] / (PLAIN[0] - PLAIN[-1])).square())
BOTH = NoiseSchedule(torch.cat([torch.ones(1, dtype=torch.float64), ZERO.alphas_cumprod]))
ENDS = pytest.mark.parametrize("schedule", [ZERO, BOTH], ids=["zero", "both"])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own
@pytest.mark.parametrize("beta", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize(
    "kind",
    [
        "DDIMScheduler",
        "DDPMScheduler",
        "EulerDiscreteScheduler",
        "EulerAncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "UniPCMultistepScheduler",
    ],
)
def test_rescaled_schedulers(kind: str, beta: str) -> None:
    """One table, whose last alpha_bar is 0; some of diffusers' solvers keep 2^-24 there, which for `linear` lies above the one before."""
    scheduler = getattr(diffusers, kind)(beta_schedule=beta, rescale_betas_zero_snr=True, prediction_type="v_prediction")
    schedule = NoiseSchedule.from_diffusers(scheduler)
    assert schedule.alphas_cumprod[-1] == 0
    assert torch.equal(schedule.alphas_cumprod[:-1].float(), scheduler.alphas_cumprod[:-1])
    assert schedule.alpha_bar(schedule.T - 1) == 0
    assert schedule.noise_var(schedule.T - 1) == math.inf


def test_the_time_of_a_channel() -> None:
    scheduler = diffusers.DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, rescale_betas_zero_snr=True)
    assert NoiseSchedule.from_diffusers(scheduler).timestep(10**-0.5).item() == pytest.approx(186.04, abs=0.005)
    assert ZERO.timestep(10**-0.5).item() == pytest.approx(186.04, abs=0.005)


@ENDS
def test_times_and_noise_are_inverse(schedule: NoiseSchedule) -> None:
    t = torch.linspace(0, schedule.T - 1.001, 4999, dtype=torch.float64)
    assert torch.allclose(schedule.timestep(schedule.noise_var(t)), t, atol=1e-6)
    noise = torch.logspace(-12, 12, 500, dtype=torch.float64)
    within = (noise >= schedule.noise_var(0)) | (schedule.noise_var(0) > 0).logical_not()
    assert torch.allclose(schedule.noise_var(schedule.timestep(noise))[within], noise[within], rtol=1e-3)
    assert bool((schedule.noise_var(schedule.timestep(noise, "ceil")) >= noise * (1 - 1e-9)).all())


def test_beside_an_infinite_snr_alpha_bar_is_linear() -> None:
    schedule = NoiseSchedule.from_alphas_cumprod([1.0, 0.6, 0.2, 0.0])
    assert schedule.alpha_bar(torch.tensor([0.25, 2.5])).tolist() == pytest.approx([0.9, 0.1])
    assert schedule.timestep(torch.tensor([1 / 9, 9.0], dtype=torch.float64)).tolist() == pytest.approx([0.25, 2.5])
    assert schedule.alpha_bar(1.5).item() == pytest.approx(torch.tensor([0.6, 0.2]).logit().mean().sigmoid().item())


@ENDS
@pytest.mark.parametrize("solver", ["dpmpp_2m", "ddim", "ddpm", "heun"])
def test_sampling_from_noise_alone(schedule: NoiseSchedule, solver: semdiff.diffusion.sampler.Solver) -> None:
    """From alpha_bar = 0, where x_t says nothing: draws of the prior. A Gaussian's law is known."""
    prior = GaussianMixture([[0.5, -0.5]], [0.5])
    x = semdiff.normal((4000, 2), Key(1), torch.float64)
    t = torch.full((4000,), schedule.T - 1.0, dtype=torch.float64)
    out = semdiff.sample(prior.denoiser(schedule, "v"), DiffusionState(x, t), schedule, 400, solver, prediction="v", key=Key(2))
    assert torch.allclose(out.mean(0), prior.mean, atol=0.06)
    assert torch.allclose(out.var(0), prior.variance, atol=0.08)


@ENDS
def test_one_step_from_noise_alone_is_the_priors_mean(schedule: NoiseSchedule) -> None:
    prior = GaussianMixture([[0.5, -0.5]], [0.5])
    x = semdiff.normal((8, 2), Key(1), torch.float64)
    state = DiffusionState(x, torch.full((8,), schedule.T - 1.0, dtype=torch.float64))
    for prediction in ("v", "x0"):
        mean = semdiff.posterior_mean(prior.denoiser(schedule, prediction), state, schedule, prediction)  # type: ignore[arg-type]
        assert torch.allclose(mean, prior.mean.expand(8, 2))
    with pytest.raises(ValueError, match="t: expected a time with signal left"):
        semdiff.posterior_mean(lambda x, t: x, state, schedule, "eps")


def test_from_clean_data_nothing_changes() -> None:
    x = semdiff.normal((3, 4), Key(1))
    state = semdiff.match(x, 0.0, BOTH)
    assert state.t.tolist() == [0, 0, 0]
    for solver in ("dpmpp_2m", "ddim", "ddpm", "heun"):
        assert torch.allclose(semdiff.sample(lambda x, t: x * 0 + 9, state, BOTH, 3, solver, key=Key(1)), x)
    assert torch.equal(semdiff.time_grid(state.t, 2, BOTH), torch.tensor([[0.0] * 3, [0.0] * 3, [-1.0] * 3], dtype=torch.float64))


@ENDS
def test_the_grid_stays_among_finite_snrs(schedule: NoiseSchedule) -> None:
    grid = semdiff.time_grid(torch.tensor([schedule.T - 1.0, 300.0], dtype=torch.float64), 8, schedule)
    assert grid[0].tolist() == [schedule.T - 1.0, 300.0]
    assert bool((grid.diff(dim=0) < 0).all())
    assert bool(schedule.alpha_bar(grid[1:-1]).logit().isfinite().all())


@ENDS
def test_elements_at_both_ends(schedule: NoiseSchedule) -> None:
    """A dead element (gain 0) and one without noise, in one sample: the first gets the prior's mean, the second stays what it is."""
    prior = GaussianMixture([[0.5, -0.5, 0.25, 0.0]], [0.5])
    x = torch.tensor([[3.0, 0.2, -0.1, 0.7]], dtype=torch.float64)
    noise, gain = torch.tensor([[1.0, 0.0, 0.3, 0.5]], dtype=torch.float64), torch.tensor([[0.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
    state = semdiff.match(x, noise, schedule, gain=gain, rounding="ceil", key=Key(1))
    mean: Tensor = semdiff.posterior_mean(prior.denoiser(schedule, "v"), state, schedule, "v")
    assert bool(mean.isfinite().all())
    first = schedule.noise_var(0 if schedule is ZERO else 1).item() ** 0.5  # what cannot be less is topped up
    assert mean[0, 1].item() == pytest.approx(0.2, abs=5 * first)


@pytest.mark.parametrize(
    ("kind", "options", "field"),
    [
        ("DPMSolverMultistepScheduler", {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}, "use_flow_sigmas"),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True}, "use_flow_sigmas"),
        ("DPMSolverSinglestepScheduler", {"prediction_type": "flow_prediction"}, "prediction_type"),
        ("EulerDiscreteScheduler", {"timestep_type": "continuous", "prediction_type": "v_prediction"}, "timestep_type"),
    ],
)
def test_schedulers_of_other_noise_levels_are_refused(kind: str, options: dict[str, object], field: str) -> None:
    with pytest.raises(ValueError, match=rf"scheduler: expected a network that is told steps of alphas_cumprod, got {kind} with {field}"):
        NoiseSchedule.from_diffusers(getattr(diffusers, kind)(**options))


@pytest.mark.parametrize("options", [{"use_karras_sigmas": True}, {"timestep_spacing": "trailing"}, {"steps_offset": 1}])
def test_what_only_chooses_times_is_not_looked_at(options: dict[str, object]) -> None:
    plain = NoiseSchedule.from_diffusers(diffusers.EulerDiscreteScheduler())
    chosen = NoiseSchedule.from_diffusers(diffusers.EulerDiscreteScheduler(**options))
    assert torch.equal(chosen.alphas_cumprod, plain.alphas_cumprod)

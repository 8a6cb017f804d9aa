# SPDX-License-Identifier: Apache-2.0
"""Our steps against diffusers' schedulers where the two do the same thing. diffusers keeps its tables in float32: 2e-5 relative."""

from __future__ import annotations

from itertools import pairwise

import diffusers
import pytest
import torch

from semdiff import Key, NoiseSchedule, ddim_step, ddpm_step, dpmpp_2m_step, normal

SCHEDULE = NoiseSchedule.scaled_linear()
CONFIG = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
NAMES = {"eps": "epsilon", "x0": "sample", "v": "v_prediction"}
X, OUTPUT, NOISE = (normal((2, 4, 8, 8), k) for k in Key(1).split(3))


@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("clip", [None, 1.0])
@pytest.mark.parametrize("t", [981, 501, 21, 1])
def test_ddim(prediction: str, eta: float, clip: float | None, t: int) -> None:
    scheduler = diffusers.DDIMScheduler(
        prediction_type=NAMES[prediction], clip_sample=clip is not None, set_alpha_to_one=True, steps_offset=1, **CONFIG
    )
    scheduler.set_timesteps(50)
    key = Key(7)
    theirs = scheduler.step(
        OUTPUT, t, X, eta=eta, use_clipped_model_output=True, variance_noise=normal(X.shape, key) if eta else None, return_dict=False
    )[0]
    ours = ddim_step(X, OUTPUT, t, t - 20 if t > 20 else -1, SCHEDULE, eta, prediction, clip, key)
    assert torch.allclose(ours, theirs, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("prediction", NAMES)
@pytest.mark.parametrize("t", [999, 500, 1])
def test_ddpm(prediction: str, t: int) -> None:
    """Their noise is torch's and ours is ours, so each is taken away first."""
    scheduler = diffusers.DDPMScheduler(prediction_type=NAMES[prediction], clip_sample=False, **CONFIG)
    theirs = scheduler.step(OUTPUT, t, X, generator=torch.Generator().manual_seed(3), return_dict=False)[0]
    ours = ddpm_step(X, OUTPUT, t, t - 1, SCHEDULE, prediction, key=Key(7))
    a, b = SCHEDULE.alpha_bar(t), SCHEDULE.alpha_bar(t - 1)
    sigma = ((1 - b) / (1 - a) * (1 - a / b)).sqrt().float()
    noise = torch.randn(X.shape, generator=torch.Generator().manual_seed(3))
    # Their 1 - a_t / a_s cancels in float32: a relative error of 1e-7 / beta in the variance.
    assert torch.allclose(ours - sigma * normal(X.shape, Key(7)), theirs - sigma * noise, rtol=1e-3, atol=1e-4)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' own, with NumPy 2
@pytest.mark.parametrize("prediction", NAMES)
def test_dpm_solver_multistep(prediction: str) -> None:
    scheduler = diffusers.DPMSolverMultistepScheduler(
        prediction_type=NAMES[prediction],
        solver_order=2,
        algorithm_type="dpmsolver++",
        solver_type="midpoint",
        final_sigmas_type="zero",
        **CONFIG,
    )
    scheduler.set_timesteps(10)
    times = [*scheduler.timesteps.tolist(), -1]
    theirs = ours = X
    previous = before = None
    for t, s in pairwise(times):
        output = torch.sin(3 * theirs)  # any smooth network: both see the same output
        theirs = scheduler.step(output, t, theirs, return_dict=False)[0]
        ours, previous = dpmpp_2m_step(ours, output, previous, before, t, s, SCHEDULE, prediction)
        before = t
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_adding_noise() -> None:
    from semdiff import add_noise

    t = torch.tensor([0, 999])
    theirs = diffusers.DDPMScheduler(**CONFIG).add_noise(X, normal(X.shape, Key(4)), t)
    assert torch.allclose(add_noise(X, t, SCHEDULE, Key(4)), theirs, rtol=2e-5, atol=2e-5)

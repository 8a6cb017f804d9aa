# SPDX-License-Identifier: Apache-2.0
"""Autocast around the sampler: a denoiser whose output comes narrower than the state is widened to it, and nothing else is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import semdiff
from semdiff import DiffusionState, Key, NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()
X = semdiff.normal((3, 16), Key(1))
T = torch.tensor([700.0, 300.0, 20.0], dtype=torch.float64)
ELEMENTS = T[:, None] + torch.arange(16, dtype=torch.float64)
WEIGHT = semdiff.normal((16, 16), Key(2)) / 4


def network(x: Tensor, t: Tensor) -> Tensor:
    return torch.nn.functional.linear(x, WEIGHT)


def narrow(x: Tensor, t: Tensor) -> Tensor:
    """What autocast makes of `network`: operands and result in bfloat16."""
    return torch.nn.functional.linear(x.bfloat16(), WEIGHT.bfloat16())


@pytest.mark.parametrize("t", [T, ELEMENTS], ids=["sample", "element"])
@pytest.mark.parametrize("solver", ["dpmpp_2m", "ddim", "ddpm", "heun"])
def test_sampling(solver: semdiff.diffusion.sampler.Solver, t: Tensor) -> None:
    state = DiffusionState(X, t)
    with torch.autocast("cpu", torch.bfloat16):
        got = semdiff.sample(network, state, SCHEDULE, 4, solver, key=Key(3))
    assert got.dtype == torch.float32
    assert torch.equal(got, semdiff.sample(lambda x, t: narrow(x, t).float(), state, SCHEDULE, 4, solver, key=Key(3)))
    assert torch.equal(got, semdiff.sample(narrow, state, SCHEDULE, 4, solver, key=Key(3)))


@pytest.mark.parametrize("t", [T, ELEMENTS], ids=["sample", "element"])
def test_the_posterior_mean_and_steps(t: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        mean = semdiff.posterior_mean(network, DiffusionState(X, t), SCHEDULE)
    assert mean.dtype == torch.float32
    output = narrow(X, T)
    assert torch.equal(semdiff.ddim_step(X, output, T, 5.0, SCHEDULE), semdiff.ddim_step(X, output.float(), T, 5.0, SCHEDULE))
    got, want = (semdiff.dpmpp_2m_step(X, o, None, None, T, 5.0, SCHEDULE) for o in (output, output.float()))
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))


def test_what_would_lose_digits_is_refused() -> None:
    with pytest.raises(TypeError, match="output: expected the dtype of x, Float, got Double"):
        semdiff.sample(lambda x, t: x.double(), DiffusionState(X, T), SCHEDULE, 2)
    with pytest.raises(TypeError, match="output: expected the dtype of x, Half, got BFloat16"):
        semdiff.sample(lambda x, t: x.bfloat16(), DiffusionState(X.half(), T), SCHEDULE, 2)
    with pytest.raises(TypeError, match="output: expected the dtype of x, Float, got Int"):
        semdiff.sample(lambda x, t: x.int(), DiffusionState(X, T), SCHEDULE, 2)


def test_gradients_pass_the_widening() -> None:
    weight = WEIGHT.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = semdiff.posterior_mean(lambda x, t: torch.nn.functional.linear(x, weight), DiffusionState(X, T), SCHEDULE)
    out.square().sum().backward()
    assert weight.grad is not None
    assert bool(weight.grad.isfinite().all())
    assert weight.grad.abs().sum() > 0

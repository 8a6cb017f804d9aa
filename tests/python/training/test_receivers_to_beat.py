# SPDX-License-Identifier: Apache-2.0
"""Receivers that a sampler must beat: the same network as a regressor, and a code that a discriminator judges."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

import semdiff
from semdiff.baselines import PerceptualADJSCC
from semdiff.data import sample_images
from semdiff.diffusion.matching import DiffusionState
from semdiff.link.pixel_starting_state import perceptual_state, straight_grid
from semdiff.training.stages.adversarial import AdversarialStage
from semdiff.training.stages.pixels import Front
from semdiff.training.stages.regression import RegressionStage
from tests.python.pretrained import require_lpips
from tests.python.small_links import SCALE, networks

KEY, IMAGES = semdiff.Key(3), sample_images()[:4]
SCHEDULE = semdiff.NoiseSchedule.scaled_linear()


def regression(steps: int, perceptual: bool = False) -> RegressionStage:
    transmitter, upsampler, decoder, denoiser = networks()
    return RegressionStage(Front(transmitter, upsampler, decoder, SCALE, (2, 1)), denoiser, SCHEDULE, steps, perceptual)


@pytest.mark.parametrize("steps", [1, 2, 8])
def test_its_evaluations_are_the_samplers(steps: int) -> None:
    """DDIM along the same grid, from the same state."""
    stage = regression(steps)
    with torch.no_grad():
        reception = stage.front(IMAGES, KEY)
        state = perceptual_state(reception, SCALE, SCHEDULE, 0.0, KEY)
        told = reception.snr_db.to(state.x), reception.rate.to(state.x)
        denoise = lambda x, t: stage.denoiser(x, SCHEDULE.noise_var(t).log().to(x), *told)  # noqa: E731
        grid = straight_grid(state.t, steps, SCHEDULE)
        wanted = semdiff.sample(denoise, DiffusionState(*state), SCHEDULE, steps, "ddim", prediction="v", grid=grid)
        torch.testing.assert_close(stage.unroll(*state, reception), wanted, rtol=1e-3, atol=1e-3)


def test_its_loss_is_the_last_images_error_and_all_evaluations_learn() -> None:
    stage = regression(3)
    channel_key, start_key, _ = KEY.split(3)
    with torch.no_grad():
        reception = stage.front(IMAGES, channel_key)
        state = perceptual_state(reception, SCALE, SCHEDULE, 0.0, start_key)
    loss = stage(KEY, IMAGES)["loss"]
    torch.testing.assert_close(loss, F.mse_loss(stage.unroll(*state, reception), SCALE.normalize(IMAGES)))
    calls: list[torch.Tensor] = []
    stage.denoiser.register_forward_hook(lambda _, __, out: calls.append(out))
    again = stage(KEY, IMAGES)["loss"]
    gradients = torch.autograd.grad(again, calls)
    assert len(calls) == 3
    assert all(bool((g != 0).any()) for g in gradients)


def test_each_learns_from_its_own_loss() -> None:
    """The discriminator from the hinge of real and received images, the code from its error, LPIPS and the discriminator's word."""
    require_lpips()
    torch.manual_seed(0)
    stage = AdversarialStage(PerceptualADJSCC(width=16, outer_width=8, depth=1), weight=0.3).eval()
    code, judge = list(stage.model.parameters()), list(stage.discriminator.parameters())
    terms = stage(KEY, IMAGES)
    found = torch.autograd.grad(terms["loss"], [*code, *judge])
    out = stage.send(KEY, IMAGES).clamp(0, 1)
    from semdiff.metrics import lpips

    aimed = F.mse_loss(out, IMAGES) + 0.1 * lpips(out, IMAGES).mean() - 0.3 * stage.discriminator(out).mean()
    hinge = F.relu(1 - stage.discriminator(IMAGES)).mean() + F.relu(1 + stage.discriminator(out.detach())).mean()
    wanted = [*torch.autograd.grad(aimed, code), *torch.autograd.grad(hinge, judge)]
    for got, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-6)

# SPDX-License-Identifier: Apache-2.0
"""Muon: against the singular value decomposition, torch's own Muon and Adam, and resumed to the bit."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import semdiff as sd

pytest.importorskip("accelerate")

from semdiff.training.engine import Plan, Stage, fit
from semdiff.training.muon import ADAM_SHARE, Muon, is_matrix, orthogonalized

RATE = 1e-2


@pytest.mark.parametrize("shape", [(32, 80), (80, 32), (48, 48)])
def test_orthogonalizing_keeps_the_singular_vectors(shape: tuple[int, int]) -> None:
    u, _, vh = torch.linalg.svd(sd.normal(shape, sd.Key(0)), full_matrices=False)
    values = torch.logspace(0, -1, min(shape))
    found = u.T @ orthogonalized(u @ torch.diag(values) @ vh) @ vh.T
    assert (found - torch.diag(found.diagonal())).abs().max() < 1e-4
    assert found.diagonal().min() > 0.65 and found.diagonal().max() < 1.25  # noqa: PT018


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 32, 3), nn.SiLU(), nn.Conv2d(32, 40, 3), nn.Flatten(), nn.Linear(160, 8))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for i in range(steps):
        optimizer.zero_grad()
        net(sd.normal((2, 4, 6, 6), sd.Key(i))).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("shape", [(32, 6, 3, 3), (64, 40)])
def test_steps_are_those_of_torch(shape: tuple[int, ...]) -> None:
    """torch's takes matrices alone, and iterates in bfloat16, of eight bits."""
    ours = nn.Parameter(torch.zeros(shape))
    theirs = nn.Parameter(torch.zeros(shape).flatten(1))
    assert is_matrix(ours)
    optimizers = Muon([ours], RATE), torch.optim.Muon([theirs], lr=RATE, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for i in range(3):
        ours.grad = sd.normal(shape, sd.Key(i))
        theirs.grad = ours.grad.flatten(1)
        for optimizer in optimizers:
            optimizer.step()
    assert (ours.flatten(1) - theirs).norm() < 0.02 * theirs.norm()


def test_vectors_and_small_matrices_are_adams_to_the_bit() -> None:
    def small() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Conv2d(4, 16, 3), nn.SiLU(), nn.Flatten(), nn.Linear(256, 8))

    ours, theirs = small(), small()
    train(ours, Muon(ours.parameters(), RATE, (0.9, 0.99)), 3)
    train(theirs, torch.optim.Adam(theirs.parameters(), RATE, (0.9, 0.99), fused=True), 3)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_a_step_is_as_large_as_adams() -> None:
    matrix = nn.Parameter(torch.zeros(64, 256))
    matrix.grad = sd.normal((64, 256), sd.Key(0))
    Muon([matrix], RATE).step()
    assert matrix.detach().square().mean().sqrt().item() == pytest.approx(ADAM_SHARE * RATE, rel=0.2)
    assert matrix.grad is not None


class Regression(Stage):
    def __init__(self) -> None:
        super().__init__()
        self.net = network()

    def forward(self, key: sd.Key, x: Tensor) -> dict[str, Tensor]:
        return {"loss": (self.net(x) - 1).square().mean()}


class Stop(Exception):  # noqa: N818, it is no error
    pass


def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    plan, data = Plan(steps=12, batch_size=4, learning_rate=RATE, warm_up=2, optimizer="muon"), [sd.normal((20, 4, 6, 6), sd.Key(7))]

    def run(stop: int = 0, **options: object) -> dict[str, Tensor]:
        def check(step: int) -> None:
            if step == stop:
                raise Stop

        stage = Regression()
        fit(stage, data, plan, name="muon", key=sd.Key(3), progress=False, on_step=check, **options)  # type: ignore[arg-type]
        return dict(stage.state_dict())

    whole = run()
    with pytest.raises(Stop):
        run(5, folder=tmp_path, save_every=0.0)
    resumed = run(folder=tmp_path)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_checkpoint_of_the_other_optimiser_is_refused(tmp_path: Path) -> None:
    data, plan = [sd.normal((20, 4, 6, 6), sd.Key(7))], Plan(steps=2, batch_size=4, learning_rate=RATE, warm_up=1)
    fit(Regression(), data, replace(plan, optimizer="muon"), name="net", key=sd.Key(3), folder=tmp_path, progress=False)
    with pytest.raises(ValueError, match=r"net\.safetensors: .*resume=False"):
        fit(Regression(), data, plan, name="net", key=sd.Key(3), folder=tmp_path, progress=False)

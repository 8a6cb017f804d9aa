# SPDX-License-Identifier: Apache-2.0
"""A trained link that is trained further: finetuning_plan, and never worse than it was on the held-out pictures."""

import json

import pytest
import torch
from torch import nn

pytest.importorskip("accelerate")

from semdiff.link import SemanticLink
from semdiff.models.store import shipped_models
from semdiff.training import finetuning
from semdiff.training.curve import HeldOutScore
from semdiff.training.engine import Plan
from semdiff.training.finetuning import Keeper, Quality, describe_outcome, finetuning_plan
from semdiff.training.recipes.photos import train
from tests.python.photographs import crops
from tests.python.pretrained import require_lpips

START = Quality(27.0, 0.2)


def test_it_begins_gently():
    plan = finetuning_plan(Plan(400, 16, 1e-3, warm_up=40))
    rates = [plan.rate(step) for step in range(400)]
    assert max(rates) == pytest.approx(0.03e-3, rel=0.2)
    assert rates[0] < 0.02 * max(rates)
    assert rates[:100] == sorted(rates[:100])
    assert finetuning_plan(Plan(1, 16, 1e-3)).warm_up == 1


def test_quality_is_the_mean_over_the_conditions():
    scores = [
        HeldOutScore("psnr", 20.0, "mean"),
        HeldOutScore("psnr", 30.0, "mean"),
        HeldOutScore("lpips", 9.0, "mean"),
        HeldOutScore("psnr", 1.0, "sample"),
    ]
    assert Quality.of([*scores, HeldOutScore("lpips", 0.2, "sample"), HeldOutScore("lpips", 0.4, "sample")]) == pytest.approx((25.0, 0.3))
    assert Quality.of(scores, "mean") == (25.0, 9.0)
    assert not Quality(27.0, 0.3).no_worse_than(START)
    assert not Quality(26.0, 0.1).no_worse_than(START)
    assert Quality(27.0, 0.2).no_worse_than(START)


@pytest.mark.parametrize(
    ("means", "trained", "mixed", "kept", "weights"),
    [
        (Quality(28.0, 0.0), Quality(28.0, 0.19), Quality(28.0, 0.2), "trained", (1.0, 1.0)),
        (Quality(28.0, 0.0), Quality(28.0, 0.21), Quality(28.0, 0.19), "trained, samples as before", (1.0, 0.0)),
        (Quality(28.0, 0.0), Quality(28.0, 0.21), Quality(28.0, 0.22), "start", (0.0, 0.0)),
        (Quality(26.0, 0.0), Quality(27.0, 0.19), START, "trained", (0.0, 1.0)),  # the means were put back
        (Quality(26.0, 0.0), Quality(27.0, 0.21), START, "start", (0.0, 0.0)),
        (Quality(float("nan"), 0.0), Quality(27.0, float("nan")), START, "start", (0.0, 0.0)),
    ],
)
def test_the_better_weights_are_kept(tmp_path, means, trained, mixed, kept, weights):
    networks = {name: nn.Linear(1, 1, bias=False) for name in ("mean", "sampler")}
    for network in networks.values():
        nn.init.zeros_(network.weight)
    measured = iter([START, means, trained, mixed])
    keeper = Keeper(networks, lambda: next(measured), lambda number: number, tmp_path)
    nn.init.ones_(networks["mean"].weight)
    keeper.keep_better_means()
    nn.init.ones_(networks["sampler"].weight)
    keeper.keep_better(["sampler"])
    assert (networks["mean"].weight.item(), networks["sampler"].weight.item()) == weights
    assert json.loads((tmp_path / "finetuning.json").read_text())["kept"] == kept
    words = {"trained": "the trained weights.", "start": "the weights that it began with."}
    assert describe_outcome(tmp_path).endswith(f"Kept: {words.get(kept, 'the trained means, samples as before.')}")


def test_nothing_is_told_of_a_training_from_nothing(tmp_path):
    assert describe_outcome(tmp_path) is None


def weights_of(folder):
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.safetensors")}


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.03, 3.0])
def test_the_shipped_link_does_not_suffer_from_few_crops(rate, monkeypatch, tmp_path):
    """60 crops, and two steps of each stage: at a rate that breaks it or a gentle one, it is no worse, and the file says what was kept."""
    require_lpips()
    monkeypatch.setattr("semdiff.training.budget.steps_within", lambda *_: 2)
    monkeypatch.setattr(finetuning, "RATE", rate)
    pictures = {f"{i:02}": (p * 255).round().to(torch.uint8) for i, p in enumerate(crops(6, 192))}
    small = torch.cat([crops(36, 96), crops(18, 96).flip(3)])
    pictures |= {f"small {i:02}": (p * 255).round().to(torch.uint8) for i, p in enumerate(small)}
    folder = train(tmp_path, 120.0, pictures=pictures, start="photos", progress=False)
    found = json.loads((tmp_path / "finetuning.json").read_text())
    before, after = (Quality(**found[name]) for name in ("before", "after"))
    if rate > 1:
        assert after.psnr < before.psnr or after.lpips > before.lpips
        assert found["kept"] == "start"
    assert found["kept"] == "start" or after.no_worse_than(before)
    if found["kept"] == "start":
        assert weights_of(folder) == weights_of(shipped_models()["photos"])
    assert SemanticLink.from_pretrained(folder).config.rates == SemanticLink.default("photos").config.rates

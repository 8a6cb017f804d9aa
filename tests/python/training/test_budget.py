# SPDX-License-Identifier: Apache-2.0
"""A training's time: all of it counts, each stage is planned on what is left, and too little is said at the start."""

import csv
import re
from pathlib import Path

import pytest
import torch

pytest.importorskip("accelerate")

from semdiff.training import budget
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.budget import SHORTEST, Clock, Plans, time_of_steps, too_short
from semdiff.training.engine import Stage, fit
from semdiff.training.validation import choose_count, validation_costs

ROOT = Path(__file__).parents[3]
SHARES = {"first": 0.5, "second": 0.3, "third": 0.2}


class World:
    """A clock that goes on only where something is done."""

    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr("time.perf_counter", lambda: self.now)


class Work(Stage):
    """Steps of which each takes `seconds`, and half as much again when they are trained."""

    def __init__(self, world, seconds):
        super().__init__()
        self.world, self.seconds, self.weight = world, seconds, torch.nn.Parameter(torch.ones(()))

    def forward(self, key, x):
        self.world.now += self.seconds
        return {"loss": self.weight * x.mean()}


class Ones:
    batch_size = 2

    def batch(self, step, rank=0, world=1):
        return (torch.ones(2),)

    def identity(self):
        return "ones"


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_a_stage_has_its_share_of_what_is_left(world):
    clock = Clock(100.0, begun=world.now - 10.0)
    free = dict.fromkeys(SHARES, 0.0)
    assert clock.allot("first", SHARES, free) == pytest.approx(45.0)
    assert clock.allot("first", SHARES, dict.fromkeys(SHARES, 10.0)) == pytest.approx(30.0)
    world.now += 70.0  # longer than it should
    assert clock.allot("second", SHARES, free) == pytest.approx(20.0 * 0.6)
    world.now += 12.0
    assert clock.allot("third", SHARES, {"first": 9.0, "second": 9.0, "third": 1.0}) == pytest.approx(7.0)
    world.now += 50.0
    assert clock.allot("third", SHARES, free) == 0.0


def test_the_runs_before_count(world):
    assert Clock(100.0, begun=world.now, before=60.0).left == pytest.approx(40.0)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [60.0, 180.0, 3600.0])
@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_the_end_is_within_a_tenth(world, tmp_path, monkeypatch, seconds, slower):
    """Start-up, rehearsals, looks and steps that take longer in training than alone: a whole course on a clock of its own."""
    accelerator = prepare_accelerator("fp32", cpu=True)
    begun = world.now
    clock, plans = Clock(seconds, begun), Plans(tmp_path / "plan.json", {}, accelerator)
    world.now += 10.0  # the start
    costs = dict.fromkeys(SHARES, 0.02 * seconds)
    for name in SHARES:
        stage, batches = Work(world, 0.4), Ones()
        plan = plans.plan(name, clock.allot(name, SHARES, costs), 1e-3, stage, batches)
        stage.seconds *= slower
        before = world.now
        fit(stage, batches, plan, name=name, key=budget.Key(0), accelerator=accelerator, progress=False)
        plans.took(name, world.now - before)
        world.now += 0.02 * seconds
    assert world.now - begun == pytest.approx(seconds, rel=0.1)


def test_rehearsals_are_fewer_where_time_is_short(world):
    accelerator = prepare_accelerator("fp32", cpu=True)
    for seconds, rehearsals in ((10.0, 3), (100.0, 6), (1000.0, 8)):
        begun = world.now
        assert time_of_steps(seconds, Work(world, 0.5), Ones(), accelerator) == pytest.approx(0.5)
        assert world.now - begun == pytest.approx(0.5 * rehearsals)


def test_a_resumed_run_keeps_what_was_noted(tmp_path, monkeypatch):
    accelerator = prepare_accelerator("fp32", cpu=True)
    monkeypatch.setattr(budget, "steps_within", lambda *_: 7)
    plans = Plans(tmp_path / "plan.json", {"seed": 1}, accelerator)
    assert plans.note("pictures", 5) == 5
    assert plans.plan("first", 10.0, 1e-3, None, Ones()).steps == 7
    monkeypatch.setattr(budget, "steps_within", lambda *_: 9)
    again = Plans(tmp_path / "plan.json", {"seed": 1}, accelerator)
    assert again.note("pictures", 8) == 5
    assert again.plan("first", 10.0, 1e-3, None, Ones()).steps == 7
    assert again.plan("second", 10.0, 1e-3, None, Ones()).steps == 9


def test_held_out_pictures_are_as_many_as_their_share_of_the_time_pays(world):
    def look():
        world.now += 3.0

    each = validation_costs(("fidelity", "detail"), look, 2)
    assert each == {"fidelity": 1.5, "detail": 3.0}
    assert [choose_count(seconds, each, 24) for seconds in (60.0, 450.0, 10_800.0)] == [2, 10, 24]
    assert choose_count(60.0, each, 1) == 1


def test_too_short_a_time_is_said():
    assert too_short(SHORTEST) is None
    assert too_short(180.0).startswith("budget: 3 min are too short for a usable link, 10 min are the least")


def test_the_curve_in_the_docs_is_the_files():
    """docs/training.md: after so many minutes of the first part, and after each part, the held-out PSNR of means."""
    with (ROOT / "docs" / "results" / "photos_curve.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["picture"], r["quantity"], r["snr_db"]) == ("mean", "psnr", "10")]
    rows = [r for r in rows if float(r["cbr"]) > 0.08]
    told = re.findall(r"^\| (fidelity|wide)( \d)? \| (\d+) \| ([\d,]+) \| ([\d.]+) \|", (ROOT / "docs" / "training.md").read_text(), re.M)
    assert len(told) >= 10
    for stage, number, minutes, images, value in told:
        (row,) = [r for r in rows if r["stage"] == stage + number and r["images"] == images.replace(",", "")]
        assert round(int(row["seconds"]) / 60) == int(minutes)
        assert float(row["value"]) == pytest.approx(float(value), abs=0.005)

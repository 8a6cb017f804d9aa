# SPDX-License-Identifier: Apache-2.0
"""semdiff train: what it hands to the recipes, and what it answers to bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.python.test_cli import _here as _here
from tests.python.test_cli import call, refused

pytest.importorskip("diffusers")


def test_train_hands_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from semdiff.training import fashion_mnist

    given: dict[str, Any] = {}

    def train(out: Path, **options: Any) -> Path:
        given.update(options, out=out)
        return out / "model"

    monkeypatch.setattr(fashion_mnist, "train", train)
    done = call("train", "fashion-mnist", "--out", "run", "--budget", "0.5", "--seed", "3", "--fresh", "--data", tmp_path, "--json")
    assert done.exit_code == 0, done.output
    assert given == {"out": Path("run"), "budget": 0.5, "seed": 3, "resume": False, "data_folder": tmp_path}
    assert json.loads(done.stdout)["model"] == "run/model"
    assert "semdiff demo --model" in call("train", "fashion-mnist").stdout
    assert given["resume"] is True

    def interrupted(out: Path, **options: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(fashion_mnist, "train", interrupted)
    done = call("train", "fashion-mnist")
    assert done.exit_code == 130
    assert "goes on from the last checkpoint" in done.stderr


def test_train_bad_input(tmp_path: Path) -> None:
    assert "seed: expected an integer" in refused("train", "fashion-mnist", "--seed", "-1")
    assert "budget: expected a number above zero" in refused("train", "fashion-mnist", "--budget", "0")
    assert "dataset-fashion-mnist" in refused("train", "fashion-mnist", "--data", tmp_path)

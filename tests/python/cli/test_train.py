# SPDX-License-Identifier: Apache-2.0
"""semdiff train: what it hands to the recipes, and what it answers to bad input."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.python.cli.test_cli import _here as _here
from tests.python.cli.test_cli import call, refused

pytest.importorskip("diffusers")


def test_train_hands_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from semdiff.training.recipes import latents, pixels

    given: dict[str, Any] = {}

    def train(name: str, out: Path, *options: Any, precision: str, compile: bool) -> Path:
        given.update(name=name, out=out, options=options, precision=precision, compile=compile)
        return out / "model"

    monkeypatch.setattr(pixels, "train", train)
    changes = ("--budget", "0.5", "--seed", "3", "--fresh", "--data", tmp_path)
    for name, more in (("fashion-mnist", []), ("cifar10", ["--compile"])):
        done = call("train", name, "--out", "run", *changes, *more, "--json")
        assert done.exit_code == 0, done.output
        handed = {"out": Path("run"), "options": (0.5, 3, False, tmp_path), "precision": "auto"}
        assert given == handed | {"name": name, "compile": bool(more)}
        assert json.loads(done.stdout)["model"] == "run/model"
    assert "semdiff demo --model" in call("train", "fashion-mnist").stdout
    assert given["options"] == (1.0, 0, True, None)

    def train_latents(out: Path, **options: Any) -> Path:
        given.update(out=out, options=options)
        return out / "model"

    monkeypatch.setattr(latents, "train", train_latents)
    assert call("train", "fashion-mnist-latents", "--out", "run", *changes).exit_code == 0
    assert given["options"] == {"budget": 0.5, "seed": 3, "resume": False, "data_folder": tmp_path}

    def interrupted(*_: Any, **__: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(pixels, "train", interrupted)
    done = call("train", "fashion-mnist")
    assert done.exit_code == 130
    assert "goes on from the last checkpoint" in done.stderr


def test_a_link_to_begin_with_has_a_name_or_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from semdiff.models.store import shipped_models
    from semdiff.training import finetuning
    from semdiff.training.recipes import photos

    given: dict[str, Any] = {}

    def train(out: Path, seconds: float, *arguments: Any, **options: Any) -> Path:
        given.update(seconds=seconds, start=arguments[4], begun=options["begun"])
        finetuning.write_outcome(out, "start", finetuning.Quality(27.7, 0.2), finetuning.Quality(21.9, 0.4))
        return out / "model"

    monkeypatch.setattr(photos, "train", train)
    began = time.perf_counter()
    for start in ("photos", shipped_models()["photos"]):
        done = call("train", "photos", "--start", start, "--budget", "2m", "--out", "run")
        assert done.exit_code == 0, done.output
        assert given["start"] == shipped_models()["photos"]
        words = " ".join(done.stdout.split())
        assert "PSNR of means 27.70 -> 21.90 dB, LPIPS of samples 0.2000 -> 0.4000. Kept: the weights that it began with." in words
    assert given["begun"] < began + 60
    assert "Kept: the weights" in json.loads(call("train", "photos", "--start", "photos", "--out", "run", "--json").stdout)["kept"]
    refused_words = refused("train", "photos", "--start", "nowhere")
    assert "expected a folder of a trained model, one of cifar10, fashion-mnist, photos, or user/model on the Hub" in refused_words


def test_photographs_come_from_several_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from PIL import Image

    from semdiff.training.recipes import photos

    given: dict[str, Any] = {}

    def train(out: Path, seconds: float, *arguments: Any, **options: Any) -> Path:
        given["pictures"] = arguments[3]
        return out / "model"

    monkeypatch.setattr(photos, "train", train)
    folders = [tmp_path / "one", tmp_path / "other"]
    for folder in folders:
        folder.mkdir()
        Image.new("RGB", (8, 6)).save(folder / "a.png")
    named = [word for folder in folders for word in ("--data", folder)]
    assert call("train", "photos", "--out", "run", *named).exit_code == 0
    assert [picture.shape for picture in given["pictures"].values()] == [(3, 6, 8)] * 2
    assert call("train", "photos", "--out", "run").exit_code == 0
    assert given["pictures"] is None
    for recipe in ("fashion-mnist", "fashion-mnist-latents", "latent-diffusion", "ends"):
        more = ("--pipeline", tmp_path) if recipe == "ends" else ()
        assert f"--data: expected one folder for {recipe}, got 2" in refused("train", recipe, *named, *more)


def test_train_bad_input(tmp_path: Path) -> None:
    assert "seed: expected an integer" in refused("train", "fashion-mnist", "--seed", "-1")
    assert "budget: expected a finite number above zero" in refused("train", "fashion-mnist", "--budget", "0")
    assert "dataset-fashion-mnist" in refused("train", "fashion-mnist", "--data", tmp_path)

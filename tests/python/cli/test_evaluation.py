# SPDX-License-Identifier: Apache-2.0
"""semdiff evaluate, report and diagnose, on a small untrained model and a few pictures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from semdiff.data import sample_images
from tests.python.cli.test_cli import call, refused
from tests.python.small_links import LATENT_LINK

pytest.importorskip("diffusers")
pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model and three pictures."""
    from semdiff.training.recipes.latents import build

    folder = tmp_path_factory.mktemp("evaluation")
    build(0).link().save_pretrained(folder / "model")
    (folder / "pictures").mkdir()
    for i, image in enumerate(sample_images()[:3, 0]):
        Image.fromarray((image * 255).round().to(torch.uint8).numpy()).save(folder / "pictures" / f"{i}.png")
    return folder


@pytest.fixture(autouse=True)
def _here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(place / "model")
    (tmp_path / "pictures").symlink_to(place / "pictures")


def write_config(**changes: Any) -> str:
    from semdiff.evaluation import Config

    fields = {
        "systems": [{"name": "link", "path": "model", "label": "mine"}, {"name": "upsampler-mean", "path": "model"}],
        "data": "pictures",
        "snr_db": [0, 10],
        "steps": 1,
        "seeds": [0, 1],
        "pictures": 2,
    }
    Path("small.toml").write_text(Config.from_mapping(fields | changes).to_toml())
    return "small.toml"


@pytest.mark.parametrize("command", ["evaluate", "report", "diagnose"])
def test_help(command: str) -> None:
    done = call(command, "--help")
    assert done.exit_code == 0
    assert "Usage:" in done.stdout


def test_evaluate_and_report() -> None:
    pytest.importorskip("semdiff.metrics")
    done = call("evaluate", write_config(), "--out", "found")
    assert done.exit_code == 0, done.output
    for word in ("3 images of pictures, 2 seeds", "mine, sample, 1 step", "upsampler-mean", "1/12.3", "semdiff report found"):
        assert word in done.stdout
    assert sorted(p.name for p in Path("found").iterdir()) == ["cells", "pictures", "results.csv", "results.json", "summary.csv"]
    again = call("evaluate", "small.toml", "--out", "found", "--json")
    assert again.exit_code == 0, again.output
    document = json.loads(again.stdout)
    assert len(document["summary"]) == 4
    assert document["header"]["systems"]["mine"]["weights_sha256"]
    done = call("report", "found", "--out", "page.html")
    assert done.exit_code == 0, done.output
    assert "Wrote page.html: 8 cells, psnr." in done.stdout
    assert Path("page.html").read_text().startswith("<!DOCTYPE html>")
    assert json.loads(call("report", "found", "--json").stdout) == {"report": "report.html", "rows": 8, "metrics": ["psnr"]}


def test_a_share_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("semdiff.metrics")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    done = call("evaluate", write_config(), "--out", "found")
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    assert "share is done; 4 of 8 cells are there" in done.stderr


def test_an_interrupted_evaluation_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from semdiff import evaluation

    def interrupted(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(evaluation, "sweep", interrupted)
    done = call("evaluate", "fashion-mnist")
    assert done.exit_code == 130
    assert "goes on with the cells that are missing" in done.stderr


def test_evaluate_bad_input() -> None:
    assert "got 'nothing'" in refused("evaluate", "nothing")
    Path("typo.toml").write_text('sistems = ["link"]\nsnr_db = 5\n')
    assert "typo.toml: sistems: unknown field 'sistems', did you mean 'systems'?" in refused("evaluate", "typo.toml")
    assert "unknown system 'lnk', did you mean 'link'? known: " in refused("evaluate", write_config(systems=["lnk"]))
    assert not Path("results").exists()
    pytest.importorskip("semdiff.metrics")
    assert "unknown metric 'pnsr', did you mean 'psnr'?" in refused("evaluate", write_config(metrics=["pnsr"]))
    Path("empty").mkdir()
    assert "got an empty folder" in refused("evaluate", write_config(data="empty"))
    assert "images: expected at most the 3 that pictures has, got 4" in refused("evaluate", write_config(), "--images", "4")
    assert "cannot transmit at system mine" in refused("evaluate", write_config(cbr="1/3"))
    for name in ("a", "b"):
        Image.new("L", (32, 32)).save(f"empty/{name}.png")
    assert "expected a system for images of shape (1, 32, 32)" in refused("evaluate", write_config(data="empty"))
    assert "model_index.json" in refused("evaluate", write_config(systems=[{"name": "link", "path": "empty"}]))


def test_report_bad_input(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text('{"format": "semdiff evaluation", "format_version": 99}')
    assert "format_version: expected 1, which this semdiff reads and writes, got 99" in refused("report", tmp_path)
    assert "expected a folder with results.json" in refused("report", "nowhere")


def test_diagnose(place: Path) -> None:
    for i, image in enumerate(sample_images()[:, 0].repeat(2, 1, 1)):
        Path("many").mkdir(exist_ok=True)
        Image.fromarray((image * 255).round().to(torch.uint8).numpy()).save(f"many/{i:02}.png")
    latents = ("diagnose", "--model", LATENT_LINK)  # of unit variance
    done = call(*latents, "--data", "many", "--snr", "5", "--steps", "2")
    assert done.exit_code == 0, done.output
    assert "20 latents of 512 elements" in done.stdout
    assert "Verdict: " in done.stdout
    document = json.loads(call(*latents, "--data", "many", "--snr", "5", "--snr", "0", "--steps", "2", "--json").stdout)
    assert [level["snr_db"] for level in document["levels"]] == [5, 0]
    assert document["verdict"] in done.stdout or len(document["levels"]) == 2
    assert "latents: expected shape (N, ...) with N >= 20, got (3, 8, 8, 8)" in refused(*latents, "--data", "pictures")
    assert "data: expected fashion-mnist, cifar10, photos, kodak, samples or a folder" in refused("diagnose", "--data", "nowhere")
    refusal = refused("diagnose", "--model", "fashion-mnist", "--data", "many")
    assert "link: expected a SemanticLink, with a diffusion model on latents, got a PixelLink" in refusal


def test_diagnose_of_the_photograph_link(place: Path) -> None:
    pytest.importorskip("skimage.data")
    from semdiff.data.pictures import to_picture
    from tests.python.photographs import photographs

    Path("colour").mkdir()
    for i, image in enumerate(photographs(192)):
        to_picture(image).save(f"colour/{i}.png")
    done = call("diagnose", "--model", "photos", "--data", "colour", "--snr", "5", "--steps", "1")
    assert done.exit_code == 0, done.output
    assert "27 latents of 2048 elements" in done.stdout
    assert "images: expected a float tensor of shape (B, 3, H, W)" in refused("diagnose", "--model", "photos", "--data", "pictures")

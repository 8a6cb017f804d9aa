# SPDX-License-Identifier: Apache-2.0
"""A latent diffusion model's folder and pictures, all the way: train ends, transmit, evaluate by path. The model is tiny and random."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.python.cli.test_cli import call, refused

pytest.importorskip("diffusers")
pytest.importorskip("matplotlib")
pytest.importorskip("scipy")
Image = pytest.importorskip("PIL.Image")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pipeline, and 32 pictures of 32x32."""
    from tests.python.latent_pipelines import save_ldm
    from tests.python.photographs import photograph

    folder = tmp_path_factory.mktemp("ends")
    save_ldm(folder / "pipeline")
    (folder / "pictures").mkdir()
    patches = photograph("chelsea")[0, :, :128, :256].unfold(1, 32, 32).unfold(2, 32, 32).permute(1, 2, 3, 4, 0).reshape(-1, 32, 32, 3)
    for i, patch in enumerate((patches * 255).round().byte().numpy()):
        Image.fromarray(patch).save(folder / "pictures" / f"{i:02}.png")
    return folder


@pytest.fixture(scope="module")
def model(place: Path) -> Path:
    options = ("--pipeline", place / "pipeline", "--data", place / "pictures", "--cbr", "1/12,1/24", "--budget", "0.005")
    done = call("train", "ends", *options, "--precision", "fp32", "--out", place / "run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["recipe"] == "ends"
    return Path(found["model"])


def test_the_model_transmits(place: Path, model: Path, tmp_path: Path) -> None:
    picture, out = place / "pictures" / "00.png", tmp_path / "received"
    done = call("transmit", picture, "--model", model, "--snr", "5", "--cbr", "1/24", "--steps", "2", "--out", out, "--json")
    assert done.exit_code == 0, done.output
    with Image.open(out / "00.png") as received:
        assert received.size == (32, 32)
    assert '"cbr": 0.0416' in done.stdout


def test_an_evaluation_has_the_three_matches_beside_the_baselines(place: Path, model: Path, tmp_path: Path) -> None:
    pytest.importorskip("sionna")
    from semdiff.baselines import ADJSCC
    from semdiff.evaluation import Config

    ADJSCC((3, 32, 32), 16, (16, 8, 4), width=8, outer_width=8, depth=1).save(tmp_path / "adjscc")
    matches = [{"name": "link", "path": str(model), "label": m, "options": {"match": m}} for m in ("exact", "calibrated", "paper")]
    config = Config.from_mapping(
        {
            "systems": [*matches, {"name": "adjscc", "path": str(tmp_path / "adjscc")}, "digital"],
            "data": str(place / "pictures"),
            "images": 4,
            "snr_db": [0, 10],
            "cbr": ["1/12", "1/24"],
            "steps": 2,
        }
    )
    assert Config.from_mapping(config.to_mapping()) == config
    (tmp_path / "judged.toml").write_text(config.to_toml())
    done = call("evaluate", tmp_path / "judged.toml", "--out", tmp_path / "found", "--json")
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["summary"]
    assert len(rows) == 5 * 2 * 2
    values = {(r["system"], r["snr_db"], r["uses"]): r["psnr"] for r in rows}
    for snr_db in (0, 10):
        for uses in (256, 128):
            link = [values[m, snr_db, uses] for m in ("exact", "calibrated", "paper")]
            assert len(set(link)) == 3
            assert {(name, snr_db, uses) for name in ("adjscc", "digital")} <= values.keys()
    table = " ".join(call("evaluate", tmp_path / "judged.toml", "--out", tmp_path / "found").stdout.split())
    for words in ("exact, sample, 2 steps", "calibrated, sample, 2 steps", "paper, sample, 2 steps"):
        assert words in table


def test_what_is_refused(place: Path, tmp_path: Path) -> None:
    pipeline, pictures = ("--pipeline", place / "pipeline"), ("--data", place / "pictures")
    assert "--pipeline: expected a folder" in refused("train", "ends", *pictures)
    assert "--data: expected a folder" in refused("train", "ends", *pipeline)
    assert "pipeline: expected a folder that diffusers" in refused("train", "ends", "--pipeline", tmp_path / "none", *pictures)
    assert "cbr: expected a multiple of 1/384" in refused("train", "ends", *pipeline, *pictures, "--cbr", "1/9999")
    assert "expected a ratio such as 1/24" in refused("train", "ends", *pipeline, *pictures, "--cbr", "much")
    assert "budget: expected a factor such as 0.1 for ends, got '3h'" in refused("train", "ends", *pipeline, *pictures, "--budget", "3h")
    assert "--start: expected none for the recipe ends" in refused("train", "ends", *pipeline, *pictures, "--start", "photos")
    assert "--pipeline: expected none, it is of the recipe ends" in refused("train", "photos", *pipeline)
    assert "--compile: expected none, it is of fashion-mnist and cifar10" in refused("train", "photos", "--compile")
    assert "--cbr: expected none, it is of the recipe ends" in refused("train", "fashion-mnist", "--cbr", "1/12")


def test_a_latent_diffusion_model_of_the_pictures(place: Path, tmp_path: Path) -> None:
    """It says how good it is and which command is next, whose words are those that the ends take."""
    done = call("train", "latent-diffusion", "--data", place / "pictures", "--budget", "0.0005", "--precision", "fp32", "--out", tmp_path)
    assert done.exit_code == 0, done.output
    text = " ".join(done.stdout.split())
    found = json.loads((tmp_path / "quality.json").read_text())
    assert f"Held-out pictures: {found['autoencoder_psnr']:.1f} dB by the autoencoder alone" in text
    assert text.endswith(f"Try it: semdiff train ends --pipeline {tmp_path / 'pipeline'} --data {place / 'pictures'}")
    assert (tmp_path / "pipeline" / "model_index.json").is_file()
    assert "--data: expected a folder of pictures" in refused("train", "latent-diffusion")
    assert "--pipeline: expected none" in refused("train", "latent-diffusion", "--data", place / "pictures", "--pipeline", "x")

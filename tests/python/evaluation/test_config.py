# SPDX-License-Identifier: Apache-2.0
"""What an evaluation is told: its configuration, systems, channels and images; every refusal names the field and the known."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("scipy")
pytest.importorskip("tqdm")

from semdiff.evaluation import Config, sweep
from semdiff.evaluation.channels import make_channel
from semdiff.evaluation.image_sets import load_images
from semdiff.evaluation.specs import ChannelSpec, SystemSpec
from semdiff.evaluation.systems import SYSTEMS, load_system
from tests.python.evaluation_systems import Uncoded, images, psnr, run

METRICS = {"psnr": psnr}


# --- configurations ----------------------------------------------------------------------------------------------------------------------


def test_the_shipped_configurations() -> None:
    config = Config.from_toml("fashion-mnist")
    # upsampler-mean is the mean of a link on pixels, hybrids are digital on pictures so small, ResidualJSCC has no weights of this set
    others = {"upsampler-mean", "hybrid", "hybrid-link", "residual-jscc", "residual-jscc-lpips"}
    assert {s.name for s in config.systems} == set(SYSTEMS) - others
    assert config.cbr == (64 / 784, 32 / 784)
    assert config.channels == (ChannelSpec("awgn"), ChannelSpec("rayleigh", (("coherence", "block"),)))
    assert Config.from_toml("fashion-mnist-perceptual").metrics == ("lpips_vgg", "fid", "kid")
    assert Config.from_toml("photos").cbr == (1 / 12, 1 / 24, 1 / 48)
    assert {s.name for s in Config.from_toml("kodak").systems} == {"link", "adjscc", "digital", "hybrid", "capacity"}
    assert Config.from_toml("photos-perceptual").metrics == ("lpips_vgg", "kid_patches")


def test_toml_comes_back(tmp_path: Path) -> None:
    config = Config.from_mapping(
        {
            "systems": ["link", {"name": "link", "path": 'a\\b "c"', "label": "mine"}, {"name": "digital", "options": {"codec": "webp"}}],
            "snr_db": [-2.5, 7],
            "cbr": "1/12",
            "channels": [{"name": "AWGN", "coherence": "block", "k_db": 3.0}],
            "images": 20,
            "grey": True,
        }
    )
    assert config.systems[1] == SystemSpec("link", 'a\\b "c"', "mine")
    assert config.channels[0].label == "awgn(coherence=block, k_db=3.0)"
    (tmp_path / "x.toml").write_text(config.to_toml())
    assert Config.from_toml(tmp_path / "x.toml") == config


GOOD: dict[str, Any] = {"systems": ["link"], "snr_db": [0]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"snrdb": 3}, r"snrdb: unknown field 'snrdb', did you mean 'snr_db'\? known: batch, cbr, channels"),
        ({"systems": [{"name": "link", "pth": "x"}]}, r"systems\.pth: unknown field 'pth', did you mean 'path'\?"),
        ({"systems": [{"name": "digital", "options": 3}]}, r"systems\.options: expected a table of the constructor's arguments, got 3"),
        ({"systems": [3]}, "systems: expected a name or a table"),
        ({"systems": []}, "systems: expected at least one, got none"),
        ({"systems": ["link", "link"]}, "systems: expected different values, got 'link' twice"),
        ({"systems": ["link", {"name": "link", "path": "x"}]}, "systems: expected labels that differ, got 'link' twice"),
        ({"snr_db": ["5"]}, "snr_db: expected a number, got '5'"),
        ({"snr_db": [math.nan]}, "snr_db: expected a finite number, got nan"),
        ({"snr_db": [5, 5.0]}, "snr_db: expected different values"),
        ({"cbr": ["1/0"]}, "cbr: expected a ratio such as"),
        ({"cbr": [-0.1]}, "cbr: expected a ratio above zero"),
        ({"steps": [0]}, "steps: expected a whole number, 1 or more, got 0"),
        ({"steps": [2.0]}, "steps: expected a whole number, 1 or more, got 2.0"),
        ({"realism": [1.5]}, r"realism: expected a finite number in \[0, 1\], got 1.5"),
        ({"seeds": [-1]}, "seeds: expected a whole number, 0 or more, got -1"),
        ({"metrics": [1]}, "metrics: expected text, got 1"),
        ({"images": 0}, "images: expected a whole number, 1 or more"),
        ({"grey": 1}, "grey: expected true or false, got 1"),
        ({"channels": [5]}, "channels: expected a name or a table"),
    ],
)
def test_bad_fields_are_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises((ValueError, TypeError), match=words):
        Config.from_mapping(GOOD | change)


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="snr_db: expected this field, which has no default; got only systems"):
        Config.from_mapping({"systems": ["link"]})
    (tmp_path / "bad.toml").write_text("systems = [")
    with pytest.raises(ValueError, match=r"bad\.toml: expected a TOML file"):
        Config.from_toml(tmp_path / "bad.toml")
    (tmp_path / "typo.toml").write_text('systems = ["link"]\nsnr = 5\n')
    with pytest.raises(ValueError, match=r"typo\.toml: snr: unknown field 'snr', did you mean 'snr_db'"):
        Config.from_toml(tmp_path / "typo.toml")
    names = r"\(cifar10, fashion-mnist, fashion-mnist-perceptual, kodak, photos, photos-perceptual\)"
    with pytest.raises(FileNotFoundError, match=rf"{names}, got 'cifar'"):
        Config.from_toml("cifar")


# --- systems, channels, data -------------------------------------------------------------------------------------------------------------


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(ValueError, match=r"systems: unknown system 'lnk', did you mean 'link'\? known: adjscc, adjscc-lpips, capacity, "):
        sweep(systems=["lnk"], snr_db=0)
    with pytest.raises(ValueError, match=r"channels: unknown channel 'awgm', did you mean 'awgn'\? known: .*awgn"):
        run(None, channels="awgm")
    with pytest.raises(ValueError, match=r"channels\.awgn: unknown argument 'k_db'"):
        make_channel(ChannelSpec("awgn", (("k_db", 3.0),)))


def test_an_absent_system_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "semdiff.baselines", None)  # as if it could not be imported
    with pytest.raises(ImportError, match=r"systems: 'adjscc' needs semdiff\.baselines.*semdiff-torch\[models\].*known systems: link"):
        load_system(SystemSpec("adjscc", None, "adjscc"))


def test_a_system_takes_its_own_options_only() -> None:
    with pytest.raises(ValueError, match=r"systems\.mine\.options: unknown argument 'codec'"):
        load_system(SystemSpec("link", None, "mine", (("codec", "webp"),)))
    with pytest.raises(ValueError, match=r"systems\.mine\.options: expected none beside a path"):
        load_system(SystemSpec("link", "model", "mine", (("codec", "webp"),)))


def test_a_system_must_be_one_and_fit_the_images() -> None:
    with pytest.raises(TypeError, match=r"systems\.a: expected an object with transmit"):
        sweep(systems={"a": 3}, data=images(), metrics=METRICS, snr_db=0)
    with pytest.raises(ValueError, match=r"systems\.a: expected a system for .* \(1, 8, 8\), which tensor has, got one for \(1, 4, 4\)"):
        sweep(systems={"a": Uncoded()}, data=torch.rand(2, 1, 8, 8), metrics=METRICS, snr_db=0)


def test_what_cannot_work_is_known_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"systems\.uncoded: cannot transmit at .*cbr 0\.25.*: cbr: expected 0\.5"):
        run(tmp_path, cbr=[0.5, 0.25])
    assert not (tmp_path / "cells").exists()


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    from semdiff.models.store import write_checksums
    from semdiff.training.recipes.latents import build

    folder = tmp_path / "model"
    build(0).link().save_pretrained(folder)
    config = folder / "downsampler" / "config.json"
    other = json.loads(config.read_text())
    other["symbol_channels"] = 6
    config.write_text(json.dumps(other))
    write_checksums(folder)
    with pytest.raises(ValueError, match=r"downsampler|the weights do not fit"):
        load_system(SystemSpec("link", str(folder), "mine"))


def test_models_are_named_or_lie_in_folders() -> None:
    from semdiff.models.store import shipped_models

    link = load_system(SystemSpec("link", None, "a", (("model", "fashion-mnist"),)))
    for spec in (
        SystemSpec("link", "fashion-mnist", "b"),
        SystemSpec("link", str(shipped_models()["fashion-mnist"]), "c"),
        SystemSpec("link", None, "d", (("model", str(shipped_models()["fashion-mnist"])),)),
    ):
        assert load_system(spec).weights == link.weights
    jscc = load_system(SystemSpec("adjscc", None, "a", (("model", "fashion-mnist"),)))
    assert load_system(SystemSpec("adjscc", "fashion-mnist", "b")).weights == jscc.weights
    assert load_system(SystemSpec("adjscc", str(shipped_models("adjscc")["fashion-mnist"]), "c")).weights == jscc.weights
    with pytest.raises(FileNotFoundError, match=r"systems\.b\.path: expected a folder of a trained model, one of cifar10, fashion-m"):
        load_system(SystemSpec("link", "nowhere", "b"))
    with pytest.raises(ValueError, match=r"systems\.b\.path: .*expected the weights of a DeepJSCC, got those of a ADJSCC"):
        load_system(SystemSpec("deepjscc", str(shipped_models("adjscc")["fashion-mnist"]), "b"))


def test_a_folder_of_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    for name, colour in (("b.png", 51), ("a.png", 255)):
        image.new("L", (6, 4), colour).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    found = load_images(str(tmp_path))
    assert found.images.shape == (2, 1, 4, 6)
    torch.testing.assert_close(found.images[:, 0, 0, 0], torch.tensor([1.0, 0.2]))  # by name
    image.new("RGB", (6, 4), (255, 0, 0)).save(tmp_path / "c.png")
    assert load_images(str(tmp_path), grey=True).images.shape == (3, 1, 4, 6)
    with pytest.raises(ValueError, match=r"one size and colour .* 6x4 grey in a\.png and 6x4 colour in c\.png"):
        load_images(str(tmp_path))
    with pytest.raises(ValueError, match="images: expected at most the 3"):
        load_images(str(tmp_path), 4, grey=True)
    (tmp_path / "d.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"data: .*d\.png: expected a picture .*, got something that pillow does not know$"):
        load_images(str(tmp_path), grey=True)


def test_no_folder_and_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="data: expected fashion-mnist, cifar10, photos, kodak, samples or a folder of pictures"):
        load_images(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match=r"data: expected pictures .* got an empty folder"):
        load_images(str(tmp_path))


def test_a_link_may_be_told_its_match() -> None:
    """With weights by path too; what it was told is part of what a cell's results depend on."""
    pytest.importorskip("diffusers")
    from semdiff.models.store import shipped_models

    path = str(shipped_models()["photos"])
    given = load_system(SystemSpec("link", path, "paper", (("match", "paper"), ("solver", "ddim"))))
    assert given.options == {"match": "paper", "solver": "ddim"}
    assert given.identity["options"] == given.options
    assert given.identity != load_system(SystemSpec("link", path, "paper")).identity
    with pytest.raises(ValueError, match=r"systems\.a\.options\.match: expected one of exact, paper, calibrated, got 'papr'"):
        load_system(SystemSpec("link", path, "a", (("match", "papr"),)))
    with pytest.raises(ValueError, match=r"systems\.a\.options: unknown argument 'match'"):
        load_system(SystemSpec("digital", None, "a", (("match", "paper"),)))

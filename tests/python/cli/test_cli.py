# SPDX-License-Identifier: Apache-2.0
"""The command line, on a small untrained model: what it prints, writes and answers to bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import semdiff
from semdiff._util.atomic import write_atomically
from semdiff.cli import main
from semdiff.cli.options import parse_model
from semdiff.cli.picture_files import load_picture
from semdiff.data import sample_images
from semdiff.metrics import psnr
from tests.python.pretrained import installed

pytest.importorskip("diffusers")
Image = pytest.importorskip("PIL.Image")

SHIRT = 0  # of the demo's images


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from semdiff.training.recipes.latents import build

    folder = tmp_path_factory.mktemp("cli") / "model"
    build(0).link().save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str | Path) -> Any:
    from semdiff.cli.app import app

    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(*arguments: str | Path) -> str:
    """The one line of a refusal."""
    done = call(*arguments)
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert done.stderr.startswith("semdiff: ")
    assert done.stderr.count("\n") == 1
    return str(done.stderr)


def write_image(path: Path, size: tuple[int, int] = (28, 28), mode: str = "L", colour: Any = 128) -> Path:
    Image.new(mode, size, colour).save(path)
    return path


def write_shirt(path: Path) -> Path:
    Image.fromarray((sample_images()[SHIRT, 0] * 255).round().to(torch.uint8).numpy()).save(path)
    return path


# --- help, version, info -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["demo"], ["transmit"], ["train"], ["info"]])
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(command: list[str], option: str) -> None:
    done = call(*command, option)
    assert done.exit_code == 0
    assert "Usage:" in done.stdout
    assert done.stderr == ""


def test_version() -> None:
    assert call("--version").stdout == f"semdiff {semdiff.__version__}\n"


def test_info() -> None:
    done = call("info")
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(semdiff.build_info())
    assert json.loads(call("info", "--json").stdout) == semdiff.build_info()


# --- demo --------------------------------------------------------------------------------------------------------------------------------


def test_demo(model: Path, tmp_path: Path) -> None:
    done = call("demo", "--model", model, "--steps", "2")
    assert done.exit_code == 0, done.output
    for word in ("measured", "PSNR", "ADJSCC", "posterior mean", "sample", "1/12.3", "demo.png"):
        assert word in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    with Image.open(tmp_path / "demo.png") as picture:
        assert picture.width > 560
        assert picture.height > 13 * 56
        assert len(picture.getcolors(256)) > 50
    assert [p.name for p in tmp_path.iterdir()] == ["demo.png"]


def test_demo_shows_every_model_those_whose_samples_count_first(tmp_path: Path) -> None:
    done = call("demo", "--steps", "1", "--out", tmp_path / "x.png", "--json")
    assert done.exit_code == 0, done.output
    models = json.loads(done.stdout)["models"]
    assert [m["model"] for m in models] == ["fashion-mnist", "cifar10", "photos"]
    assert [Path(m["picture"]).name for m in models] == ["x-fashion-mnist.png", "x-cifar10.png", "x-photos.png"]
    for m, code, most in zip(models, ("ADJSCC", "ResidualJSCC", "ADJSCC"), ("sample", "sample", "detail decoder"), strict=True):
        assert {r["received"] for r in m["rows"]} >= {code, most}
        assert [r["cbr"] for r in m["rows"]] == pytest.approx([1 / 12] * 12, rel=0.03)
        with Image.open(m["picture"]) as picture:
            assert picture.height > 13 * 56


def test_demo_leaves_out_models_without_the_rate(tmp_path: Path) -> None:
    done = call("demo", "--steps", "1", "--cbr", "1/6", "--out", tmp_path / "x.png", "--json")
    assert done.exit_code == 0, done.output
    assert [m["model"] for m in json.loads(done.stdout)["models"]] == ["cifar10"]
    assert "fashion-mnist is left out: cbr: expected a ratio within 5 %" in done.stderr
    assert "photos is left out: cbr: expected a ratio within 5 %" in done.stderr
    done = call("demo", "--cbr", "1/2")
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith("semdiff: cbr: expected a ratio within 5 % of one that this model offers (0.0833")


def test_demo_json(model: Path, tmp_path: Path) -> None:
    def report() -> Any:
        done = call(
            "demo", "--model", model, "--steps", "2", "--seed", "5", "--cbr", "32/784", "--out", tmp_path / "new" / "a.png", "--json"
        )
        assert done.exit_code == 0, done.output
        (shown,) = json.loads(done.stdout)["models"]
        return shown

    first = report()
    assert len(first["rows"]) == 12
    assert [r["evaluations"] for r in first["rows"][:3]] == [0, 1, 2]
    assert first["rows"][0]["t"] is None
    assert {r["channel_uses"] for r in first["rows"]} == {32}
    for r in first["rows"]:
        assert r["cbr"] == pytest.approx(32 / 784)
        assert r["measured_snr_db"] == pytest.approx(r["snr_db"], abs=1)
        assert r["milliseconds"] > 0
    again = report()
    for r in first["rows"] + again["rows"]:
        del r["milliseconds"]
    assert first == again
    assert (tmp_path / "new" / "a.png").exists()


def test_sample_images_are_the_data_sets() -> None:
    from semdiff.data import fashion_mnist

    images, labels = installed(lambda: fashion_mnist("test"))
    first = [int((labels == c).nonzero()[0]) for c in range(10)]
    assert torch.equal(sample_images(), images[first])


# --- transmit ----------------------------------------------------------------------------------------------------------------------------


def test_transmit(model: Path, tmp_path: Path) -> None:
    shirt, grey = write_shirt(tmp_path / "shirt.png"), write_image(tmp_path / "grey.bmp")
    done = call("transmit", shirt, grey, "--model", model, "--snr", "3", "--steps", "2", "--realism", "0.5", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["snr_db"] == 3
    assert report["evaluations"] == 3
    others = dict.fromkeys(("side_information", "pilots", "preamble", "cyclic_prefix"), 0)
    assert report["channel_uses"] == {"payload": 64, **others, "total": 64}
    assert [Path(i["output"]).name for i in report["images"]] == ["shirt.png", "grey.png"]
    for i in report["images"]:
        with Image.open(i["output"]) as picture:
            assert (picture.size, picture.mode) == ((28, 28), "L")
            received = torch.from_numpy(np.array(picture, np.float32) / 255)[None, None]
        sent = load_picture(Path(i["input"]), (1, 28, 28))[None]
        assert i["psnr_db"] == pytest.approx(float(psnr(received, sent)), abs=0.2)  # the file is rounded to bytes
        assert abs(i["measured_snr_db"] - 3) < 3
        assert i["t"] > 0


def test_transmit_is_the_links(model: Path, tmp_path: Path) -> None:
    """The picture is what SemanticLink.transmit gives for the same key; another seed gives another."""
    shirt = write_shirt(tmp_path / "shirt.png")
    for seed in ("0", "1"):
        assert call("transmit", shirt, "--model", model, "--steps", "2", "--seed", seed, "--out", seed).exit_code == 0
    link = semdiff.link.SemanticLink.from_pretrained(model)
    expected = link.transmit(sample_images()[:1], 10.0, steps=2, key=semdiff.Key(0).fold_in(0)).images
    with Image.open("0/shirt.png") as picture:
        assert np.array_equal(np.array(picture), (expected[0, 0] * 255).round().to(torch.uint8).numpy())
    assert Path("0/shirt.png").read_bytes() != Path("1/shirt.png").read_bytes()


@pytest.mark.parametrize(
    ("name", "channel", "payload", "prefix"),
    [
        ("awgn", semdiff.AWGN(), 64, 0),
        ("rayleigh", semdiff.Rayleigh(), 64, 0),
        ("rayleigh-fast", semdiff.Rayleigh("fast"), 64, 0),
        ("rician:6", semdiff.Rician(6.0), 64, 0),
        ("rician-fast:-2.5", semdiff.Rician(-2.5, "fast"), 64, 0),
        ("multipath", semdiff.Multipath(), 64, 16),
        ("mimo:2x3", semdiff.MIMO(2, 3), 32, 0),
        ("mimo:2x2:waterfilling", semdiff.MIMO(2, 2, "waterfilling"), 32, 0),
    ],
)
def test_transmit_over_a_named_channel(model: Path, tmp_path: Path, name: str, channel: semdiff.Channel, payload: int, prefix: int) -> None:
    shirt = write_shirt(tmp_path / "shirt.png")
    done = call("transmit", shirt, "--model", model, "--channel", name, "--snr", "8", "--steps", "1", "--realism", "0", "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["channel"] == name
    uses = report["channel_uses"]
    assert (uses["payload"], uses["cyclic_prefix"], uses["pilots"], uses["total"]) == (payload, prefix, 0, payload + prefix)
    assert report["cbr"] == (payload + prefix) / 784
    link = semdiff.link.SemanticLink.from_pretrained(model)
    picture = load_picture(shirt, (1, 28, 28))[None]
    expected = link.transmit(picture, 8.0, channel=channel, steps=1, realism=0.0, key=semdiff.Key(0).fold_in(0))
    assert report["images"][0]["measured_snr_db"] == pytest.approx(float(expected.snr_db))


@pytest.mark.parametrize("name", ["cable", "", "awgn:3", "rician", "rician:loud", "rician:nan", "mimo:2", "mimo:0x2", "mimo:2x2:svd"])
def test_other_channels_are_refused(model: Path, tmp_path: Path, name: str) -> None:
    message = refused("transmit", write_shirt(tmp_path / "shirt.png"), "--model", model, "--channel", name)
    known = "awgn, rayleigh, rayleigh-fast, rician:K, rician-fast:K, multipath, mimo:NTxNR, mimo:NTxNR:PRECODING"
    assert f"--channel: expected one of {known}, got {name!r}" in message


def test_transmit_table(model: Path, tmp_path: Path) -> None:
    done = call("transmit", write_shirt(tmp_path / "shirt.png"), "--model", model, "--steps", "1")
    assert done.exit_code == 0, done.output
    assert "received/shirt.png" in done.stdout
    assert "PSNR" in done.stdout


def test_another_size_is_refused_or_resized(model: Path, tmp_path: Path) -> None:
    large = write_image(tmp_path / "large.png", (64, 48), "RGB", (255, 0, 0))
    message = refused("transmit", large, "--model", model)
    assert "large.png: expected 28x28 pixels, which is what this model takes, got 64x48; --resize" in message
    assert not Path("received").exists()
    assert call("transmit", large, "--model", model, "--steps", "1", "--resize").exit_code == 0


def test_a_model_by_its_name_goes_before_a_folder(tmp_path: Path) -> None:
    from semdiff.models.store import shipped_models

    (tmp_path / "fashion-mnist").mkdir()
    assert parse_model("fashion-mnist") == shipped_models()["fashion-mnist"]
    assert parse_model("./fashion-mnist") == Path("fashion-mnist")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--snr", "nan"], "snr_db: expected finite numbers"),
        (["--snr", "loud"], "Invalid value for '--snr'"),
        (["--cbr", "0.3"], "cbr: expected a ratio within 5 % of one that this model offers"),
        (["--cbr", "-1"], "cbr: expected a ratio"),
        (["--cbr", "1/0"], "expected a ratio such as 1/24 or 0.0417, got '1/0'"),
        (["--steps", "some"], "expected an integer or auto, got 'some'"),
        (["--steps", "0"], "steps: expected an integer in [1, 1000], got 0"),
        (["--steps", "1001"], "steps: expected an integer in [1, 1000]"),
        (["--realism", "1.5"], "realism: expected a number in [0, 1]"),
        (["--seed", "-1"], "seed: expected an integer in [0, 2**64), got -1"),
        (["--model", "nowhere"], "expected a folder of a trained model, one of cifar10, fashion-mnist"),
        (["--frob"], "No such option"),
        (["absent.png"], "'absent.png' does not exist"),
    ],
)
def test_bad_options(model: Path, tmp_path: Path, options: list[str], words: str) -> None:
    shirt = write_shirt(tmp_path / "shirt.png")
    assert words in refused("transmit", shirt, *([] if "--model" in options else ["--model", model]), *options)


def test_bad_usage() -> None:
    assert "No such command 'frob'" in refused("frob")
    assert "Missing argument" in refused("transmit")
    assert "'cifar'" in refused("train", "cifar")
    assert call().exit_code == 2  # the help, for want of a command


def test_bad_pictures(model: Path, tmp_path: Path) -> None:
    text, cut = tmp_path / "text.png", tmp_path / "cut.png"
    text.write_text("no picture")
    assert "text.png: expected a picture (PNG, JPEG, WebP, ...)" in refused("transmit", text, "--model", model)
    cut.write_bytes(write_shirt(tmp_path / "whole.png").read_bytes()[:200])
    assert "cut.png: expected a picture, but it does not decode" in refused("transmit", cut, "--model", model)
    pages = [Image.new("L", (28, 28), i) for i in (0, 255)]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    words = "pages.tiff: expected a picture or an animation (GIF, PNG, WEBP, AVIF), got TIFF of 2 pages"
    assert words in refused("transmit", tmp_path / "pages.tiff", "--model", model)
    pages[0].save(tmp_path / "moving.gif", save_all=True, append_images=pages[1:])
    words = "moving.gif: expected a single picture, got an animation of 2 frames"
    assert words in refused("send", tmp_path / "moving.gif", "--model", model)
    float_ = write_image(tmp_path / "float.tiff", mode="F", colour=0.5)
    assert "float.tiff: expected 8 or 16 bits a channel" in refused("transmit", float_, "--model", model)


def test_nothing_is_overwritten_that_was_sent(model: Path, tmp_path: Path) -> None:
    shirt, other = write_shirt(tmp_path / "shirt.png"), tmp_path / "sub"
    other.mkdir()
    assert "of which both would write received/shirt.png" in refused("transmit", shirt, write_shirt(other / "shirt.png"), "--model", model)
    assert "--out: expected another folder" in refused("transmit", shirt, "--model", model, "--out", tmp_path)


def test_an_altered_model_is_refused(model: Path, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "altered"
    shutil.copytree(model, folder)
    (weights,) = (folder / "unet").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-10])
    assert "truncated or altered" in refused("demo", "--model", folder)
    (folder / "model_index.json").unlink()
    assert "model_index.json" in refused("demo", "--model", folder)


def test_a_failure_is_1(model: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = call("demo", "--model", model, "--steps", "1", "--out", tmp_path / "file" / "demo.png")
    assert done.exit_code == 1
    assert done.stderr.startswith("semdiff: ")
    assert done.stderr.count("\n") == 1


# --- pictures ----------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 51, 0.2),
        ("1", 1, 1.0),
        ("RGB", (255, 255, 255), 1.0),
        ("RGB", (255, 0, 0), 76 / 255),  # 0.299 of red
        ("RGBA", (255, 255, 255, 51), 0.2),  # over black
        ("I;16", 13107, 0.2),
    ],
)
def test_every_mode_becomes_grey(tmp_path: Path, mode: str, colour: Any, expected: float) -> None:
    grey = load_picture(write_image(tmp_path / "x.png", mode=mode, colour=colour), (1, 28, 28))
    assert grey.dtype == torch.float32
    assert grey.shape == (1, 28, 28)
    torch.testing.assert_close(grey, torch.full_like(grey, expected), rtol=0, atol=1e-6)


def test_a_file_is_written_whole_or_not(tmp_path: Path) -> None:
    place = tmp_path / "x"
    place.write_bytes(b"old")

    def half(file: Any) -> None:
        file.write(b"new")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_atomically(place, half)
    assert place.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [place]


# --- the program -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_program_writes_only_json_to_stdout(model: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from semdiff.cli import main; main()", "demo", "--model", str(model), "--steps", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"SEMDIFF_TRACEBACK": "1"})
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["models"][0]["rows"]) == 12
    assert "Traceback" not in done.stderr


def test_without_typer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "typer", None)
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    assert "pip install 'semdiff-torch[cli]'" in capsys.readouterr().err


def test_without_pillow(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    done = call("demo", "--model", model)
    assert done.exit_code == 1
    assert "pip install 'semdiff-torch[models]'" in done.stderr

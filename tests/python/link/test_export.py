# SPDX-License-Identifier: Apache-2.0
"""semdiff export and the receiver in C++, which is held against the link's own `receive` with the same symbols and key."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import semdiff
from semdiff.data import sample_images
from tests.python import receiver_program
from tests.python.cli.test_cli import call, refused
from tests.python.small_links import LATENT_LINK

pytest.importorskip("diffusers")
pytest.importorskip("PIL")

from PIL import Image

from semdiff.diffusion.vae import GaussianSample
from semdiff.link import PixelLink, SemanticLink
from semdiff.link.base import ImageLink
from semdiff.link.export import export_link, parts
from semdiff.link.starting_state import Reception

TOLERANCE = 1e-4  # compiled and eager convolutions add in another order


@pytest.fixture(scope="module", params=["fashion-mnist", LATENT_LINK], ids=["pixels", "latents"])
def link(request: pytest.FixtureRequest) -> ImageLink:
    return SemanticLink.from_pretrained(request.param)


@pytest.fixture(scope="module")
def latent() -> SemanticLink:
    return SemanticLink.from_pretrained(LATENT_LINK)


@pytest.fixture(scope="module")
def folder(link: ImageLink, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes: without --model for the shipped link."""
    place = tmp_path_factory.mktemp("export") / "new" / "receiver"
    pixels = isinstance(link, PixelLink)
    done = call("export", "--out", place, "--json", *(() if pixels else ("--model", LATENT_LINK)))
    assert done.exit_code == 0, done.output
    decoders = ["decoder.pt2"] if pixels else ["decoder.pt2", "sample_decoder.pt2"]
    assert json.loads(done.stdout)["files"] == ["upsampler.pt2", "denoiser.pt2", *decoders, "receiver.json"]
    return place


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """cpp/examples, copied out of the repository and built beside the installed C++ package alone."""
    place = tmp_path_factory.mktemp("program")
    receiver_program.install(place / "prefix")
    shutil.copytree(receiver_program.ROOT / "cpp" / "examples", place / "examples")
    receiver_program.build(place / "examples", place / "build", place / "prefix")
    return place / "build" / "receive"


def received(link: ImageLink, channel: semdiff.Channel, snr_db: float, cbr: float | None = None) -> semdiff.Received:
    return channel(link.send(sample_images()[:3], cbr=cbr, snr_db=snr_db), snr_db, semdiff.Key(3))


def run(program: Path, folder: Path, place: Path, heard: semdiff.Received, *options: str | float) -> tuple[Tensor, Any]:
    """The program's images as floats, (3, 1, 28, 28), and its picture, (84, 28), for the symbols and gains of `heard`."""
    heard.y.numpy().tofile(place / "symbols.iq")
    heard.h.expand(3, -1).contiguous().numpy().tofile(place / "gains.iq")
    noise_var = repr(heard.noise_var[0].item())
    files = ("--h", place / "gains.iq", "--raw", place / "raw.f32", "--out", place / "out.png")
    done = receiver_program.run(program, folder, place / "symbols.iq", "--noise-var", noise_var, "--seed", 7, *files, *options)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    with Image.open(place / "out.png") as picture:
        assert picture.mode == "L"
        return torch.from_numpy(np.fromfile(place / "raw.f32", np.float32)).view(3, 1, 28, 28), np.asarray(picture)


@pytest.mark.slow
@pytest.mark.parametrize("snr_db", [0.0, 10.0])
@pytest.mark.parametrize("realism", [0.0, 1.0])
@pytest.mark.parametrize("cbr", [1 / 12, 1 / 24])
def test_the_program_equals_python(
    link: ImageLink, folder: Path, program: Path, tmp_path: Path, snr_db: float, realism: float, cbr: float
) -> None:
    heard = received(link, semdiff.AWGN(), snr_db, cbr)
    expected = link.receive(heard.y, 10 ** (-snr_db / 10), steps=8, realism=realism, key=semdiff.Key(7))  # the program's default
    channels = max(link.config.rates) if cbr == 1 / 12 else min(link.config.rates)
    images, picture = run(program, folder, tmp_path, heard, "--realism", realism, "--rate", channels)
    torch.testing.assert_close(images, expected, rtol=0, atol=TOLERANCE)
    rounded = (images * 255).round().to(torch.uint8)
    assert np.array_equal(picture, rounded.reshape(84, 28).numpy())
    assert (expected - sample_images()[:3]).square().mean() < 0.03  # pictures, not two times the same nonsense


@pytest.mark.slow
@pytest.mark.parametrize("coherence", ["block", "fast"])
def test_gains_steps_and_realism(link: ImageLink, folder: Path, program: Path, tmp_path: Path, coherence: Any) -> None:
    heard = received(link, semdiff.Rayleigh(coherence), 5.0)
    expected = link.receive(heard.y, heard.noise_var, heard.h, steps=3, realism=0.3, key=semdiff.Key(7))
    images, _ = run(program, folder, tmp_path, heard, "--steps", 3, "--realism", 0.3)
    torch.testing.assert_close(images, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.slow
def test_the_description_tells_all(link: ImageLink, folder: Path) -> None:
    said = json.loads((folder / "receiver.json").read_text())
    assert {p.name for p in folder.iterdir()} == {*said["sha256"], "receiver.json"}
    for name, digest in said["sha256"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert torch.equal(torch.tensor(said["alphas_cumprod"], dtype=torch.float64), link.schedule.alphas_cumprod)
    assert tuple(said["image_shape"]) == link.image_shape
    assert tuple(said["symbol_shape"]) == link.layout().symbols
    assert said["rates"] == list(link.cbrs)
    assert (said["link"], said["renoise"], said["batch"]) == (link.saved_as, link.config.renoise, 1)
    assert said["prediction"] == ("v" if isinstance(link, PixelLink) else link.prediction)
    assert (said["semdiff"], said["torch"]) == (semdiff.__version__, torch.__version__)


@pytest.mark.slow
def test_the_program_refuses_in_one_line(folder: Path, program: Path, tmp_path: Path) -> None:
    symbols = tmp_path / "symbols.iq"
    np.ones(64, np.complex64).tofile(symbols)
    rates = ", ".join(str(rate) for rate in json.loads((folder / "receiver.json").read_text())["rates"])

    def answer(*words: str | Path | float, code: int = 2) -> str:
        done = receiver_program.run(program, *words)
        assert done.returncode == code, done.stderr
        assert done.stdout == "" or code == 1
        assert done.stderr.startswith("receive: ")
        assert done.stderr.count("\n") == 1
        return done.stderr

    assert "expected FOLDER and SYMBOLS" in answer()
    assert "--snr: no such option" in answer(folder, symbols, "--snr", 3)
    assert "--seed: expected a value" in answer(folder, symbols, "--seed")
    assert "--noise-var: expected a number" in answer(folder, symbols)
    for option, value in {"--noise-var": 0, "--steps": 1001, "--realism": "nan", "--seed": -1, "--repeat": "3x"}.items():
        assert f"{option}: expected a number from" in answer(folder, symbols, "--noise-var", 0.1, option, value)
    assert f"--rate: expected one of {rates}, got 5" in answer(folder, symbols, "--noise-var", 0.1, "--rate", 5)
    assert "absent.iq: expected a file" in answer(folder, tmp_path / "absent.iq", "--noise-var", 0.1)
    assert "receiver.json: expected a file" in answer(tmp_path, symbols, "--noise-var", 0.1)
    np.ones(65, np.complex64).tofile(tmp_path / "long.iq")
    assert "long.iq: expected a multiple of 64 symbols, got 65" in answer(folder, tmp_path / "long.iq", "--noise-var", 0.1)
    assert "long.iq: expected 1 gains or 64, got 65" in answer(folder, symbols, "--noise-var", 0.1, "--h", tmp_path / "long.iq")
    (tmp_path / "odd.iq").write_bytes(bytes(9))
    assert "odd.iq: expected complex64 samples" in answer(folder, tmp_path / "odd.iq", "--noise-var", 0.1)
    np.full(64, np.nan, np.complex64).tofile(tmp_path / "nan.iq")
    assert "nan.iq: expected finite numbers" in answer(folder, tmp_path / "nan.iq", "--noise-var", 0.1)
    assert "cannot be written" in answer(folder, symbols, "--noise-var", 0.1, "--out", tmp_path / "no" / "x.png", code=1)


@pytest.mark.slow
def test_the_program_refuses_packages_of_another_kind(folder: Path, program: Path, tmp_path: Path) -> None:
    said = json.loads((folder / "receiver.json").read_text())
    np.ones(64, np.complex64).tofile(tmp_path / "symbols.iq")

    def answer(changes: dict[str, Any]) -> str:
        (tmp_path / "receiver.json").write_text(json.dumps(said | changes))
        done = receiver_program.run(program, tmp_path, tmp_path / "symbols.iq", "--noise-var", 0.1)
        assert done.returncode == 2
        return done.stderr

    assert "expected packages for torch" in answer({"torch": "2.12.1"})
    assert "expected numbers for rates" in answer({"rates": []})
    assert "batch: expected numbers from 1 to 32767, 1 of them" in answer({"batch": 0})
    assert "symbol_shape: expected numbers from 1 to 32767, 3 of them" in answer({"symbol_shape": [16, 4]})
    assert "rates: expected at most the symbols' channels" in answer({"rates": [2**14]})
    assert "expected whole numbers for batch" in answer({"batch": 0.5})
    assert "expected a text for link" in answer({"link": 3})
    assert "upsampler.pt2: expected a file" in answer({})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:snr_db. this model was trained for")
@pytest.mark.parametrize("snr_db", [-12.0, 25.0])
def test_beyond_the_training_too(link: ImageLink, folder: Path, program: Path, tmp_path: Path, snr_db: float) -> None:
    heard = received(link, semdiff.AWGN(), snr_db)
    expected = link.receive(heard.y, heard.noise_var, steps=2, key=semdiff.Key(7))
    images, _ = run(program, folder, tmp_path, heard, "--steps", 2)
    torch.testing.assert_close(images, expected, rtol=0, atol=TOLERANCE)


def upsampled(link: ImageLink, made: dict[str, Any]) -> tuple[GaussianSample, tuple[Tensor, Tensor, Tensor, Tensor]]:
    """The link's own Gaussian, which the compiled part and the operator behind it give too, and the inputs."""
    inputs = features, snr_db, rate, noise_map = tuple(
        torch.rand(x.shape, generator=torch.Generator().manual_seed(1)) for x in made["upsampler"][1]
    )
    coarse = made["upsampler"][0](*inputs)
    expected = link.upsampler(features, snr_db, rate, semdiff.Key(1), noise_map)
    for got, wanted in zip(semdiff.gaussian_upsample(coarse, 2, semdiff.Key(1)), expected, strict=True):
        assert torch.equal(got, wanted)
    for part, given in made.values():
        assert all(x.shape[0] == 2 for x in given)
        assert not part.training
    return expected, inputs


def test_what_is_compiled_is_what_the_link_on_pixels_runs() -> None:
    link = SemanticLink.default()
    made = parts(link, 2)
    x, log_noise_var, _, _ = (torch.rand(x.shape, generator=torch.Generator().manual_seed(2)) for x in made["denoiser"][1])
    with torch.no_grad():
        _, (features, snr_db, rate, _) = upsampled(link, made)
        assert torch.equal(made["denoiser"][0](x, log_noise_var, snr_db, rate), link.unet(x, log_noise_var, snr_db, rate))
        perceptual = link.scale.normalize(link.decoder(features, snr_db, rate, (28, 28)))
        assert torch.equal(made["decoder"][0](features, snr_db, rate), perceptual)


def test_what_is_compiled_is_what_the_link_on_latents_runs(latent: SemanticLink) -> None:
    """The parts in eager mode, put together with the Python receiver's own operators."""
    link = latent
    made = parts(link, 2)
    with torch.no_grad():
        expected, _ = upsampled(link, made)
        z, t = expected.mean, torch.tensor([3.0, 700.0])
        assert torch.equal(made["denoiser"][0](z, t), link.unet(z, t).sample)
        assert torch.equal(made["decoder"][0](z), link.decode(z, (28, 28)))
        assert torch.equal(made["sample_decoder"][0](z), link.receiver((28, 28)).show(z, Reception(expected, torch.ones(2))))


def test_what_the_program_cannot_follow_is_refused(latent: SemanticLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent, "clip", 1.0)
    monkeypatch.setattr(latent, "hinted", True)
    with pytest.raises(ValueError, match="link: expected one that a C\\+\\+ receiver can follow, got one with hints, clip_sample"):
        export_link(latent, tmp_path)


def test_bad_input(latent: SemanticLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="batch: expected at least 1, got 0"):
        export_link(latent, tmp_path, 0)
    assert "batch: expected at least 1" in refused("export", "--out", tmp_path / "x", "--batch", "0")
    from torch._inductor import cpp_builder, exc

    def none() -> str:
        raise exc.InvalidCxxCompiler

    monkeypatch.setattr(cpp_builder, "get_cpp_compiler", none)
    with pytest.raises(RuntimeError, match="needs a C\\+\\+ compiler: install g\\+\\+"):
        export_link(latent, tmp_path)
    assert list(tmp_path.iterdir()) == []

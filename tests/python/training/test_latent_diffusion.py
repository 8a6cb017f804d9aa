# SPDX-License-Identifier: Apache-2.0
"""The recipe of a small latent diffusion model: what it saves, what it says of itself, and ends around it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")

import diffusers
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from semdiff import Key
from semdiff.link import SemanticLink
from semdiff.models.pretrained import read_pipeline
from semdiff.training.recipes import ends, latent_diffusion
from tests.python.photographs import photograph

BUDGET = 0.001  # four steps of the autoencoder, two of the denoiser


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Grey patches, (63, 1, 28, 28), which are no whole cells."""
    grey = photograph("coffee")[:, :1, : 9 * 28, : 7 * 28]
    return grey.unfold(2, 28, 28).unfold(3, 28, 28).permute(0, 2, 3, 1, 4, 5).reshape(-1, 1, 28, 28)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, images: Tensor) -> Path:
    out = tmp_path_factory.mktemp("ldm")
    assert latent_diffusion.train(out, images, BUDGET, precision="fp32", progress=False) == out / "pipeline"
    return out


def test_it_is_a_pipeline_of_diffusers(run: Path) -> None:
    found = diffusers.DiffusionPipeline.from_pretrained(run / "pipeline")
    assert type(found) is diffusers.LDMPipeline
    assert found.scheduler.config.prediction_type == "v_prediction"
    parts = read_pipeline(run / "pipeline")
    assert parts.vae.config.in_channels == 1
    assert parts.unet.config.in_channels == parts.vae.config.latent_channels == 16


def test_latents_have_unit_variance(run: Path, images: Tensor) -> None:
    """In each channel, of the images that it learned, padded as a link pads them."""
    link = SemanticLink.from_diffusers(*read_pipeline(run / "pipeline")[:3])
    with torch.no_grad():
        z = link.encode(images[:-6])
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(16), atol=1e-3, rtol=0)
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(16), atol=1e-3, rtol=0)


def test_the_quality_is_that_of_held_out_pictures(run: Path, images: Tensor) -> None:
    """The autoencoder's PSNR as the saved networks have it, and words with the same numbers."""
    found = json.loads((run / "quality.json").read_text())
    vae = read_pipeline(run / "pipeline").vae
    held_out = torch.nn.functional.pad(images[-6:], (2, 2, 2, 2), mode="replicate")
    with torch.no_grad():
        decoded = (vae.decode(vae.encode(held_out * 2 - 1).latents).sample + 1) / 2
    error = (decoded.clamp(0, 1) - held_out).square().mean((1, 2, 3))
    assert found["autoencoder_psnr"] == pytest.approx(float((-10 * error.log10()).mean()), abs=1e-3)
    assert f"{found['autoencoder_psnr']:.1f} dB" in latent_diffusion.describe_quality(run)
    assert 0 < found["denoiser_error_10_db"] < found["denoiser_error_0_db"] < 2


def test_the_error_of_a_denoiser_that_says_nothing() -> None:
    """v = 0 says that z is sqrt(alpha_bar) x, the best linear estimate: it leaves 1 / (1 + snr) of Gaussian z."""
    from semdiff import NoiseSchedule, normal
    from semdiff.training.recipes.common import scheduler

    class Silent(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> object:
            return type("Output", (), {"sample": torch.zeros_like(x)})

    z, schedule = normal((200, 4, 8, 8), Key(3)), NoiseSchedule.from_diffusers(scheduler())
    for snr_db, left in ((0.0, 1 / 2), (10.0, 1 / 11)):
        found = latent_diffusion.denoising_error(Silent(), z, schedule, snr_db)  # type: ignore[arg-type]
        assert found == pytest.approx(left, rel=0.03)  # of 51,200 numbers: 0.6 % is one standard deviation


def test_ends_around_it_count_the_padding(run: Path, images: Tensor, tmp_path: Path) -> None:
    """28x28 pixels are sent as 32x32: 1/12 of 784 is 65 channel uses, and 16 cells of eight real symbols take 64."""
    model = ends.train(tmp_path, run / "pipeline", images, [1 / 12, 1 / 24], 0.001, precision="fp32", progress=False)
    link = SemanticLink.from_pretrained(model)
    assert link.cbrs == {8: 64 / 784, 4: 32 / 784}
    sent = link.transmit(images[:2], 5.0, cbr=1 / 12, steps=1, key=Key(0))
    assert sent.images.shape == (2, 1, 28, 28)
    assert sent.ledger.total == 64


def test_large_pictures_are_learned_from_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latent_diffusion, "CROPS", 32)
    pictures = torch.stack([photograph("chelsea")[0, :, i : i + 70, i : i + 80] for i in range(10)])
    place = latent_diffusion.train(tmp_path, pictures, BUDGET, precision="fp32", progress=False)
    assert read_pipeline(place).vae.config.in_channels == 3
    learned, held_out = latent_diffusion._images(pictures, Key(0))
    assert learned.shape == (32, 3, 64, 64)
    assert held_out.shape[1:] == (3, 64, 64)


def test_of_a_folder_some_of_each_kind_are_held_out(tmp_path: Path) -> None:
    """Forty dark pictures, then forty bright ones by their names, of one size and of two."""
    for size in ((12, 12), (70, 80)):
        place = tmp_path / str(size[0])
        place.mkdir()
        for i in range(80):
            grey = i if i < 40 else 255 - i
            Image.new("RGB", size if i % 2 or size[0] < 64 else (80, 70), (grey,) * 3).save(place / f"{i:02}.png")
        learned, held_out = latent_diffusion._images(place, Key(0))
        for images in (learned, held_out):
            bright = float((images.mean((1, 2, 3)) > 0.5).float().mean())
            assert 0.1 < bright < 0.9
        assert len(held_out) == 8 if size[0] < 64 else 128


def test_it_goes_on_where_it_stopped(run: Path, images: Tensor, tmp_path: Path) -> None:
    class StoppedError(Exception):
        pass

    def stop(stage: str, step: int) -> None:
        if (stage, step) == ("diffusion", 1):
            raise StoppedError

    with pytest.raises(StoppedError):
        latent_diffusion.train(tmp_path, images, BUDGET, precision="fp32", progress=False, on_step=stop)
    steps: list[str] = []
    again = latent_diffusion.train(tmp_path, images, BUDGET, precision="fp32", progress=False, on_step=lambda name, _: steps.append(name))
    assert set(steps) == {"diffusion"}  # the autoencoder was whole
    for part in ("vqvae", "unet"):
        expected = load_file(next((run / "pipeline" / part).glob("*.safetensors")))
        found = load_file(next((again / part).glob("*.safetensors")))
        assert all(torch.equal(t, expected[n]) for n, t in found.items())


def test_bad_input_is_named(images: Tensor, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(ValueError, match="budget: expected a finite number above zero, got 0"):
        latent_diffusion.train(out, images, 0)
    with pytest.raises(ValueError, match="data: expected at least 10 pictures, got 9"):
        latent_diffusion.train(out, images[:9])
    with pytest.raises(ValueError, match=r"data: expected images of 1 or 3 channels, got shape \(4, 2, 8, 8\)"):
        latent_diffusion.train(out, torch.rand(4, 2, 8, 8))
    with pytest.raises(FileNotFoundError, match=r"data: .*nowhere: expected a folder of pictures"):
        latent_diffusion.train(out, tmp_path / "nowhere")
    assert not out.exists()

# SPDX-License-Identifier: Apache-2.0
"""Ends around pretrained latent diffusion models: from a pipeline's folder and pictures to a link that transmits.

The pipelines are tiny and randomly initialised: that all is loaded, trained, stored and used alike is tested, not how good it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")

from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from semdiff import AWGN, Key
from semdiff.link import SemanticLink
from semdiff.models.pretrained import read_pipeline
from semdiff.training.recipes import ends
from tests.python.latent_pipelines import conditional, save_ldm, save_stable_diffusion, unconditional, variational
from tests.python.photographs import photograph

BUDGET = 0.0025  # ten steps


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ldm(tmp_path_factory.mktemp("pipeline") / "ldm")


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Patches of one photograph, (144, 3, 16, 16)."""
    return photograph("coffee")[..., :192, :192].unfold(2, 16, 16).unfold(3, 16, 16).permute(0, 2, 3, 1, 4, 5).reshape(-1, 3, 16, 16)


def write(folder: Path, pictures: list[Tensor]) -> Path:
    folder.mkdir()
    for i, picture in enumerate(pictures):
        Image.fromarray((picture.movedim(0, 2) * 255).round().byte().numpy()).save(folder / f"{i:03}.png")
    return folder


def train(out: Path, pipeline: Any, data: Any, cbr: Any = (1 / 12, 1 / 24), budget: float = BUDGET, **options: Any) -> Path:
    return ends.train(out, pipeline, data, cbr, budget, precision="fp32", progress=False, **options)


def weights(model: Path) -> dict[str, Tensor]:
    return {f"{part}.{n}": t for part in ("downsampler", "upsampler") for n, t in load_file(next((model / part).glob("*.safet*"))).items()}


def test_from_a_folder_of_pictures_to_images_received(pipeline: Path, images: Tensor, tmp_path: Path) -> None:
    data = write(tmp_path / "data", list(images))
    model = train(tmp_path / "run", pipeline, data)
    assert model == tmp_path / "run" / "model"
    link, parts = SemanticLink.from_pretrained(model), read_pipeline(pipeline)
    assert link.image_shape == (3, 16, 16)
    assert link.cbrs == pytest.approx({32: 1 / 12, 16: 1 / 24})
    assert link.trained_on == ("psnr",)
    for own, given in ((link.vae, parts.vae), (link.unet, parts.unet)):
        assert all(torch.equal(t, given.state_dict()[n]) for n, t in own.state_dict().items())
    for match in ("exact", "calibrated", "paper"):
        sent = link.transmit(images[:3], 5.0, cbr=1 / 24, channel=AWGN(), steps=2, match=match, key=Key(1))
        assert sent.images.shape == (3, 3, 16, 16)
        assert sent.images.isfinite().all()
        assert sent.ledger.total == 32
    cached = load_file(tmp_path / "run" / "latents.safetensors")["latents"]
    bytes_as_written = (images * 255).round() / 255
    with torch.no_grad():
        expected = torch.cat([link.encode(part) for part in bytes_as_written.split(16)])
    torch.testing.assert_close(cached, expected)


def test_training_lessens_the_loss(pipeline: Path, images: Tensor, tmp_path: Path) -> None:
    train(tmp_path / "begun", pipeline, images, budget=1 / 4000)
    train(tmp_path / "run", pipeline, images, budget=0.02)
    errors = []
    for name in ("begun", "run"):
        link = SemanticLink.from_pretrained(tmp_path / name / "model")
        with torch.no_grad():
            z = link.encode(images[:64])
            heard = link.equalize_and_upsample(link.received(link.send(images[:64], 10.0), 0.1), key=Key(2))
        errors.append(float((heard.gaussian.mean * 1.1**0.5 - z).square().mean() / z.square().mean()))
    assert errors[1] < 0.9 * errors[0]


def test_an_interrupted_run_ends_with_the_same_bits(pipeline: Path, images: Tensor, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", pipeline, images)

    class StoppedError(Exception):
        pass

    def stop(stage: str, step: int) -> None:
        if step == 4:
            raise StoppedError

    import semdiff.training.engine as engine

    save_every = engine.fit.__kwdefaults__["save_every"]
    engine.fit.__kwdefaults__["save_every"] = 0.0  # a checkpoint after every step
    try:
        with pytest.raises(StoppedError):
            train(tmp_path / "run", pipeline, images, on_step=stop)
    finally:
        engine.fit.__kwdefaults__["save_every"] = save_every
    latents = tmp_path / "run" / "latents.safetensors"
    written = latents.stat().st_mtime_ns
    steps: list[int] = []
    again = train(tmp_path / "run", pipeline, images, on_step=lambda _, step: steps.append(step))
    assert steps == [5, 6, 7, 8, 9, 10]
    assert latents.stat().st_mtime_ns == written
    expected = weights(whole)
    assert all(torch.equal(t, expected[n]) for n, t in weights(again).items())


def test_encoding_goes_on_where_it_stopped(pipeline: Path, images: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semdiff.training import latent_cache

    monkeypatch.setattr(latent_cache, "SAVED_EVERY", 0.0)
    whole = load_file(train(tmp_path / "whole", pipeline, images).parent / "latents.safetensors")["latents"]
    encode, seen = SemanticLink.encode, []

    def interrupted(self: SemanticLink, batch: Tensor) -> Tensor:
        seen.append(len(batch))
        if len(seen) == 4:
            raise KeyboardInterrupt
        return encode(self, batch)

    monkeypatch.setattr(SemanticLink, "encode", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", pipeline, images)
    train(tmp_path / "run", pipeline, images)
    assert sum(seen) == len(images) + 16  # only the batch at which it stopped was begun twice
    assert torch.equal(load_file(tmp_path / "run" / "latents.safetensors")["latents"], whole)


def test_latents_of_other_images_are_refused(pipeline: Path, images: Tensor, tmp_path: Path) -> None:
    train(tmp_path, pipeline, images[:32])
    with pytest.raises(ValueError, match=r"latents.safetensors: expected latents of this pipeline and these images, got those of others"):
        train(tmp_path, pipeline, images[32:64])
    train(tmp_path, pipeline, images[32:64], resume=False)


def test_pictures_of_several_sizes_make_a_link_for_any(pipeline: Path, tmp_path: Path) -> None:
    pictures = [photograph("chelsea")[0, :, :140, :160], photograph("coffee")[0, :, :150, :130]]
    model = train(tmp_path / "run", pipeline, write(tmp_path / "data", pictures), crops=20)
    link = SemanticLink.from_pretrained(model)
    assert link.image_shape == (3, None, None)
    assert link.config.header
    assert load_file(tmp_path / "run" / "latents.safetensors")["latents"].shape == (20, 4, 32, 32)
    assert link.transmit(pictures[0][None, :, :30, :35], 5.0, cbr=1 / 24, steps=1, key=Key(0)).images.shape == (1, 3, 30, 35)


@pytest.mark.parametrize(("dtype", "variant"), [(torch.float16, "fp16"), (torch.bfloat16, None)], ids=["fp16", "bf16"])
def test_stable_diffusion_in_half_precision(dtype: torch.dtype, variant: str | None, images: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pipe = save_stable_diffusion(tmp_path / "pipe", dtype, variant)
    model = train(tmp_path / "run", pipe, images[:32], ())
    parts = read_pipeline(pipe)
    stored = load_file(next((model / "unet").glob("*.safetensors")))
    assert all(t.dtype == dtype and torch.equal(t, parts.unet.state_dict()[n]) for n, t in stored.items())
    link = SemanticLink.from_pretrained(model)
    assert link.dtype == torch.float32
    torch.testing.assert_close(link.prompt.embeds, parts.prompt_embeds)
    assert link.transmit(images[:2], 5.0, steps=2, key=Key(0)).images.isfinite().all()
    narrow = SemanticLink.from_pretrained(model, dtype=dtype)
    sent = narrow.transmit(images[:2], 5.0, steps=2, realism=0.0, key=Key(0)).images
    wide = link.transmit(images[:2], 5.0, steps=2, realism=0.0, key=Key(0)).images
    assert (sent.float() - wide).abs().mean() < 0.02


def test_mixed_precision(pipeline: Path, images: Tensor, tmp_path: Path) -> None:
    model = ends.train(tmp_path, pipeline, images, [1 / 24], BUDGET, precision="bf16", progress=False)
    assert SemanticLink.from_pretrained(model).transmit(images[:2], 5.0, steps=1, key=Key(0)).images.isfinite().all()


@pytest.mark.parametrize(
    ("cbr", "channels"),
    [((), (16, 8, 4)), ((1 / 12,), (32,)), ((1 / 48, 1 / 24), (16, 8)), ((1 / 384,), (1,)), ((0.0820,), (31,)), ((1.0,), (384,))],
)
def test_symbol_channels(cbr: tuple[float, ...], channels: tuple[int, ...]) -> None:
    """One channel of an 8x8 cell of three colours is 1/2 of a complex use of 192 values."""
    assert ends.symbol_channels(cbr, 3, 8, 4) == channels


@pytest.mark.parametrize("cbr", [(1 / 500,), (0.0,), (-1.0,), (1.5,), (1 / 260,), (float("nan"),)])
def test_a_ratio_that_cannot_be_reached(cbr: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"cbr: expected a multiple of 1/384 within 5 %, at most 1 .* got .*; the nearest is 0.00"):
        ends.symbol_channels(cbr, 3, 8, 4)


def test_ratios_that_are_the_same() -> None:
    with pytest.raises(ValueError, match=r"cbr: expected different ratios, got 0.08333, 0.083"):
        ends.symbol_channels((1 / 12, 0.083), 3, 8, 4)


def test_bad_input_is_named(pipeline: Path, images: Tensor, tmp_path: Path) -> None:
    out = tmp_path / "run"
    for budget in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="budget: expected a finite number above zero"):
            train(out, pipeline, images, budget=budget)
    with pytest.raises(ValueError, match="crops: expected a number above zero, got 0"):
        train(out, pipeline, images, crops=0)
    with pytest.raises(FileNotFoundError, match=r"data: .*nowhere: expected a folder of pictures"):
        train(out, pipeline, tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"data: expected pictures .* got an empty folder"):
        train(out, pipeline, tmp_path / "empty")
    with pytest.raises(ValueError, match=r"data: expected images of 3 channels, as the pipeline's vae takes, got shape \(4, 1, 16, 16\)"):
        train(out, pipeline, torch.rand(4, 1, 16, 16))
    with pytest.raises(ValueError, match=r"pictures: expected some of at least 128x128 pixels, got 2 smaller ones"):
        train(out, pipeline, write(tmp_path / "small", [images[0], images[1, :, :8]]))
    with pytest.raises(ValueError, match="cbr: expected a multiple of 1/384 within 5 %"):
        train(out, pipeline, images, [1 / 1000])
    wide = save_ldm(tmp_path / "wide", variational(in_channels=4, out_channels=4))
    with pytest.raises(ValueError, match="pipeline: vae: expected 1 or 3 channels of pictures, got 4"):
        train(out, wide, images)
    other = save_ldm(tmp_path / "other", unet=unconditional(8))
    with pytest.raises(ValueError, match="unet: expected 4 channels in and out, as the vae's latents have, got 8 and 8"):
        train(out, other, images)
    assert not out.exists()


def test_an_inpainting_denoiser_is_refused(images: Tensor, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pipe = save_stable_diffusion(tmp_path / "pipe", unet=conditional(9))
    with pytest.raises(ValueError, match="unet: expected 4 channels in and out, as the vae's latents have, got 9 and 4"):
        train(tmp_path / "run", pipe, images)

# SPDX-License-Identifier: Apache-2.0
"""Loading tests of diffusers' latent diffusion pipelines, tiny and randomly initialised: that the parts are taken as they are."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("diffusers")

import diffusers

from semdiff.models.pretrained import read_pipeline
from tests.python.latent_pipelines import TOKENS, WIDTH, save_ldm, save_stable_diffusion, seeded, unconditional


def same(one: Any, other: Any) -> bool:
    ones, others = one.state_dict(), other.state_dict()
    return ones.keys() == others.keys() and all(torch.equal(t, others[n]) and t.dtype == others[n].dtype for n, t in ones.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_an_unconditional_pipeline(tmp_path: Path, dtype: torch.dtype) -> None:
    save_ldm(tmp_path / "pipe", dtype=dtype)
    parts = read_pipeline(tmp_path / "pipe")
    written = diffusers.LDMPipeline.from_pretrained(tmp_path / "pipe", dtype=dtype)
    assert same(parts.vae, written.vqvae)
    assert same(parts.unet, written.unet)
    assert parts.unet.dtype == dtype
    assert isinstance(parts.scheduler, diffusers.DDIMScheduler)
    assert parts.scheduler.config.beta_schedule == "scaled_linear"
    assert parts.prompt_embeds is None


def test_a_vector_quantised_autoencoder(tmp_path: Path) -> None:
    """As CompVis' unconditional models have; a link decodes through the code book, as their pipeline does."""
    from semdiff.link import SemanticLink

    halves = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    sizes = {"block_out_channels": (8, 8), "norm_num_groups": 4, "latent_channels": 3, "num_vq_embeddings": 32}
    vae = seeded(diffusers.VQModel, **sizes, **halves)
    save_ldm(tmp_path / "pipe", vae, unconditional(3))
    link = SemanticLink.from_diffusers(*read_pipeline(tmp_path / "pipe")[:3])
    x = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = link.encode(x)
        torch.testing.assert_close(z, vae.encode(2 * x - 1).latents * vae.config.scaling_factor)
        expected = (vae.decode(z / vae.config.scaling_factor).sample + 1) / 2
    torch.testing.assert_close(link.decode(z, (16, 16)), expected.clamp(0, 1))
    link.save_pretrained(tmp_path / "link")
    assert same(SemanticLink.from_pretrained(tmp_path / "link").vae, vae)


@pytest.mark.parametrize(
    ("dtype", "variant"), [(torch.float32, None), (torch.float16, "fp16"), (torch.bfloat16, None)], ids=["fp32", "fp16", "bf16"]
)
def test_stable_diffusion(tmp_path: Path, dtype: torch.dtype, variant: str | None) -> None:
    """The empty prompt is embedded as the pipeline's own encode_prompt does it."""
    pytest.importorskip("transformers")
    save_stable_diffusion(tmp_path / "pipe", dtype, variant)
    parts = read_pipeline(tmp_path / "pipe")
    written = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "pipe", variant=variant, dtype=dtype)
    assert same(parts.vae, written.vae)
    assert same(parts.unet, written.unet)
    assert parts.prompt_embeds is not None
    assert parts.prompt_embeds.shape == (1, TOKENS, WIDTH)
    written.text_encoder.float()
    expected = written.encode_prompt("", "cpu", 1, False)[0].detach()
    torch.testing.assert_close(parts.prompt_embeds, expected.float(), rtol=0.02, atol=0.02 if dtype != torch.float32 else 1e-6)


def edited(folder: Path, **changes: Any) -> Path:
    place = folder / "model_index.json"
    index = json.loads(place.read_text()) | changes
    place.write_text(json.dumps({name: value for name, value in index.items() if value is not None}))
    return folder


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vqvae": None}, "pipeline: expected one with a vae, a latent diffusion model, got only scheduler, unet"),
        ({"unet": None, "transformer": ["diffusers", "FluxTransformer2DModel"]}, "pipeline: expected one with a unet, .*transformer"),
        ({"scheduler": None}, "pipeline: expected one with a scheduler"),
        ({"vqvae": ["diffusers", "AutoencoderKLWan"]}, "pipeline: vqvae: expected AutoencoderTiny, .*, VQModel, got .*KLWan"),
        ({"unet": ["semdiff.models.networks", "Denoiser"]}, r"pipeline: unet: expected UNet2DModel, .*networks.Denoiser"),
        ({"unet": ["os", "system"]}, r"pipeline: unet: expected UNet2DModel, .*, got os.system"),
        ({"scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}, "pipeline: scheduler: expected DDIM.*, got .*FlowMatch"),
        ({"unet": ["diffusers", "UNet2DConditionModel"]}, "pipeline: text_encoder: expected CLIPTextModel .*, got nothing"),
    ],
)
def test_other_pipelines_are_refused_by_name(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    edited(save_ldm(tmp_path / "pipe"), **changes)
    with pytest.raises(ValueError, match=words):
        read_pipeline(tmp_path / "pipe")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The Hub's cache, without a connection."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_pipeline_that_is_not_there(tmp_path: Path, hub: Path) -> None:
    for place in ("nowhere", tmp_path / "nowhere", "./no/where"):
        with pytest.raises(FileNotFoundError, match="pipeline: expected a folder that diffusers' save_pretrained wrote, or user/model on"):
            read_pipeline(place)
    with pytest.raises(FileNotFoundError, match="pipeline: there is no folder 'owner/none' here, and the Hub does not give it"):
        read_pipeline("owner/none")
    with pytest.raises(FileNotFoundError, match=r"pipeline: expected a folder with model_index.json"):
        read_pipeline(tmp_path)


def test_a_pipeline_of_the_hub(hub: Path) -> None:
    """By its id, from the cache."""
    of = hub / "models--owner--name"
    (of / "refs").mkdir(parents=True)
    (of / "refs" / "main").write_text("0" * 40)
    save_ldm(of / "snapshots" / ("0" * 40))
    assert same(read_pipeline("owner/name").unet, unconditional())


def test_damaged_files_are_named(tmp_path: Path) -> None:
    weights = save_ldm(tmp_path / "pipe") / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"unet: the model's files are damaged or incomplete|unet: the files do not fit"):
        read_pipeline(tmp_path / "pipe")
    shutil.rmtree(tmp_path / "pipe" / "unet")
    with pytest.raises(ValueError, match=r"unet/config\.json: this file of the model is missing"):
        read_pipeline(tmp_path / "pipe")

# SPDX-License-Identifier: Apache-2.0
"""Tiny pipelines of diffusers' latent diffusion models, randomly initialised, as save_pretrained writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
import torch

BLOCKS = {"block_out_channels": (8, 8), "layers_per_block": 1, "norm_num_groups": 4}
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TOKENS, WIDTH = 7, 8


def seeded(kind: Any, **config: Any) -> Any:
    torch.manual_seed(1)
    return kind(**config).eval()


def variational(channels: int = 4, **config: Any) -> Any:
    """1/4 of the resolution: a cell of 8 pixels."""
    halves = {"down_block_types": ("DownEncoderBlock2D",) * 3, "up_block_types": ("UpDecoderBlock2D",) * 3}
    blocks = BLOCKS | {"block_out_channels": (8, 8, 8)}
    return seeded(diffusers.AutoencoderKL, latent_channels=channels, scaling_factor=0.5, **halves, **blocks, **config)


def unconditional(channels: int = 4) -> Any:
    halves = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}
    return seeded(diffusers.UNet2DModel, sample_size=4, in_channels=channels, out_channels=channels, **halves, **BLOCKS)


def conditional(channels: int = 4) -> Any:
    halves = {"down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
    sizes = {"in_channels": channels, "out_channels": 4, "cross_attention_dim": WIDTH, "attention_head_dim": 4}
    return seeded(diffusers.UNet2DConditionModel, sample_size=4, **sizes, **halves, **BLOCKS)


def save_ldm(folder: Path, vae: Any = None, unet: Any = None, dtype: torch.dtype = torch.float32) -> Path:
    """Unconditional."""
    scheduler = diffusers.DDIMScheduler(clip_sample=False, **SCHEDULE)
    parts = {"vqvae": vae or variational(), "unet": unet or unconditional()}
    diffusers.LDMPipeline(scheduler=scheduler, **parts).to(dtype).save_pretrained(folder)
    return folder


def save_stable_diffusion(folder: Path, dtype: torch.dtype = torch.float32, variant: str | None = None, unet: Any = None) -> Path:
    """Stable Diffusion's parts with a text encoder of two layers and a tokenizer of two words. Needs transformers."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    words = folder.parent / "words"
    words.mkdir(exist_ok=True)
    (words / "vocab.json").write_text(json.dumps({"<|startoftext|>": 0, "<|endoftext|>": 1}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=TOKENS)
    sizes = {"hidden_size": WIDTH, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPTextConfig(vocab_size=2, max_position_embeddings=TOKENS, bos_token_id=0, eos_token_id=1, pad_token_id=1, **sizes)
    torch.manual_seed(2)
    pipeline = diffusers.StableDiffusionPipeline(
        vae=variational(),
        text_encoder=CLIPTextModel(config).eval(),
        tokenizer=tokenizer,
        unet=unet or conditional(),
        scheduler=diffusers.PNDMScheduler(skip_prk_steps=True, steps_offset=1, **SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.to(dtype).save_pretrained(folder, variant=variant)
    return folder

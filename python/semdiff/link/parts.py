# SPDX-License-Identifier: Apache-2.0
"""A link's parts where others trained the autoencoder and the denoiser: what fits between them."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel, UNet2DModel
from torch import Tensor

from semdiff.link.networks import Downsampler, Prompt, Upsampler


def cell_of(vae: AutoencoderTiny | AutoencoderKL, block: int) -> int:
    """Pixels on the side of the square that one set of symbols stands for: two latents."""
    halvings: int = len(vae.config.block_out_channels) - 1
    return 2 * block << halvings


def options_around(
    vae: AutoencoderTiny | AutoencoderKL,
    unet: UNet2DModel | UNet2DConditionModel,
    downsampler: Downsampler | None,
    upsampler: Upsampler | None,
    prompt_embeds: Tensor | None,
) -> dict[str, Any]:
    """What `SemanticLink` is told besides them, for pictures of any size. ValueError where the parts do not fit each other."""
    latents = vae.config.latent_channels
    if unet.config.in_channels != latents or unet.config.out_channels != latents:
        got = f"{unet.config.in_channels} and {unet.config.out_channels}"
        raise ValueError(f"unet: expected {latents} channels in and out, as the vae's latents have, got {got}")
    if (prompt_embeds is not None) != isinstance(unet, UNet2DConditionModel):
        got = f"{'None' if prompt_embeds is None else 'a tensor'} for {type(unet).__name__}"
        raise ValueError(f"prompt_embeds: expected a tensor for a conditional unet and None for others, got {got}")
    prompt = None if prompt_embeds is None else Prompt.of(prompt_embeds)
    whole = round(vae.config.in_channels * cell_of(vae, 1) ** 2 / 6)
    downsampler = Downsampler(latents, whole) if downsampler is None else downsampler
    upsampler = Upsampler(latents, whole) if upsampler is None else upsampler
    for name, part in (("downsampler", downsampler), ("upsampler", upsampler)):
        found = part.config.latent_channels, part.config.symbol_channels
        if found != (latents, downsampler.config.symbol_channels):
            raise ValueError(f"{name}: expected {latents} latent and {downsampler.config.symbol_channels} symbol channels, got {found}")
    rates = [downsampler.config.symbol_channels // part for part in (1, 2, 4)]
    shape = (vae.config.in_channels, None, None)
    ends = {"downsampler": downsampler, "upsampler": upsampler, "prompt": prompt}
    return ends | {"image_shape": shape, "rates": rates, "block": 1, "border": "replicate", "header": True}

# SPDX-License-Identifier: Apache-2.0
"""Assemble a link from an autoencoder and a denoiser that others trained, and check that the parts fit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import AutoencoderKL, AutoencoderTiny, SchedulerMixin, UNet2DConditionModel, UNet2DModel
from torch import Tensor

from semdiff.diffusion.sampler import Prediction
from semdiff.models.networks import Denoiser, Downsampler, Prompt, Upsampler

PREDICTIONS: dict[str, Prediction] = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
# Fields of a denoiser's config that make it take more than a state, a time and a prompt, or another kind of time, with values that do not.
PLAIN_DENOISER: dict[str, tuple[Any, ...]] = {
    "class_embed_type": (None,),
    "num_class_embeds": (None,),
    "addition_embed_type": (None,),
    "encoder_hid_dim_type": (None,),
    "time_cond_proj_dim": (None,),
    "time_embedding_type": ("positional",),
}
# Fields of a scheduler's config that give it another process than this package's, or predictions of other data, with values that do not.
PLAIN_SCHEDULER: dict[str, tuple[Any, ...]] = {
    "prediction_type": tuple(PREDICTIONS),
    "thresholding": (False,),
    "use_flow_sigmas": (False,),
    "timestep_type": ("discrete",),
}


def cell_of(vae: AutoencoderTiny | AutoencoderKL, block: int) -> int:
    """Compute the side in pixels of the square that one set of symbols stands for: two latents.

    Args:
        vae: the autoencoder.
        block: pixels on the side of the squares that become its channels.
    """
    halvings: int = len(vae.config.block_out_channels) - 1
    return 2 * block << halvings


def multiple_of(vae: AutoencoderTiny | AutoencoderKL, unet: UNet2DModel | UNet2DConditionModel | Denoiser, block: int) -> int:
    """Compute the number of pixels to whose multiples images are padded.

    Latents are then halved as often as the denoiser halves them, at least once. A conditional denoiser of diffusers resizes what does not
    fit.

    Args:
        vae, unet: the autoencoder and the denoiser.
        block: pixels on the side of the squares that become the autoencoder's channels.
    """
    levels = len(unet.config.block_out_channels) if isinstance(unet, UNet2DModel) else 2
    return cell_of(vae, block) << max(levels - 2, 0)


def check_parts(
    vae: AutoencoderTiny | AutoencoderKL,
    unet: UNet2DModel | UNet2DConditionModel | Denoiser,
    scheduler: SchedulerMixin,
    prompt: Prompt | None,
) -> None:
    """Check that the parts' configs ask for nothing that a link does not do.

    Args:
        vae, unet, scheduler: the autoencoder, the denoiser, and the scheduler that it was trained with.
        prompt: the text embedding of a conditional denoiser, or None.

    Raises:
        ValueError: naming the part and the field.
    """
    _check_fields("unet", unet.config, PLAIN_DENOISER)
    _check_fields("scheduler", scheduler.config, PLAIN_SCHEDULER)
    _check_fields("vae", vae.config, {"upsampling_scaling_factor": (2,)})
    if vae.config.in_channels != vae.config.out_channels:
        got = f"{vae.config.in_channels} and {vae.config.out_channels}"
        raise ValueError(f"vae: expected as many channels out as in, got {got}")
    halvings = {len(vae.config[n]) for n in ("encoder_block_out_channels", "decoder_block_out_channels") if n in vae.config}
    if len(halvings) > 1:
        raise ValueError(f"vae: expected an encoder and a decoder of as many levels, got {sorted(halvings)}")
    if prompt is not None and isinstance(unet, UNet2DConditionModel):
        expected, got = unet.config.cross_attention_dim, prompt.config.width
        if got not in {*(expected if isinstance(expected, (list, tuple)) else [expected])}:
            raise ValueError(f"prompt_embeds: expected a width of {expected}, the unet's cross_attention_dim, got {got}")


def _check_fields(part: str, config: Mapping[str, Any], plain: Mapping[str, tuple[Any, ...]]) -> None:
    for name, values in plain.items():
        value = config.get(name, values[0])
        if value not in values:
            expected = " or ".join(map(repr, values))
            raise ValueError(f"{part}: {name}: expected {expected}, which is what a link can honour, got {value!r}")


def clip_of(scheduler: SchedulerMixin) -> float | None:
    """Return the bound of predicted latents that the scheduler's config names, or None.

    Args:
        scheduler: the one that the denoiser was trained with.
    """
    return float(scheduler.config.get("clip_sample_range", 1.0)) if scheduler.config.get("clip_sample") else None


def options_around(
    vae: AutoencoderTiny | AutoencoderKL,
    unet: UNet2DModel | UNet2DConditionModel,
    downsampler: Downsampler | None,
    upsampler: Upsampler | None,
    prompt_embeds: Tensor | None,
) -> dict[str, Any]:
    """Make the other arguments of `SemanticLink` for given parts and images of any size.

    Args:
        vae, unet: the autoencoder and the denoiser.
        downsampler, upsampler: None makes untrained ones.
        prompt_embeds: (1, tokens, width) for a conditional denoiser, None for others.

    Returns:
        Keyword arguments.

    Raises:
        ValueError: where the parts do not fit each other.
    """
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

# SPDX-License-Identifier: Apache-2.0
"""Untrained links that take no time, and the place of a trained one on latents."""

from __future__ import annotations

import torch
from torch import nn

from semdiff.link import PixelLink, SemanticLink
from semdiff.models.jscc_layers import JSCCDecoder, Transmitter
from semdiff.models.pixels import PixelDenoiser, PixelScale, PixelUpsampler
from semdiff.training.recipes.common import scheduler
from semdiff.training.recipes.photos import build, read_recipe
from studies.models import LATENT_LINK as LATENT_LINK

SCALE = PixelScale(0.3, 0.35)


def any_size_link() -> SemanticLink:
    """Of the photograph recipe's kind: any size, CBR 1/12, 1/24 and 1/48."""
    recipe = read_recipe()
    recipe["networks"] = {
        "autoencoder": {"latent_channels": 4, "width": 16, "encoder_blocks": 1, "decoder_blocks": 1},
        "downsampler": {"width": 8, "deep_width": 16, "depth": 1},
        "upsampler": {"width": 16, "depth": 1},
        "mean_decoder": {"width": 16, "depth": 1, "finish": (8, 1)},
        "detail_decoder": {"width": 16, "depth": 1, "finish": (8, 1)},
        "denoiser": {"width": 16, "deep_width": 16, "depth": 1, "deep_depth": 1, "hints": 8},
    }
    return build(recipe, 0).link(recipe)


def pixel_link() -> PixelLink:
    """For grey images of 28x28, CBR 1/12 and 1/24."""
    return PixelLink(*networks(), scheduler(), (1, 28, 28), (2, 1), *SCALE, snr_db_range=(-7.0, 18.0))


def networks(seed: int = 0) -> tuple[Transmitter, PixelUpsampler, JSCCDecoder, PixelDenoiser]:
    """The four of a link on pixels."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        small = {"width": 16, "outer_width": 8, "depth": 1}
        denoiser = PixelDenoiser(1, 8, 16, 1, 2, 16)
        nn.init.normal_(denoiser.conv_out.weight, std=0.1)
        return (
            Transmitter((1, 28, 28), 2, **small),
            PixelUpsampler(1, 2, 16, 1, 8, 1, 16),
            JSCCDecoder(1, 2, **small),
            denoiser,
        )

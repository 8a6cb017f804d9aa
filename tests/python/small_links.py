# SPDX-License-Identifier: Apache-2.0
"""Untrained links that take no time."""

from __future__ import annotations

from semdiff.link import SemanticLink
from semdiff.training.recipes.photos import build, read_recipe


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

# SPDX-License-Identifier: Apache-2.0
"""The photograph link's recipe with small networks and crops, and pictures for it."""

from pathlib import Path

import torch
from torch import Tensor

from semdiff.training.recipes.photos import RECIPE
from tests.python.photographs import photographs

STAGES = ("fidelity", "wide", "decoder", "generation", "detail")
NETWORKS = {
    "autoencoder": "{ latent_channels = 4, width = 16, encoder_blocks = 1, decoder_blocks = 1 }",
    "downsampler": "{ width = 8, deep_width = 16, depth = 1, linear = true }",
    "upsampler": "{ width = 16, depth = 1, linear = true }",
    "mean_decoder": "{ width = 16, depth = 1, linear = true, finish = [8, 1] }",
    "detail_decoder": "{ width = 16, depth = 1, finish = [8, 1] }",
    "denoiser": "{ width = 16, deep_width = 16, depth = 1, deep_depth = 1, hints = 8 }",
}


def write_recipe(path: Path) -> Path:
    """The package's own with other numbers."""
    lines = []
    for line in RECIPE.read_text("utf-8").splitlines():
        name = line.split(" = ")[0]
        lines.append(f"{name} = {NETWORKS[name]}" if name in NETWORKS and "width" in line else line)
    text = "\n".join(lines)
    for was, size in (("crop = 96", "crop = 64"), ("crop = 192", "crop = 80"), *((f"batch = {n}", "batch = 4") for n in (16, 18, 6))):
        text = text.replace(was + ",", size + ",")
    path.write_text(text)
    return path


def pictures() -> dict[str, Tensor]:
    return {n: (p * 255).to(torch.uint8) for n, p in zip(("a", "b", "c"), photographs(96), strict=True)}

# SPDX-License-Identifier: Apache-2.0
"""Three photographs of scikit-image (public domain), in [0, 1], and noise of a fixed key."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import semdiff

NAMES = ("astronaut", "chelsea", "coffee")


def photograph(name: str, size: int | None = None) -> Tensor:
    """(1, 3, H, W), or its upper left corner of that size."""
    data = pytest.importorskip("skimage.data")
    image = torch.from_numpy(getattr(data, name)()).permute(2, 0, 1)[None].float() / 255
    return image if size is None else image[..., :size, :size].contiguous()


def photographs(size: int) -> Tensor:
    return torch.cat([photograph(name, size) for name in NAMES])


def crops(count: int, size: int = 64) -> Tensor:
    """The first `count` tiles of the three photographs, in turn."""
    tiles = [photograph(n).unfold(2, size, size).unfold(3, size, size).flatten(2, 3)[0].transpose(0, 1) for n in NAMES]
    return torch.stack([tiles[i % 3][i // 3] for i in range(count)])


def noisy(images: Tensor, deviation: float, seed: int = 5) -> Tensor:
    return (images + deviation * semdiff.normal(images.shape, semdiff.Key(seed))).clamp(0, 1)

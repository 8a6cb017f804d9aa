# SPDX-License-Identifier: Apache-2.0
"""The images that an evaluation sends: Fashion-MNIST's test split, held-out photographs, Kodak's, or a folder of pictures of one size."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.data.folders import read_folder
from semdiff.data.pictures import middle

FASHION_MNIST, PHOTOS, KODAK = "fashion-mnist", "photos", "kodak"
PHOTO_SIZE = (432, 480)  # the largest whole cells that fit into every held-out photograph


class ImageSet(NamedTuple):
    """images: float32 (N, C, H, W) in [0, 1]. labels: int64 (N,), or None."""

    name: str
    images: Tensor
    labels: Tensor | None

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.images.numpy().tobytes()).hexdigest()


def load_images(data: str, limit: int | None = None, grey: bool = False) -> ImageSet:
    """The first `limit` images. ValueError where there are fewer, or where a folder has none; FileNotFoundError where it is missing."""
    if data == FASHION_MNIST:
        from semdiff.data import fashion_mnist

        images, labels = fashion_mnist("test")
        found = ImageSet(data, images[:limit], labels[:limit])
    elif data == PHOTOS:
        found = ImageSet(data, _photos()[:limit], None)
    elif data == KODAK:
        found = ImageSet(data, _kodak()[:limit], None)
    else:
        found = ImageSet(data, _folder(Path(data), limit, grey), None)
    if limit is not None and len(found.images) < limit:
        raise ValueError(f"images: expected at most the {len(found.images)} that {data} has, got {limit}")
    return found


def _photos() -> Tensor:
    """The middle of each held-out photograph."""
    from semdiff.data import photos

    return torch.stack([middle(pixels, *PHOTO_SIZE) for pixels in photos("test").values()]).float() / 255


def _kodak() -> Tensor:
    """Kodak's pictures; the six that are higher than wide turned a quarter to the left."""
    from semdiff.data import kodak

    upright = kodak().values()
    return torch.stack([p.rot90(1, (1, 2)) if p.shape[1] > p.shape[2] else p for p in upright]).float() / 255


def _folder(folder: Path, limit: int | None, grey: bool) -> Tensor:
    if not folder.is_dir():
        raise FileNotFoundError(f"data: expected {FASHION_MNIST}, {PHOTOS}, {KODAK} or a folder of pictures, got {str(folder)!r}")
    try:
        pictures = read_folder(folder, limit, grey or None)
    except ValueError as error:
        raise ValueError(f"data: {error}") from error
    names, pixels = list(pictures), list(pictures.values())
    for name, picture in pictures.items():
        if picture.shape != pixels[0].shape:
            raise ValueError(
                f"data: expected pictures of one size and colour in {folder}, got {_size(pixels[0])} in {names[0]} "
                f"and {_size(picture)} in {name}"
            )
    return torch.stack(pixels).float() / 255


def _size(picture: Tensor) -> str:
    return f"{picture.shape[2]}x{picture.shape[1]} {'grey' if picture.shape[0] == 1 else 'colour'}"

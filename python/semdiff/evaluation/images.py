# SPDX-License-Identifier: Apache-2.0
"""The images that an evaluation sends: Fashion-MNIST's test split, or a folder of pictures of one size."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

FASHION_MNIST = "fashion-mnist"
SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".pgm", ".ppm"}


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
    else:
        found = ImageSet(data, _folder(Path(data), limit, grey), None)
    if limit is not None and len(found.images) < limit:
        raise ValueError(f"images: expected at most the {len(found.images)} that {data} has, got {limit}")
    return found


def _folder(folder: Path, limit: int | None, grey: bool) -> Tensor:
    if not folder.is_dir():
        raise FileNotFoundError(f"data: expected {FASHION_MNIST} or a folder of pictures, got {str(folder)!r}")
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    if not paths:
        raise ValueError(f"data: expected pictures ({', '.join(sorted(SUFFIXES))}) in {folder}, got an empty folder")
    pictures = [_read(path, grey) for path in paths[:limit]]
    for path, picture in zip(paths, pictures, strict=False):
        if picture.shape != pictures[0].shape:
            raise ValueError(
                f"data: expected pictures of one size and colour in {folder}, got {_size(pictures[0])} in {paths[0].name} "
                f"and {_size(picture)} in {path.name}"
            )
    return torch.stack(pictures)


def _size(picture: Tensor) -> str:
    return f"{picture.shape[2]}x{picture.shape[1]} {'grey' if picture.shape[0] == 1 else 'colour'}"


def _read(path: Path, grey: bool) -> Tensor:
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("pictures are read with pillow: pip install 'semdiff-torch[models]'") from error
    try:
        with Image.open(path) as opened:
            mode = "L" if grey or opened.mode in ("L", "1") else "RGB"
            pixels = np.asarray(opened.convert(mode), np.float32) / 255
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"data: {path}: expected a picture, but it does not decode ({error})") from error
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()

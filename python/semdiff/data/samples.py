# SPDX-License-Identifier: Apache-2.0
"""Load a few real images that come with the package, for first steps without a data set."""

from __future__ import annotations

import io
from importlib.resources import files
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff.data.fashion_mnist import CLASSES
from semdiff.data.pictures import middle

SAMPLE_PHOTO_NAMES = ("kingfisher", "red panda", "giraffe", "crab")


class Samples(NamedTuple):
    """Hold images and what they show.

    Attributes:
        images: float32 (B, C, H, W) in [0, 1].
        title: what all of them are.
        names: of each.
    """

    images: Tensor
    title: str
    names: tuple[str, ...]


def sample_images() -> Tensor:
    """Load the first test image of each of Fashion-MNIST's ten classes (Zalando SE, MIT licence).

    Returns:
        float32 (10, 1, 28, 28) in [0, 1].

    Example:
        >>> from semdiff.data import sample_images
        >>> sample_images().shape
        torch.Size([10, 1, 28, 28])
    """
    return _read("sample_images.npy").unsqueeze(1)


def sample_photos() -> Tensor:
    """Load parts of four photographs that no model in the package was trained on: a kingfisher, a red panda, a giraffe, a crab.

    By Frank-2.0, Mathias Appel, Sergio Cambelo and Nosferattus, in the public domain or under CC0: see `photo_list`, erase/NAME.

    Returns:
        float32 (4, 3, 256, 320) in [0, 1].

    Example:
        >>> from semdiff.data import sample_photos
        >>> sample_photos().shape
        torch.Size([4, 3, 256, 320])
    """
    return _read("sample_photos.npz")


def samples_of_shape(shape: tuple[int, int | None, int | None]) -> Samples:
    """Load real images as a model takes them: those of `sample_images` for one colour, of `sample_photos` for three.

    Args:
        shape: C, H and W of the model's images, with None where any will do. Of other sizes the middle square is scaled by areas.

    Example:
        >>> from semdiff.data.samples import samples_of_shape
        >>> images, title, names = samples_of_shape((3, 32, 32))
        >>> images.shape, title, names[0]
        (torch.Size([4, 3, 32, 32]), 'photographs of 32x32 pixels', 'kingfisher')
    """
    colours, height, width = shape
    if colours == 1:
        images, title, names = sample_images(), "Fashion-MNIST test images", tuple(CLASSES)
    else:
        images, title, names = sample_photos(), "photographs", SAMPLE_PHOTO_NAMES
    if height is None or width is None or images.shape[-2:] == (height, width):
        return Samples(images, title, names)
    side = min(images.shape[-2:])
    return Samples(F.interpolate(middle(images, side, side), (height, width), mode="area"), f"{title} of {height}x{width} pixels", names)


def _read(name: str) -> Tensor:
    content = np.load(io.BytesIO((files("semdiff.data") / name).read_bytes()), allow_pickle=False)
    return torch.from_numpy(content["images"] if name.endswith(".npz") else content).float() / 255

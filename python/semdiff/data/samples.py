# SPDX-License-Identifier: Apache-2.0
"""Load a few real images that come with the package, for first steps without a data set."""

from __future__ import annotations

import io
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

SAMPLE_PHOTO_NAMES = ("kingfisher", "red panda", "giraffe", "crab")


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


def _read(name: str) -> Tensor:
    content = np.load(io.BytesIO((files("semdiff.data") / name).read_bytes()), allow_pickle=False)
    return torch.from_numpy(content["images"] if name.endswith(".npz") else content).float() / 255

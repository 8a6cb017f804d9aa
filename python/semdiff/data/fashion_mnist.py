# SPDX-License-Identifier: Apache-2.0
"""Read Fashion-MNIST (Xiao, Rasul, Vollgraf, arXiv 1708.07747): 60,000 and 10,000 grey images of clothes, 28x28, in ten classes."""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semdiff.data.idx import parse_idx

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FOLDER_VARIABLE = "SEMDIFF_FASHION_MNIST"
CLASSES = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")

# md5 of the decompressed content: the gzip files themselves differ from one distribution to another.
MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}


class FashionMNIST(NamedTuple):
    """Hold the images of one split with their classes.

    Attributes:
        images: float32 (N, 1, 28, 28) in [0, 1].
        labels: int64 (N,), the index into CLASSES.
    """

    images: Tensor
    labels: Tensor


def fashion_mnist(split: Literal["train", "test"] = "test", folder: str | os.PathLike[str] | None = None) -> FashionMNIST:
    """Read one split of Fashion-MNIST.

    Args:
        split: train or test.
        folder: of the four IDX files under their usual names, with or without .gz; their content is checked by md5. None is
            $SEMDIFF_FASHION_MNIST, else the place of Debian's package dataset-fashion-mnist.

    Returns:
        Images and labels.

    Raises:
        FileNotFoundError: where a file is missing.
        ValueError: for another split, or for a file that is damaged or of another data set.

    Example:
        >>> from semdiff.data import fashion_mnist
        >>> fashion_mnist("test").images.shape
        torch.Size([10000, 1, 28, 28])
    """
    if split not in ("train", "test"):
        raise ValueError(f"split: expected train or test, got {split!r}")
    stem = "train" if split == "train" else "t10k"
    place = Path(folder if folder is not None else os.environ.get(FOLDER_VARIABLE) or DEBIAN_FOLDER)
    pixels = torch.from_numpy(_read(place, f"{stem}-images-idx3-ubyte").copy())
    labels = torch.from_numpy(_read(place, f"{stem}-labels-idx1-ubyte").copy())
    return FashionMNIST(pixels.unsqueeze(1).float() / 255, labels.long())


def _read(folder: Path, name: str) -> NDArray[np.uint8]:
    for path in (folder / f"{name}.gz", folder / name):
        if path.is_file():
            break
    else:
        raise FileNotFoundError(
            f"{folder}: no {name} or {name}.gz here. Install Debian's package dataset-fashion-mnist, or give the folder that holds "
            f"Fashion-MNIST's four IDX files as an argument or in ${FOLDER_VARIABLE}."
        )
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: expected a gzip file, but it does not decompress ({error})") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != MD5[name]:
        raise ValueError(f"{path}: expected Fashion-MNIST's {name}, md5 {MD5[name]} once decompressed, got md5 {found}")
    return parse_idx(content, str(path))

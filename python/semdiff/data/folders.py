# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures, and CIFAR-10 in its binary version (its other one is pickles, which are never loaded)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from semdiff.data.pictures import SUFFIXES, read_picture

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR10_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_CIFAR10_RECORD, _CIFAR10_RECORDS = 1 + 3 * 32 * 32, 10_000


class LabelledImages(NamedTuple):
    """images: uint8 (N, C, H, W). labels: int64 (N,)."""

    images: Tensor
    labels: Tensor


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """The picture files in a folder and below, sorted. FileNotFoundError where it is no folder; ValueError where there are none."""
    place = Path(folder)
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: expected a folder of pictures")
    found = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise ValueError(f"expected pictures ({', '.join(sorted(SUFFIXES))}) in {place}, got an empty folder")
    return found


def read_folder(folder: str | os.PathLike[str], limit: int | None = None, grey: bool | None = False) -> dict[str, Tensor]:
    """The first `limit` pictures of a folder by their path in it, as `read_picture` reads them. ValueError for an empty folder."""
    return {path.relative_to(folder).as_posix(): read_picture(path, grey=grey) for path in image_files(folder)[:limit]}


def cifar10(split: Literal["train", "test"], folder: str | os.PathLike[str]) -> LabelledImages:
    """CIFAR-10 (Krizhevsky, 2009) in its binary version: uint8 (50000 or 10000, 3, 32, 32), and labels into CIFAR10_CLASSES.

    folder: that which holds data_batch_1.bin and the others (cifar-10-batches-bin). FileNotFoundError where one is missing; ValueError
    for another split, or a file of another size.
    """
    if split not in _CIFAR10_FILES:
        raise ValueError(f"split: expected train or test, got {split!r}")
    parts = []
    for name in _CIFAR10_FILES[split]:
        path = Path(folder) / name
        if not path.is_file():
            raise FileNotFoundError(f"{path}: expected CIFAR-10's binary version, {', '.join(_CIFAR10_FILES[split])}")
        content = np.fromfile(path, np.uint8)
        if content.size != _CIFAR10_RECORD * _CIFAR10_RECORDS:
            raise ValueError(f"{path}: expected {_CIFAR10_RECORDS} records of {_CIFAR10_RECORD} bytes, got {content.size} bytes")
        parts.append(content.reshape(_CIFAR10_RECORDS, _CIFAR10_RECORD))
    records = torch.from_numpy(np.concatenate(parts))
    return LabelledImages(records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].long())

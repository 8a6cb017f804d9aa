# SPDX-License-Identifier: Apache-2.0
"""Read CIFAR-10 (Krizhevsky, 2009): 50,000 and 10,000 colour images, 32x32, in ten classes.

The data set carries no licence. It is read from a folder in its binary version (cifar-10-batches-bin) or as PNG files; its third version
is pickles, which are never loaded. Copies of which some images went through JPEG say so in a list, and these images are left out.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semdiff.data.pictures import read_picture

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_VARIABLE = "SEMDIFF_CIFAR10"
_FILES = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
_RECORD, _RECORDS = 1 + 3 * 32 * 32, 10_000

# The smallest of the first eight digits of the sha256 of each record (class, then planes of red, green and blue), by split. They know the
# data set in any order, and with a few images missing.
_SMALLEST = {
    "train": "0001b50f 00044648 00051faf 00054f97 00061875 00084afb 0008de72 000936d8 000cc0bc 000ebbfa 000ee1db 000eff50 "
    "000fa992 000ff1b9 0011cc86 00125409 0013f95a 00142e88 0015e6b7 00192ac6 001add09 001cda3d 001ce322 001f2c52 "
    "0020bb1d 00216e9b 00222bf6 00228825 0022f0a3 0023ee65 00258f00 00271ff5",
    "test": "000b0947 00159d28 0017a4d1 001cf369 001f6802 0024f76f 002a04df 003976d4 003cee56 0049a88d 004a510b 004f72da "
    "00580f6e 0069bbd7 006af161 006b1abb 0076e82c 007832d0 007aaf01 007e5755 00872a4d 0094ac12 009cd8fd 00a07f78 "
    "00a45653 00ac5ec8 00b20c09 00b2936f 00b61b39 00be701e 00c821b8 00c84186",
}
_ENOUGH = 28  # of the 32


class LabelledImages(NamedTuple):
    """Hold images with their classes.

    Attributes:
        images: uint8 (N, C, H, W).
        labels: int64 (N,).
    """

    images: Tensor
    labels: Tensor


def cifar10(split: Literal["train", "test"], folder: str | os.PathLike[str] | None = None) -> LabelledImages:
    """Read one split of CIFAR-10.

    Args:
        split: train or test.
        folder: of the binary version's files (data_batch_1.bin to data_batch_5.bin, test_batch.bin), or of SPLIT/CLASS/INDEX.png with
            indices from 0. A file SPLIT_lossless.npy there, bool (50000,) or (10000,), says which images are the data set's own to the
            bit; the others are left out, and a PNG file of one need not be there. None: $SEMDIFF_CIFAR10.

    Returns:
        uint8 (N, 3, 32, 32), and labels into CIFAR10_CLASSES. N is 50,000 or 10,000, less what is left out.

    Raises:
        FileNotFoundError: where a file is missing.
        ValueError: for another split, an incomplete folder, a damaged file, or another data set.

    Example:
        >>> from semdiff.data import cifar10
        >>> cifar10("test").images.shape[1:]
        torch.Size([3, 32, 32])
    """
    if split not in _FILES:
        raise ValueError(f"split: expected train or test, got {split!r}")
    place = folder if folder is not None else os.environ.get(CIFAR10_VARIABLE)
    if place is None:
        raise FileNotFoundError(f"folder: expected that of CIFAR-10, as an argument or in ${CIFAR10_VARIABLE}, got None")
    count = _RECORDS * len(_FILES[split])
    kept = _lossless(Path(place) / f"{split}_lossless.npy", count)
    pngs = Path(place) / split
    records = _pngs(pngs, kept) if pngs.is_dir() else _binary(Path(place), split)[kept]
    _recognise(records, split, Path(place))
    return LabelledImages(torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32).copy()), torch.from_numpy(records[:, 0]).long())


def _lossless(path: Path, count: int) -> NDArray[np.bool_]:
    if not path.is_file():
        return np.ones(count, bool)
    try:
        kept = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f"{path}: expected a NumPy file of {count} truth values, but it does not load ({error})") from error
    if not isinstance(kept, np.ndarray) or kept.dtype != np.bool_ or kept.shape != (count,):
        found = f"{getattr(kept, 'dtype', type(kept).__name__)} {getattr(kept, 'shape', '')}"
        raise ValueError(f"{path}: expected {count} truth values, got {found}")
    return kept


def _binary(folder: Path, split: str) -> NDArray[np.uint8]:
    parts = []
    for name in _FILES[split]:
        path = folder / name
        if not path.is_file():
            expected = f"CIFAR-10's binary version, {', '.join(_FILES[split])}, or {split}/CLASS/INDEX.png"
            raise FileNotFoundError(f"{path}: expected {expected}")
        content = np.fromfile(path, np.uint8)
        if content.size != _RECORD * _RECORDS:
            raise ValueError(f"{path}: expected {_RECORDS} records of {_RECORD} bytes, got {content.size} bytes")
        parts.append(content.reshape(_RECORDS, _RECORD))
    return np.concatenate(parts)


def _pngs(folder: Path, kept: NDArray[np.bool_]) -> NDArray[np.uint8]:
    found: dict[int, tuple[int, Path]] = {}
    for label, name in enumerate(CIFAR10_CLASSES):
        for path in (folder / name).glob("*.png"):
            if not path.stem.isascii() or not path.stem.isdigit() or int(path.stem) >= len(kept):
                raise ValueError(f"{path}: expected a name that is an index, 0 to {len(kept) - 1}")
            if int(path.stem) in found:
                raise ValueError(f"{path}: expected one image of each index, got {found[int(path.stem)][1]} as well")
            found[int(path.stem)] = label, path
    indices = np.flatnonzero(kept).tolist()
    missing = [i for i in indices if i not in found]
    if missing:
        raise FileNotFoundError(f"{folder}: expected images 0 to {len(kept) - 1}, {len(missing)} are missing, the first is {missing[0]}")
    records = np.empty((len(indices), _RECORD), np.uint8)
    for row, (label, path) in zip(records, (found[i] for i in indices), strict=True):
        pixels = read_picture(path)
        if tuple(pixels.shape) != (3, 32, 32):
            raise ValueError(f"{path}: expected 32x32 pixels in colour, got {tuple(pixels.shape)}")
        row[0], row[1:] = label, pixels.numpy().reshape(-1)
    return records


def _recognise(records: NDArray[np.uint8], split: str, place: Path) -> None:
    if int(records[:, 0].max()) > 9:
        raise ValueError(f"{place}: expected classes 0 to 9, got {records[:, 0].max()}")
    digests = {hashlib.sha256(record.data).hexdigest()[:8] for record in np.ascontiguousarray(records)}
    known = _SMALLEST[split].split()
    if sum(digest in digests for digest in known) < _ENOUGH:
        raise ValueError(f"{place}: expected CIFAR-10's {split} images, got others of the same form")

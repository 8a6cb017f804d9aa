# SPDX-License-Identifier: Apache-2.0
"""Read folders of image files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from semdiff.data.pictures import SUFFIXES, read_picture


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """List the image files in a folder and below, sorted.

    Args:
        folder: the folder.

    Raises:
        FileNotFoundError: where it is no folder.
        ValueError: where it holds no images.
    """
    place = Path(folder)
    if not place.is_dir():
        raise FileNotFoundError(f"{place}: expected a folder of pictures")
    found = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise ValueError(f"expected pictures ({', '.join(sorted(SUFFIXES))}) in {place}, got an empty folder")
    return found


def read_folder(folder: str | os.PathLike[str], limit: int | None = None, grey: bool | None = False) -> dict[str, Tensor]:
    """Read the images of a folder.

    Args:
        folder: the folder.
        limit: read the first so many; None is all.
        grey: as of `read_picture`.

    Returns:
        uint8 (C, H, W) by path in the folder.

    Raises:
        FileNotFoundError, ValueError: as `image_files` and `read_picture`.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from semdiff.data import read_folder
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (4, 2)).save(Path(folder) / "black.png")
        ...     read_folder(folder)["black.png"].shape
        torch.Size([3, 2, 4])
    """
    return {path.relative_to(folder).as_posix(): read_picture(path, grey=grey) for path in image_files(folder)[:limit]}


def read_folders(folders: Sequence[str | os.PathLike[str]]) -> dict[str, Tensor]:
    """Read the images of several folders.

    Args:
        folders: each once.

    Returns:
        uint8 (3, H, W) by path in the folder, behind the folder's own where there are several.

    Raises:
        FileNotFoundError, ValueError: as `read_folder`, and for a folder that is named twice.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> from semdiff.data import read_folders
        >>> with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        ...     for folder in (one, other):
        ...         Image.new("RGB", (4, 2)).save(Path(folder) / "black.png")
        ...     len(read_folders([one, other]))
        2
    """
    places = [Path(folder) for folder in folders]
    if len({place.resolve() for place in places}) < len(places):
        raise ValueError(f"folders: expected each folder once, got {', '.join(map(str, places))}")
    if len(places) == 1:
        return read_folder(places[0])
    return {f"{place.as_posix()}/{name}": picture for place in places for name, picture in read_folder(place).items()}

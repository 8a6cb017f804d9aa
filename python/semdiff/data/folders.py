# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures."""

from __future__ import annotations

import os
from pathlib import Path

from torch import Tensor

from semdiff.data.pictures import SUFFIXES, read_picture


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

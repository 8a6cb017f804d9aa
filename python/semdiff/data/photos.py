# SPDX-License-Identifier: Apache-2.0
"""Read semdiff-photos: 234 photographs that lie in Debian packages, for training (210) and, others, for tests (24, "Kodak-like").

Split by photograph. All that train are in the public domain or under CC0, so that weights trained on them are free of other terms;
photos.csv beside this file names licence, author, source and sha256 of each. Most are lossy files, so they are scaled down by area, which
removes the artefacts: training photographs to 1/2, 1/3 and 1/4 of their size, test photographs to at most 768 pixels of width.
"""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

from torch import Tensor

from semdiff.data.pictures import read_picture, require_pillow, shrink
from semdiff.data.rcc import read_rcc

DEBIAN_FOLDER = Path("/usr/share")
FOLDER_VARIABLE = "SEMDIFF_PHOTOS"
TRAIN_FACTORS = (2, 3, 4)
TEST_WIDTH = 768
LEAST_SIDE = 64  # smaller copies are left out


class Photo(NamedTuple):
    """Describe one photograph and where it is from.

    Attributes:
        name: of the photograph.
        split: train or test.
        package: the Debian package that holds it.
        file: relative to /usr/share.
        inside: path in the file where that is an archive.
        width, height: in pixels.
        licence, author, source: of the photograph.
        sha256: of the content.
    """

    name: str
    split: str
    package: str
    file: str
    inside: str
    width: int
    height: int
    licence: str
    author: str
    source: str
    sha256: str


@cache
def photo_list() -> tuple[Photo, ...]:
    """List every photograph of the set, with licence and author. The files need not be there.

    Example:
        >>> from semdiff.data import photo_list
        >>> len(photo_list())
        234
    """
    lines = (files("semdiff.data") / "photos.csv").read_text("utf-8").splitlines()
    return tuple(Photo(**row | {"width": int(row["width"]), "height": int(row["height"])}) for row in csv.DictReader(lines))  # type: ignore[arg-type]


def photos(
    split: Literal["train", "test"] = "test", folder: str | os.PathLike[str] | None = None, progress: bool = False
) -> dict[str, Tensor]:
    """Read one split of semdiff-photos.

    The files are checked by sha256, scaled, and kept in the user's cache folder (about 100 MB).

    Args:
        split: train or test.
        folder: in place of /usr/share, where Debian's packages gcompris-qt-data, mate-backgrounds, plasma-workspace-wallpapers and
            libjxl-testdata put them. None is $SEMDIFF_PHOTOS, else /usr/share.
        progress: show a bar.

    Returns:
        uint8 (3, H, W) by name; training photographs in three sizes ("animals/bison@2" is half as wide and high).

    Raises:
        FileNotFoundError: naming the packages, where files are missing.
        ValueError: for another split or an altered file.

    Example:
        >>> from semdiff.data import photos
        >>> len(photos("test"))
        24
    """
    if split not in ("train", "test"):
        raise ValueError(f"split: expected train or test, got {split!r}")
    from semdiff.data.cache import cached_tensors  # safetensors, of the extra [models]

    chosen = [photo for photo in photo_list() if photo.split == split]
    recipe = f"{split} {TRAIN_FACTORS} {TEST_WIDTH} {LEAST_SIDE} " + " ".join(photo.sha256 for photo in chosen)
    name = f"photos-{split}-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}"
    return cached_tensors(name, lambda: _build(chosen, photo_folder(folder), progress))


def photo_folder(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder in which the packages' files are looked for.

    Args:
        folder: None is $SEMDIFF_PHOTOS, else /usr/share.
    """
    return Path(folder if folder is not None else os.environ.get(FOLDER_VARIABLE) or DEBIAN_FOLDER)


def missing_packages(folder: str | os.PathLike[str] | None = None) -> list[str]:
    """List the Debian packages whose photographs are not there.

    Args:
        folder: as of `photo_folder`.
    """
    return _absent(photo_list(), photo_folder(folder))


def _absent(chosen: Sequence[Photo], folder: Path) -> list[str]:
    return sorted({photo.package for photo in chosen if not (folder / photo.file).is_file()})


def _build(chosen: Sequence[Photo], folder: Path, progress: bool) -> dict[str, Tensor]:
    require_pillow()
    if absent := _absent(chosen, folder):
        raise FileNotFoundError(
            f"{folder}: photographs are missing. Install Debian's packages\n    "
            f"apt-get install --no-install-recommends {' '.join(absent)}\n"
            f"or name a folder that holds what they put into /usr/share in ${FOLDER_VARIABLE}."
        )
    from tqdm import tqdm

    archives: dict[str, dict[str, memoryview]] = {}
    found: dict[str, Tensor] = {}
    for photo in tqdm(chosen, desc="photos", unit="photo", disable=not progress):
        if photo.inside and photo.file not in archives:
            archives = {photo.file: read_rcc(folder / photo.file)}  # one at a time: the list is sorted by it
        content = bytes(archives[photo.file].get(photo.inside, b"")) if photo.inside else (folder / photo.file).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if digest != photo.sha256:
            raise ValueError(f"{folder / photo.file} {photo.inside}: expected {photo.name} of sha256 {photo.sha256}, got {digest}")
        pixels = read_picture(content, name=photo.name)
        if photo.split == "test":
            found[photo.name] = shrink(pixels, max(1.0, photo.width / TEST_WIDTH))
        else:
            found |= {f"{photo.name}@{f}": shrink(pixels, f) for f in TRAIN_FACTORS if min(pixels.shape[1:]) // f >= LEAST_SIDE}
    return found

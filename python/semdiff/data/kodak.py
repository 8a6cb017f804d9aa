# SPDX-License-Identifier: Apache-2.0
"""Read Kodak's 24 lossless true color images, on which the field quotes its numbers.

"Released by Eastman Kodak Company for unrestricted usage", at https://r0k.us/graphics/kodak/ as kodim01.png to kodim24.png. They do not
come with the package: save them into a folder, and name it in $SEMDIFF_KODAK.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from semdiff.data.pictures import open_picture, read_picture

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER_VARIABLE = "SEMDIFF_KODAK"
SOURCE = "https://r0k.us/graphics/kodak/"
SIDES = (512, 768)
LOSSLESS_TIFF = ("raw", "packbits", "tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "zstd", "lzma")


def kodak(folder: str | os.PathLike[str] | None = None) -> dict[str, Tensor]:
    """Read Kodak's 24 images.

    Args:
        folder: of kodim01.png to kodim24.png, or the same names in another lossless format (lossless WebP, TIFF, BMP, PPM). None is
            $SEMDIFF_KODAK.

    Returns:
        uint8 (3, 512, 768) by name, six of them (3, 768, 512).

    Raises:
        FileNotFoundError: which says where to get them, where one is missing.
        ValueError: where one has another size, or is compressed with loss.

    Example:
        >>> from semdiff.data import kodak
        >>> len(kodak())
        24
    """
    given = folder if folder is not None else os.environ.get(FOLDER_VARIABLE)
    if not given:
        raise FileNotFoundError(
            f"folder: expected one that holds Kodak's 24 pictures, or its name in ${FOLDER_VARIABLE}, got neither; they are at {SOURCE}"
        )
    return {name: _read(Path(given), name) for name in (f"kodim{i:02}" for i in range(1, 25))}


def _read(folder: Path, name: str) -> Tensor:
    path = next((p for p in (folder / f"{name}{suffix}" for suffix in LOSSLESS) if p.is_file()), None)
    if path is None:
        formats = ", ".join(sorted({suffix.lstrip(".") for suffix in LOSSLESS}))
        raise FileNotFoundError(
            f"{folder / name}.png: expected Kodak's 24 pictures, kodim01 to kodim24, in a lossless format ({formats}); they are at {SOURCE}"
        )
    with open_picture(path) as (opened, _):
        if not LOSSLESS[path.suffix](path, opened):
            raise ValueError(f"{path}: expected a picture without loss, got one of a lossy format")
    pixels = read_picture(path)
    if sorted(pixels.shape) != [3, *SIDES]:
        raise ValueError(f"{path}: expected 768x512 or 512x768 pixels, got {pixels.shape[2]}x{pixels.shape[1]}")
    return pixels


def _webp(path: Path, opened: Image) -> bool:
    """Whether its bitstream is VP8L (RFC 9649). In the extended format chunks of metadata stand before it."""
    content = path.read_bytes()
    place = 12  # behind RIFF, a length and WEBP
    while place + 8 <= len(content):
        kind, length = content[place : place + 4], int.from_bytes(content[place + 4 : place + 8], "little")
        if kind in (b"VP8 ", b"VP8L"):
            return kind == b"VP8L"
        place += 8 + length + length % 2
    return False


def _same_format(name: str) -> Callable[[Path, Image], bool]:
    return lambda path, opened: opened.format == name


def _tiff(path: Path, opened: Image) -> bool:
    return opened.format == "TIFF" and opened.info.get("compression") in LOSSLESS_TIFF


# What says whether a file of this suffix is without loss: a JPEG may be called .png.
LOSSLESS: dict[str, Callable[[Path, Image], bool]] = {
    ".png": _same_format("PNG"),
    ".webp": _webp,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".bmp": _same_format("BMP"),
    ".ppm": _same_format("PPM"),
}

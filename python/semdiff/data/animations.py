# SPDX-License-Identifier: Apache-2.0
"""Read GIF, APNG, WebP and AVIF animations as frames, and write APNG, which is lossless. Needs pillow."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from semdiff.data.depth import is_deep
from semdiff.data.errors import PictureError
from semdiff.data.pictures import PictureSource, count_frames, decode_picture, open_picture, opener

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
PHOTOGRAPH = {"compress_type": zlib.Z_RLE}  # of PNG: a photograph hardly repeats itself; ten times as quick as the search for it, no larger


class Animation(NamedTuple):
    """Hold frames and when they are shown. A still image is one frame.

    Attributes:
        frames: uint8 (N, C, H, W).
        durations: of each frame in ms.
        plays: how often it is shown; 0 is for ever.
    """

    frames: Tensor
    durations: list[float]
    plays: int = 0


def read_animation(source: PictureSource, grey: bool = False, background: str = "white", name: str = "") -> Animation:
    """Read an animation or a still image, each frame whole.

    All frames have the first one's size; browsers show nothing beyond it.

    Args:
        source: a file, or its content.
        grey, background, name: as of `read_picture`.

    Raises:
        ValueError: as `read_picture`, and for a document of several pages or an animation of more than eight bits a channel.
    """
    with open_picture(source, name) as (opened, name):
        places = _frames(opened, name)
        frames, durations = [], []
        for i in places:
            if places.stop > 1:
                opened.seek(i)
            frames.append(decode_picture(opened, opener(source), grey, background, name))
            durations.append(float(opened.info.get("duration", 0)))
        height, width = frames[0].shape[1:]
        return Animation(torch.stack([frame[:, :height, :width] for frame in frames]), durations, _plays(opened))


def measure_animation(source: PictureSource, name: str = "") -> tuple[int, int, int]:
    """Read from the header of a file what `read_animation` will find, without decoding a frame.

    Args:
        source: a file, or its content.
        name: for messages; the path if left out.

    Returns:
        The number of frames, and the first one's height and width before it is turned as its EXIF says.

    Raises:
        ValueError: as `read_animation`, of what the header tells.
    """
    with open_picture(source, name) as (opened, name):
        return len(_frames(opened, name)), opened.height, opened.width


def _frames(opened: Image, name: str) -> range:
    """Find the places of an opened file's frames."""
    count = count_frames(opened)
    if count > 1 and opened.format not in FORMATS:
        raise PictureError(f"{name}: expected a picture or an animation ({', '.join(FORMATS)}), got {opened.format} of {count} pages")
    if count > 1 and is_deep(opened):
        raise PictureError(f"{name}: expected an animation of 8 bits a channel, got one of more")
    first = int(count > 1 and bool(opened.info.get("default_image")))  # APNG's picture for those who know no animations
    return range(first, count)


def _plays(opened: Image) -> int:
    """How often a file that was read to its end says that it is shown: a GIF counts what follows the first time, APNG and WebP all."""
    loop: int | None = opened.info.get("loop")
    if opened.format == "GIF":
        return 1 if loop is None else loop and loop + 1
    if opened.format == "AVIF":  # pillow does not say; browsers go on for ever
        return 0
    return 1 if loop is None else loop


def write_animation(file: IO[bytes], pictures: Sequence[Image], durations: Sequence[float], plays: int = 0) -> None:
    """Write an APNG, or a PNG where there is one frame.

    Args:
        file: to write to.
        pictures: the frames.
        durations: of each frame in ms.
        plays: how often it is shown; 0 is for ever.
    """
    first, *rest = pictures
    moving = {"save_all": True, "append_images": rest, "duration": list(durations), "loop": plays} if rest else {}
    first.save(file, "PNG", **PHOTOGRAPH, **moving)

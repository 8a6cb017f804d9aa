# SPDX-License-Identifier: Apache-2.0
"""Short moving pictures: GIF, APNG, WebP and AVIF read as frames, APNG written, which loses nothing. Needs pillow, as pictures do."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from semdiff.data.depth import is_deep
from semdiff.data.errors import PictureError
from semdiff.data.pictures import Source, count_frames, decode, open_picture, opener

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
PHOTOGRAPH = {"compress_type": zlib.Z_RLE}  # of PNG: a photograph hardly repeats itself; ten times as quick as the search for it, no larger


class Animation(NamedTuple):
    """Frames and when they are shown. A still picture is one frame."""

    frames: Tensor  # uint8 (N, C, H, W)
    durations: list[float]  # of each frame, ms
    plays: int = 0  # how often; 0 is for ever


def read_animation(source: Source, grey: bool = False, background: str = "white", name: str = "") -> Animation:
    """An animation or a still picture, each frame whole and as `read_picture` reads it: all of the first one's size, beyond which a
    browser shows nothing. ValueError also for a document of several pages, and for an animation of more than eight bits a channel."""
    with open_picture(source, name) as (opened, name):
        count = count_frames(opened)
        if count > 1 and opened.format not in FORMATS:
            raise PictureError(f"{name}: expected a picture or an animation ({', '.join(FORMATS)}), got {opened.format} of {count} pages")
        if count > 1 and is_deep(opened):
            raise PictureError(f"{name}: expected an animation of 8 bits a channel, got one of more")
        first = int(count > 1 and bool(opened.info.get("default_image")))  # APNG's picture for those who know no animations
        frames, durations = [], []
        for i in range(first, count):
            if count > 1:
                opened.seek(i)
            frames.append(decode(opened, opener(source), grey, background, name))
            durations.append(float(opened.info.get("duration", 0)))
        height, width = frames[0].shape[1:]
        return Animation(torch.stack([frame[:, :height, :width] for frame in frames]), durations, _plays(opened))


def _plays(opened: Image) -> int:
    """How often a file that was read to its end says that it is shown: a GIF counts what follows the first time, APNG and WebP all."""
    told: int | None = opened.info.get("loop")
    if opened.format == "GIF":
        return 1 if told is None else told and told + 1
    if opened.format == "AVIF":  # pillow does not say; browsers go on for ever
        return 0
    return 1 if told is None else told


def write_animation(file: IO[bytes], pictures: Sequence[Image], durations: Sequence[float], plays: int = 0) -> None:
    """An APNG; of one picture a PNG."""
    first, *rest = pictures
    moving = {"save_all": True, "append_images": rest, "duration": list(durations), "loop": plays} if rest else {}
    first.save(file, "PNG", **PHOTOGRAPH, **moving)

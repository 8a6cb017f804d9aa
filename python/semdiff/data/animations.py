# SPDX-License-Identifier: Apache-2.0
"""Short moving pictures: GIF, APNG, WebP and AVIF read as frames, APNG written, which loses nothing. Needs pillow, as pictures do."""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from semdiff.data.pictures import count_frames, decode, open_picture

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("GIF", "PNG", "WEBP", "AVIF")
PHOTOGRAPH = {"compress_type": zlib.Z_RLE}  # of PNG: a photograph hardly repeats itself; ten times as quick as the search for it, no larger


class Animation(NamedTuple):
    """Frames and when they are shown. A still picture is one frame."""

    frames: Tensor  # uint8 (N, C, H, W)
    durations: list[float]  # of each frame, ms
    plays: int = 0  # how often; 0 is for ever


def read_animation(source: str | os.PathLike[str] | bytes, grey: bool = False, background: str = "white", name: str = "") -> Animation:
    """An animation or a still picture, each frame whole and as `read_picture` reads it. ValueError also for a document of several pages."""
    with open_picture(source, name) as (opened, name):
        count = count_frames(opened)
        if count > 1 and opened.format not in FORMATS:
            raise ValueError(f"{name}: expected a picture or an animation ({', '.join(FORMATS)}), got {opened.format} of {count} pages")
        first = int(count > 1 and bool(opened.info.get("default_image")))  # APNG's picture for those who know no animations
        plays = opened.info.get("loop", 1)
        frames, durations = [], []
        for i in range(first, count):
            if count > 1:
                opened.seek(i)
            frames.append(decode(opened, grey, background, name))
            durations.append(float(opened.info.get("duration", 0)))
        return Animation(torch.stack(frames), durations, plays)


def write_animation(file: IO[bytes], pictures: Sequence[Image], durations: Sequence[float], plays: int = 0) -> None:
    """An APNG; of one picture a PNG."""
    first, *rest = pictures
    moving = {"save_all": True, "append_images": rest, "duration": list(durations), "loop": plays} if rest else {}
    first.save(file, "PNG", **PHOTOGRAPH, **moving)

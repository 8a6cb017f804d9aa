# SPDX-License-Identifier: Apache-2.0
"""Pictures in the size that a model takes, and as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from semdiff.atomic import write_atomically
from semdiff.data.pictures import read_picture, to_picture, to_pixels

if TYPE_CHECKING:
    from PIL.Image import Image


def load_picture(path: Path, shape: tuple[int, int | None, int | None], resize: bool = False) -> Tensor:
    """A picture file as float32 (C, H, W) in [0, 1] for a model of that shape, where None is any size.

    Grey is luma (ITU-R 601) and has transparency over black; colour has it over white. ValueError, naming the file, where it is no picture,
    is damaged, is an animation, or has another size than the model's and resize is False.
    """
    channels, height, width = shape
    grey = channels == 1
    pixels = read_picture(path, grey=grey, background="black" if grey else "white")
    if height is not None and width is not None and pixels.shape[1:] != (height, width):
        if not resize:
            raise ValueError(
                f"{path}: expected {width}x{height} pixels, which is what this model takes, got {pixels.shape[2]}x{pixels.shape[1]}; "
                "--resize scales it, and loses detail"
            )
        from PIL.Image import Resampling

        pixels = to_pixels(to_picture(pixels).resize((width, height), Resampling.LANCZOS))
    return pixels.float() / 255


def save_png(picture: Image, path: Path) -> None:
    write_atomically(path, lambda file: picture.save(file, "PNG", optimize=True))

# SPDX-License-Identifier: Apache-2.0
"""Load pictures and animations in the size that a model takes, and save them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semdiff._util.atomic import write_atomically
from semdiff.data.animations import Animation, measure_animation, read_animation, write_animation
from semdiff.data.pictures import read_picture, to_picture, to_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

Shape = tuple[int, int | None, int | None]
BYTES_OF_A_PIXEL = 300  # that the photograph link takes for it, a little more than measured from 0.1 to 0.8 megapixels


def load_picture(path: Path, shape: Shape, resize: bool = False) -> Tensor:
    """Load a picture file.

    Grey is luma (ITU-R 601) and has transparency over black; colour has it over white.

    Args:
        path: of the file.
        shape: (C, H, W) that a model takes, where None is any size.
        resize: whether to scale a picture of another size.

    Returns:
        float32 (C, H, W) in [0, 1].

    Raises:
        ValueError: naming the file, where it is no picture, is damaged, is an animation, has another size, or is too large for the memory.
    """
    grey = shape[0] == 1
    pixels = _fit(read_picture(path, grey=grey, background=_background(grey)), shape, resize, path)
    check_room(path, pixels.shape[1] * pixels.shape[2])
    return pixels.float() / 255


def load_animation(path: Path, shape: Shape, resize: bool = False) -> Animation:
    """Load all frames of an animation, as 8-bit integers.

    Args:
        path, shape, resize: as in `load_picture`.
    """
    grey = shape[0] == 1
    found = read_animation(path, grey=grey, background=_background(grey))
    return found._replace(frames=torch.stack([_fit(frame, shape, resize, path) for frame in found.frames]))


def measure_frames(path: Path, shape: Shape, resize: bool = False) -> tuple[int, int, int]:
    """Tell from a file's header how many frames `load_animation` will give, and their height and width, which EXIF may exchange.

    Args:
        path, shape, resize: as in `load_picture`.

    Raises:
        ValueError: naming the file, where it is no picture, has another size, or is too large for the memory.
    """
    count, height, width = measure_animation(path)
    if shape[1] is None or shape[2] is None:
        check_room(path, height * width)
        return count, height, width
    if not resize and (height, width) not in (shape[1:], shape[:0:-1]):
        raise _other_size(path, shape, height, width)
    return count, shape[1], shape[2]


def _other_size(path: Path, shape: Shape, height: int, width: int) -> ValueError:
    return ValueError(
        f"{path}: expected {shape[2]}x{shape[1]} pixels, which is what this model takes, got {width}x{height}; "
        "--resize scales it, and loses detail"
    )


def _background(grey: bool) -> str:
    return "black" if grey else "white"


def _fit(pixels: Tensor, shape: Shape, resize: bool, path: Path) -> Tensor:
    _, height, width = shape
    if height is None or width is None or pixels.shape[1:] == (height, width):
        return pixels
    if not resize:
        raise _other_size(path, shape, *pixels.shape[1:])
    from PIL.Image import Resampling

    return to_pixels(to_picture(pixels).resize((width, height), Resampling.LANCZOS))


def check_room(path: Path, pixels: int) -> None:
    """Check that a link can send a picture in the memory there is, where the system tells (Linux). Else it would be killed without a word.

    Args:
        path: of the picture.
        pixels: how many it has.

    Raises:
        ValueError: naming the file, where it cannot.
    """
    try:
        words = Path("/proc/meminfo").read_text("ascii").split()
        free = 1024 * int(words[words.index("MemAvailable:") + 1])
    except (OSError, ValueError):
        return
    if pixels * BYTES_OF_A_PIXEL > free:
        most, size = free / BYTES_OF_A_PIXEL / 1e6, f"{free / 2**30:.1f} GiB"
        cause = f"since a link takes some {BYTES_OF_A_PIXEL} bytes for each and {size} of memory are free"
        raise ValueError(f"{path}: expected at most {most:.0f} megapixels, {cause}, got {pixels / 1e6:.0f}; scale it down")


def save_png(picture: Image, path: Path) -> None:
    """Write a picture as a PNG at `path`."""
    write_atomically(path, lambda file: write_animation(file, [picture], []))


def save_frames(pictures: Sequence[Image], like: Animation, path: Path) -> None:
    """Write pictures as a PNG, animated where there are several.

    Args:
        pictures: the frames.
        like: gives their durations.
        path: of the file.
    """
    write_atomically(path, lambda file: write_animation(file, pictures, like.durations, like.plays))

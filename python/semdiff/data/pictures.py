# SPDX-License-Identifier: Apache-2.0
"""Any picture file as a tensor. Needs pillow, of the extra semdiff-torch[models]."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from semdiff.data.depth import in_eight_bits
from semdiff.data.errors import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image

Source = str | os.PathLike[str] | bytes
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"})


def require_pillow() -> None:
    """ImportError naming the extra where pillow is absent."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError("pictures are read and written with pillow: pip install 'semdiff-torch[models]'") from error


def read_picture(source: Source, grey: bool | None = False, background: str = "white", name: str = "") -> Tensor:
    """A picture file, or its content, as uint8 (3, H, W), or (1, H, W) with grey: luma as of ITU-R 601. grey=None: as the file is.

    Turned as its EXIF says; 12 and 16 bits rounded to 8; CMYK and palettes to RGB; transparency over `background`. Colour profiles are not
    applied: values are taken for sRGB. name: what messages call it, the path if left out. ValueError, naming the file, where it is no
    picture, is damaged, is an animation, has more bits than are read, or is so large that pillow takes it for an attack (179 megapixels);
    FileNotFoundError.
    """
    with open_picture(source, name) as (opened, name):
        if count_frames(opened) > 1:
            raise PictureError(f"{name}: expected a single picture, got an animation of {count_frames(opened)} frames")
        if grey is None:
            grey = opened.mode in ("1", "L", "I") or opened.mode.startswith("I;16")
        return decode(opened, opener(source), grey, background, name)


@contextmanager
def open_picture(source: Source, name: str = "") -> Iterator[tuple[Image, str]]:
    """A picture file, or its content, as pillow opens it, and what messages call it. What a decoder raises inside, of whatever type,
    becomes a ValueError that names the file."""
    require_pillow()
    from PIL import UnidentifiedImageError

    name = name or ("picture" if isinstance(source, bytes) else os.fspath(source))
    try:
        with opener(source)() as opened:
            yield opened, name
    except UnidentifiedImageError:
        raise ValueError(f"{name}: expected a picture (PNG, JPEG, WebP, ...), got something that pillow does not know") from None
    except (FileNotFoundError, PictureError):
        raise
    except Exception as error:
        raise ValueError(f"{name}: expected a picture, but it does not decode ({str(error) or type(error).__name__})") from error


def opener(source: Source) -> Callable[[], Image]:
    """Opens the file, or content, anew at each call."""
    from PIL import Image

    return lambda: Image.open(io.BytesIO(source) if isinstance(source, bytes) else Path(source))


def count_frames(opened: Image) -> int:
    """Pictures in an opened file. A camera's JPEG with previews behind it is one."""
    return 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)


def decode(opened: Image, again: Callable[[], Image], grey: bool, background: str, name: str) -> Tensor:
    """The picture at which an opened file stands, as of `read_picture`. again: opens the file anew."""
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(in_eight_bits(opened, again, name))
    if picture.has_transparency_data:
        colour = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", colour.size, background), colour)
    return to_pixels(picture.convert("L" if grey else "RGB"))


def to_pixels(picture: Image) -> Tensor:
    """A picture in mode RGB or L as uint8 (3 or 1, H, W)."""
    pixels = np.array(picture)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def to_picture(image: Tensor) -> Image:
    """(3 or 1, H, W) or (H, W), float in [0, 1] or uint8, as an 8-bit picture, rounded."""
    from PIL import Image

    if image.is_floating_point():
        image = (image * 255).round().clamp(0, 255).to(torch.uint8)
    planes = image.reshape(-1, *image.shape[-2:]).cpu()
    return Image.fromarray((planes[0] if len(planes) == 1 else planes.permute(1, 2, 0)).contiguous().numpy())


def shrink(pixels: Tensor, factor: float) -> Tensor:
    """uint8 (C, H, W) scaled down by area averaging: each side divided by `factor` >= 1 and rounded."""
    from PIL import Image

    height, width = pixels.shape[-2:]
    size = max(1, round(width / factor)), max(1, round(height / factor))
    return to_pixels(to_picture(pixels).resize(size, Image.Resampling.BOX))


def middle(pictures: Tensor, height: int, width: int) -> Tensor:
    """The part of that size in the middle of pictures (..., H, W) that hold it."""
    top, left = (pictures.shape[-2] - height) // 2, (pictures.shape[-1] - width) // 2
    return pictures[..., top : top + height, left : left + width]

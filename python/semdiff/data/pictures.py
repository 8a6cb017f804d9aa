# SPDX-License-Identifier: Apache-2.0
"""Read image files as tensors, and convert tensors to pillow's images. Needs pillow, of the extra semdiff-torch[models]."""

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

PictureSource = str | os.PathLike[str] | bytes
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".avif"})


def require_pillow() -> None:
    """Raise an ImportError that names the extra where pillow is absent."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError("pictures are read and written with pillow: pip install 'semdiff-torch[models]'") from error


def read_picture(source: PictureSource, grey: bool | None = False, background: str = "white", name: str = "") -> Tensor:
    """Read an image file.

    It is turned as its EXIF says; 12 and 16 bits are rounded to 8; CMYK and palettes become RGB. Colour profiles are not applied: values
    are taken as sRGB.

    Args:
        source: a file, or its content.
        grey: True gives luma as of ITU-R 601, None keeps the file's own.
        background: colour behind transparent pixels.
        name: for messages; the path if left out.

    Returns:
        uint8 (3, H, W), or (1, H, W) with grey.

    Raises:
        FileNotFoundError: where there is no file.
        ValueError: naming the file, where it is no image, is damaged, is an animation, has more bits than are read, or is so large that
            pillow takes it for an attack (179 megapixels).

    Example:
        >>> import io
        >>> from PIL import Image
        >>> from semdiff.data import read_picture
        >>> file = io.BytesIO()
        >>> Image.new("RGB", (4, 2), "red").save(file, "PNG")
        >>> read_picture(file.getvalue())[:, 0, 0]
        tensor([255,   0,   0], dtype=torch.uint8)
    """
    with open_picture(source, name) as (opened, name):
        if count_frames(opened) > 1:
            raise PictureError(f"{name}: expected a single picture, got an animation of {count_frames(opened)} frames")
        if grey is None:
            grey = opened.mode in ("1", "L", "I") or opened.mode.startswith("I;16")
        return decode_picture(opened, opener(source), grey, background, name)


@contextmanager
def open_picture(source: PictureSource, name: str = "") -> Iterator[tuple[Image, str]]:
    """Open an image file by pillow, and turn what a decoder raises inside the block into a ValueError that names the file.

    Args:
        source: a file, or its content.
        name: for messages; the path if left out.

    Yields:
        The image, not decoded, and its name.
    """
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


def opener(source: PictureSource) -> Callable[[], Image]:
    """Return a function that opens an image anew at each call.

    Args:
        source: a file, or its content.
    """
    from PIL import Image

    return lambda: Image.open(io.BytesIO(source) if isinstance(source, bytes) else Path(source))


def count_frames(opened: Image) -> int:
    """Count the frames of an opened file. A camera's JPEG with previews behind it has one."""
    return 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)


def decode_picture(opened: Image, again: Callable[[], Image], grey: bool, background: str, name: str) -> Tensor:
    """Decode the frame at which an opened file stands, as `read_picture` does.

    Args:
        opened: the file.
        again: opens it anew.
        grey, background, name: as of `read_picture`.
    """
    from PIL import Image, ImageOps

    picture = ImageOps.exif_transpose(in_eight_bits(opened, again, name))
    if picture.has_transparency_data:
        colour = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", colour.size, background), colour)
    return to_pixels(picture.convert("L" if grey else "RGB"))


def to_pixels(picture: Image) -> Tensor:
    """Convert a picture in mode RGB or L to uint8 (3 or 1, H, W)."""
    pixels = np.array(picture)
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1).contiguous()


def to_picture(image: Tensor) -> Image:
    """Convert a tensor to an 8-bit picture, rounded.

    Args:
        image: (3 or 1, H, W) or (H, W), float in [0, 1] or uint8.
    """
    from PIL import Image

    if image.is_floating_point():
        image = (image * 255).round().clamp(0, 255).to(torch.uint8)
    planes = image.reshape(-1, *image.shape[-2:]).cpu()
    return Image.fromarray((planes[0] if len(planes) == 1 else planes.permute(1, 2, 0)).contiguous().numpy())


def shrink(pixels: Tensor, factor: float) -> Tensor:
    """Scale an image down by area averaging.

    Args:
        pixels: uint8 (C, H, W).
        factor: by which each side is divided, at least 1; sides are rounded.
    """
    from PIL import Image

    height, width = pixels.shape[-2:]
    size = max(1, round(width / factor)), max(1, round(height / factor))
    return to_pixels(to_picture(pixels).resize(size, Image.Resampling.BOX))


def middle(pictures: Tensor, height: int, width: int) -> Tensor:
    """Crop the middle of images.

    Args:
        pictures: (..., H, W), at least of the size asked for.
        height, width: of the crop.
    """
    top, left = (pictures.shape[-2] - height) // 2, (pictures.shape[-1] - width) // 2
    return pictures[..., top : top + height, left : left + width]

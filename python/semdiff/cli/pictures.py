# SPDX-License-Identifier: Apache-2.0
"""Pictures from files to tensors and back. Needs pillow, of the extra semdiff-torch[models]."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from semdiff.atomic import write_atomically

if TYPE_CHECKING:
    from PIL.Image import Image


def require_pillow() -> None:
    """ImportError naming the extra where pillow is absent."""
    try:
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError("pictures are read and written with pillow: pip install 'semdiff-torch[models]'") from error


def load_grey(path: Path, height: int, width: int, resize: bool = False) -> Tensor:
    """A picture file as float32 (1, height, width) in [0, 1]: colour to luma (ITU-R 601), transparency over black.

    ValueError, naming the file, where it is no picture, is damaged, is an animation, or has another size and resize is False.
    """
    require_pillow()
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as opened:
            if getattr(opened, "n_frames", 1) > 1:
                raise ValueError(f"{path}: expected a single picture, got an animation of {opened.n_frames} frames")  # type: ignore[attr-defined]
            picture = _to_grey(ImageOps.exif_transpose(opened), path)
    except UnidentifiedImageError:
        raise ValueError(f"{path}: expected a picture (PNG, JPEG, WebP, ...), got something that pillow does not know") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: expected a picture, but it does not decode ({error})") from None
    if picture.size != (width, height):
        if not resize:
            raise ValueError(
                f"{path}: expected {width}x{height} pixels, which is what this model takes, got {picture.width}x{picture.height}; "
                "--resize scales it, and loses detail"
            )
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(picture, np.float32) / 255).unsqueeze(0)


def _to_grey(picture: Image, path: Path) -> Image:
    from PIL import Image

    if picture.mode.startswith("I;16"):  # pillow would cut all above 255
        deep = np.asarray(picture).astype(np.float64) / 257
        return Image.fromarray(deep.round().astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError(f"{path}: expected 8 or 16 bits a channel, got pillow's mode {picture.mode}, whose range is not known")
    if picture.has_transparency_data:
        colour = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", colour.size, "black"), colour)
    return picture.convert("L")


def to_picture(image: Tensor) -> Image:
    """(1, H, W) or (H, W) in [0, 1] as an 8-bit grey picture, rounded."""
    from PIL import Image

    return Image.fromarray((image.reshape(image.shape[-2:]) * 255).round().clamp(0, 255).to(torch.uint8).numpy())


def save_png(picture: Image, path: Path) -> None:
    write_atomically(path, lambda file: picture.save(file, "PNG", optimize=True))

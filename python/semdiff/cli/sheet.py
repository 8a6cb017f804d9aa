# SPDX-License-Identifier: Apache-2.0
"""The picture that `semdiff demo` draws: bands of images, with words beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from semdiff.data.pictures import to_picture

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_SIDE = 56  # pixels: images of half of it or less are enlarged by a whole number
MARGIN = 16
LABEL_WIDTH = 128
FONT_SIZE = 13


class Band(NamedTuple):
    """A row of the sheet."""

    label: str
    images: Tensor  # (B, 1 or 3, H, W)
    first: bool = False  # of a group: space above it


def draw(bands: list[Band]) -> Image:
    """All bands, one below the other, on white."""
    from PIL import Image, ImageDraw, ImageFont

    count, channels, *size = bands[0].images.shape
    scale = max(1, LEAST_SIDE // min(size))
    h, w = (scale * side for side in size)
    height = 2 * MARGIN + sum(h + (MARGIN if band.first else 0) for band in bands)
    sheet = Image.new("L" if channels == 1 else "RGB", (2 * MARGIN + LABEL_WIDTH + count * w, height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    y = MARGIN
    for label, images, first in bands:
        y += MARGIN if first else 0
        pen.multiline_text((MARGIN, y + h // 2), label, "black", font, anchor="lm", spacing=3)
        for i, image in enumerate(images):
            sheet.paste(to_picture(image).resize((w, h), Image.Resampling.NEAREST), (MARGIN + LABEL_WIDTH + i * w, y))
        y += h
    return sheet

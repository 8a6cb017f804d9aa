# SPDX-License-Identifier: Apache-2.0
"""The picture that `semdiff demo` draws: bands of images, with words beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from semdiff.data.pictures import to_picture

if TYPE_CHECKING:
    from PIL.Image import Image

SCALE = 2  # whole pixels: each of the image's becomes SCALE x SCALE
MARGIN = 16
LABEL_WIDTH = 128
FONT_SIZE = 13


class Band(NamedTuple):
    """A row of the sheet."""

    label: str
    images: Tensor  # (B, 1, H, W)
    first: bool = False  # of a group: space above it


def draw(bands: list[Band]) -> Image:
    """All bands, one below the other, on white."""
    from PIL import Image, ImageDraw, ImageFont

    count, _, h, w = bands[0].images.shape
    height = 2 * MARGIN + sum(h * SCALE + (MARGIN if band.first else 0) for band in bands)
    sheet = Image.new("L", (2 * MARGIN + LABEL_WIDTH + count * w * SCALE, height), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    y = MARGIN
    for label, images, first in bands:
        y += MARGIN if first else 0
        pen.multiline_text((MARGIN, y + h * SCALE // 2), label, 0, font, anchor="lm", spacing=3)
        for i, image in enumerate(images):
            tile = to_picture(image)
            sheet.paste(tile.resize((w * SCALE, h * SCALE), Image.Resampling.NEAREST), (MARGIN + LABEL_WIDTH + i * w * SCALE, y))
        y += h * SCALE
    return sheet

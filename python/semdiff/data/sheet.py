# SPDX-License-Identifier: Apache-2.0
"""Draw a sheet of images for people to look at: rows of images, with words beside each row and above each column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from semdiff.data.pictures import to_picture

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_SIDE = 56  # pixels: smaller images are enlarged by a whole number
MARGIN = 16
LEAST_FONT, FONT_SHARE = 13, 0.09  # of an image's height


class Band(NamedTuple):
    """Describe a row of a sheet.

    Attributes:
        label: text beside it.
        images: (B, 1 or 3, H, W).
        first: whether it begins a group, with space above it.
    """

    label: str
    images: Tensor
    first: bool = False


def draw_sheet(bands: Sequence[Band], columns: Sequence[str]) -> Image:
    """Draw all rows, one below the other, on white.

    Args:
        bands: the rows.
        columns: a word for each of their images.
    """
    from PIL import Image, ImageDraw, ImageFont

    _, channels, *size = bands[0].images.shape
    scale = math.ceil(LEAST_SIDE / min(size))
    h, w = (scale * side for side in size)
    size_of_words = max(LEAST_FONT, round(FONT_SHARE * h))
    font, line = ImageFont.load_default(size_of_words), size_of_words * 7 // 5
    beside = int(max(font.getlength(text) for band in bands for text in band.label.split("\n"))) + MARGIN
    w = max(w, *(int(font.getlength(word)) + 4 for word in columns))  # so that the words do not run together
    above = MARGIN + line
    height = above + MARGIN + sum(h + (MARGIN if band.first else 0) for band in bands)
    sheet = Image.new("L" if channels == 1 else "RGB", (2 * MARGIN + beside + len(columns) * w, height), "white")
    pen = ImageDraw.Draw(sheet)
    left = MARGIN + beside
    for i, word in enumerate(columns):
        pen.text((left + i * w + w // 2, above - 6), word, "black", font, anchor="ms")
    y = above
    for label, images, first in bands:
        y += MARGIN if first else 0
        pen.multiline_text((MARGIN, y + h // 2), label, "black", font, anchor="lm", spacing=3)
        for i, image in enumerate(images):
            shown = to_picture(image).resize((scale * size[1], h), Image.Resampling.NEAREST)
            sheet.paste(shown, (left + i * w + (w - shown.width) // 2, y))
        y += h
    return sheet

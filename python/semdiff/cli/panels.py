# SPDX-License-Identifier: Apache-2.0
"""Draw the picture of `semdiff transmit --compare`: panels side by side, each with its words below."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from semdiff.data.pictures import to_picture

if TYPE_CHECKING:
    from PIL.Image import Image

LEAST_SIDE = 192  # smaller pictures are grown, by whole pixels
WIDEST = 2400  # more goes into two columns
MARGIN = 16


class Panel(NamedTuple):
    """Hold a picture and two lines of words.

    Attributes:
        image: (1 or 3, H, W) in [0, 1].
        name, numbers: the lines.
    """

    image: Tensor  # (1 or 3, H, W), in [0, 1]
    name: str
    numbers: str


def draw_panels(title: str, panels: Sequence[Panel]) -> Image:
    """Draw panels of one size on white, in one row or in two columns.

    Args:
        title: above them.
        panels: the pictures.
    """
    from PIL import Image, ImageDraw, ImageFont

    channels, height, width = panels[0].image.shape
    scale = max(1, -(-LEAST_SIDE // max(height, width)))
    w, h = width * scale, height * scale
    columns = len(panels) if len(panels) * w <= WIDEST else 2
    size = max(14, w // 40)
    font = ImageFont.load_default(size)
    words = max(font.getlength(text) for panel in panels for text in (panel.name, panel.numbers))
    cell, line = max(w, int(words) + 1) + MARGIN, size * 4 // 3
    rows = -(-len(panels) // columns)
    total = max(columns * cell, int(font.getlength(title)) + MARGIN) + MARGIN
    mode, black = ("L", 0) if channels == 1 else ("RGB", (0, 0, 0))
    sheet = Image.new(mode, (total, MARGIN + line + rows * (h + 2 * line + MARGIN)), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN // 2), title, black, font)
    for i, panel in enumerate(panels):
        x, y = MARGIN + i % columns * cell, MARGIN + line + i // columns * (h + 2 * line + MARGIN)
        sheet.paste(to_picture(panel.image).resize((w, h), Image.Resampling.NEAREST), (x, y))
        pen.text((x, y + h + 2), panel.name, black, font)
        pen.text((x, y + h + 2 + line), panel.numbers, black, font)
    return sheet

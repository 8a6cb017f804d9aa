# SPDX-License-Identifier: Apache-2.0
"""Convert images to the autoencoder's input and back: padding, range, and blocks of pixels as channels.

[0, 1] becomes [-1, 1], and squares of pixels become channels, so that all networks work at the latents' own resolution: on a CPU that
costs a fraction of the time of convolutions at full resolution. Fashion-MNIST's 28x28 gets black borders to 32x32 and blocks of 4x4;
photographs get their edges repeated to multiples of 16 and blocks of 8x8.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Border = Literal["black", "replicate"]


def to_blocks(images: Tensor, block: int = 4, border: Border = "black", multiple: int | None = None) -> Tensor:
    """Pad images and turn blocks of pixels into channels.

    Args:
        images: (B, C, H, W) in [0, 1].
        block: pixels on the side of a block.
        border: black, or replicate to repeat the edges.
        multiple: H and W are padded evenly to multiples of so many pixels; None is two blocks.

    Returns:
        (B, block^2 C, h, w) in [-1, 1].
    """
    top, bottom, left, right = _padding(images.shape[-2], images.shape[-1], multiple or 2 * block)
    x = images * 2 - 1
    sides = (left, right, top, bottom)
    padded = F.pad(x, sides, value=-1.0) if border == "black" else F.pad(x, sides, mode="replicate")
    return F.pixel_unshuffle(padded, block)


def from_blocks(blocks: Tensor, height: int, width: int, block: int = 4, multiple: int | None = None) -> Tensor:
    """Invert `to_blocks` for images of a given size.

    Args:
        blocks: (B, block^2 C, h, w).
        height, width: of the images.
        block, multiple: as in `to_blocks`.

    Returns:
        (B, C, height, width), not clamped to [0, 1].
    """
    padded = F.pixel_shuffle(blocks, block)
    top, _, left, _ = _padding(height, width, multiple or 2 * block)
    return (padded[..., top : top + height, left : left + width] + 1) / 2


def _padding(height: int, width: int, multiple: int) -> tuple[int, int, int, int]:
    top, left = (-height % multiple) // 2, (-width % multiple) // 2
    return top, -height % multiple - top, left, -width % multiple - left

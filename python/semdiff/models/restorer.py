# SPDX-License-Identifier: Apache-2.0
"""Define the network behind a hybrid digital-analog code: it restores what its linear receiver makes, and says how wrong that still is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.models.blocks import BRANCH_SCALE

CELL = 16  # pixels on the side of a cell, of which the error maps have one place each
BLOCK = 4  # pixels on the side of the squares that become channels
PIXEL_MEAN, PIXEL_STD = 0.45, 0.25  # of photographs, about
LOG_VAR_RANGE = (-13.0, 0.0)  # of a squared error of pixels in [0, 1]: 56 dB to 0 dB


class Restored(NamedTuple):
    """Hold a restored picture and how wrong it is.

    Attributes:
        mean: the picture, (B, C, H, W), not clamped to [0, 1].
        logvar: ln of the variance of its error, of the same shape.
    """

    mean: Tensor
    logvar: Tensor


class PlainBlock(nn.Module):
    """Compute x + conv(silu(conv(silu(x)))).

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(BRANCH_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the block to x (B, width, h, w)."""
        return x + self.conv2(F.silu(self.conv1(F.silu(x))))  # type: ignore[no-any-return]


class Restorer(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Restore a picture of a hybrid code: base and linear estimate (B, C, H, W) each, and maps of the estimate's error.

    It works at 1/4 and 1/8 of the resolution. Untrained it returns the linear estimate, and the variance of the last map.

    Args:
        colours: of the picture.
        maps: see `forward`.
        width, depth: channels and blocks at 1/4 of the resolution, before and after the deep ones.
        deep_width, deep_depth: the same at 1/8.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, colours: int = 3, maps: int = 11, width: int = 64, depth: int = 2, deep_width: int = 128, deep_depth: int = 4
    ) -> None:
        super().__init__()
        inputs = 2 * colours * BLOCK**2 + maps
        self.conv_in = nn.Conv2d(inputs, width, 3, padding=1)
        self.blocks_in = nn.ModuleList(PlainBlock(width) for _ in range(depth))
        self.shrink = nn.Conv2d(width, deep_width, 2, stride=2)
        self.deep = nn.ModuleList(PlainBlock(deep_width) for _ in range(deep_depth))
        self.grow = nn.Conv2d(deep_width, 4 * width, 1)
        self.join = nn.Conv2d(2 * width, width, 1)
        self.blocks_out = nn.ModuleList(PlainBlock(width) for _ in range(depth))
        self.conv_out = nn.Conv2d(width, 2 * colours * BLOCK**2, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, base: Tensor, picture: Tensor, error_maps: Tensor) -> Restored:
        """Restore a picture.

        Args:
            base: the coded picture in [0, 1], (B, C, H, W), of any H and W.
            picture: the linear estimate, of the same shape.
            error_maps: ln of the variances of the estimate's error, (B, maps, H / 16, W / 16), rounded up; the last is that of a pixel.
        """
        height, width = base.shape[-2:]
        padding = (0, -width % CELL, 0, -height % CELL)
        both = F.pad((torch.cat([base, picture], 1) - PIXEL_MEAN) / PIXEL_STD, padding, mode="replicate")
        maps = F.interpolate(error_maps, scale_factor=CELL // BLOCK, mode="nearest")
        x = self.conv_in(torch.cat([F.pixel_unshuffle(both, BLOCK), maps / 8 + 1], 1))
        for block in self.blocks_in:
            x = block(x)
        deep = self.shrink(x)
        for block in self.deep:
            deep = block(deep)
        x = self.join(torch.cat([x, F.pixel_shuffle(self.grow(deep), 2)], 1))
        for block in self.blocks_out:
            x = block(x)
        change, log_factor = F.pixel_shuffle(self.conv_out(F.silu(x)), BLOCK)[..., :height, :width].chunk(2, 1)
        # The error's deviation is the scale of what there is to restore: a network that sees many qualities gives parts of it.
        logvar = F.interpolate(maps[:, -1:], scale_factor=BLOCK, mode="nearest")[..., :height, :width]
        return Restored(picture + (0.5 * logvar).exp() * change, (logvar + log_factor).clamp(*LOG_VAR_RANGE))

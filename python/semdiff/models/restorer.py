# SPDX-License-Identifier: Apache-2.0
"""Define the network behind a hybrid digital-analog code: it restores what its linear receiver makes, and says how wrong that still is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.models.blocks import BRANCH_SCALE, zero_parameters

CELL = 16  # pixels on the side of a cell, of which the error maps have one place each
BLOCK = 4  # pixels on the side of the squares that become channels
PIXEL_MEAN, PIXEL_STD = 0.45, 0.25  # of photographs, about
LARGEST = 8.0  # number that a network is told of what is in units of a deviation
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


class UShape(nn.Module):
    """Map (B, inputs, h, w) to (B, outputs, h, w), h and w even, by blocks at this and at half the resolution. The output is zero at first.

    Args:
        inputs, outputs: channels.
        width, depth: channels and blocks at the resolution of the input, before and after the deep ones.
        deep_width, deep_depth: the same at half of it.
    """

    def __init__(self, inputs: int, outputs: int, width: int, depth: int, deep_width: int, deep_depth: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(inputs, width, 3, padding=1)
        self.blocks_in = nn.Sequential(*(PlainBlock(width) for _ in range(depth)))
        self.shrink = nn.Conv2d(width, deep_width, 2, stride=2)
        self.deep = nn.Sequential(*(PlainBlock(deep_width) for _ in range(deep_depth)))
        self.grow = nn.Conv2d(deep_width, 4 * width, 1)
        self.join = nn.Conv2d(2 * width, width, 1)
        self.blocks_out = nn.Sequential(*(PlainBlock(width) for _ in range(depth)))
        self.conv_out = nn.Conv2d(width, outputs, 3, padding=1)
        self.straight = nn.Conv2d(inputs, outputs, 1)  # what is passed on as it is, noise for example, takes no room in the blocks
        for layer in (self.conv_out, self.straight):
            zero_parameters(layer)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the network to x (B, inputs, h, w)."""
        y = self.blocks_in(self.conv_in(x))
        y = self.join(torch.cat([y, F.pixel_shuffle(self.grow(self.deep(self.shrink(y))), 2)], 1))
        return self.straight(x) + self.conv_out(F.silu(self.blocks_out(y)))  # type: ignore[no-any-return]


class Restorer(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Restore a picture of a hybrid code: base and linear estimate (B, C, H, W) each, and maps of the estimate's error.

    Untrained it returns the linear estimate, and the variance of the last map.

    Args:
        colours: of the picture.
        maps: see `forward`.
        width, depth, deep_width, deep_depth: see `UShape`, which works at 1/BLOCK of the resolution.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, colours: int = 3, maps: int = 11, width: int = 64, depth: int = 2, deep_width: int = 128, deep_depth: int = 4
    ) -> None:
        super().__init__()
        self.net = UShape(2 * colours * BLOCK**2 + maps, 2 * colours * BLOCK**2, width, depth, deep_width, deep_depth)

    def forward(self, base: Tensor, picture: Tensor, error_maps: Tensor) -> Restored:
        """Restore a picture.

        Args:
            base: the coded picture in [0, 1], (B, C, H, W), of any H and W.
            picture: the linear estimate, of the same shape.
            error_maps: ln of the variances of the estimate's error, (B, maps, H / CELL, W / CELL), rounded up; the last is that of a pixel.
        """
        height, width = base.shape[-2:]
        maps = F.interpolate(error_maps, scale_factor=CELL // BLOCK, mode="nearest")
        # The error's deviation is the scale of what arrived and of what there is to restore: a network of many qualities sees and gives
        # parts of it.
        logvar = F.interpolate(maps[:, -1:], scale_factor=BLOCK, mode="nearest")[..., :height, :width]
        deviation = (0.5 * logvar).exp()
        told = torch.cat([(base - PIXEL_MEAN) / PIXEL_STD, _in_units_of(deviation, picture - base)], 1)
        found = F.pixel_shuffle(self.net(torch.cat([_blocks(told), _feature(maps)], 1)), BLOCK)
        change, log_factor = found[..., :height, :width].chunk(2, 1)
        return Restored(picture + deviation * change, (logvar + log_factor).clamp(*LOG_VAR_RANGE))


class PictureDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Denoise a picture whose noise has a variance for each pixel: it is the input less a part of the noise's deviation.

    Args:
        colours: of the picture.
        width, depth, deep_width, deep_depth: see `UShape`, which works at 1/BLOCK of the resolution.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, colours: int = 3, width: int = 64, depth: int = 2, deep_width: int = 128, deep_depth: int = 4) -> None:
        super().__init__()
        self.net = UShape(3 * colours * BLOCK**2, colours * BLOCK**2, width, depth, deep_width, deep_depth)

    def forward(self, x: Tensor, log_noise_var: Tensor) -> Tensor:
        """Estimate the noise in units of its deviation, of the shape of x.

        Args:
            x: the noisy picture, (B, C, H, W), of any H and W; the picture itself is in [0, 1].
            log_noise_var: ln of the variance of its noise, of the same shape.
        """
        height, width = x.shape[-2:]
        # Little noise is a small part of x: what differs from the squares' means is told in its units too.
        means = F.avg_pool2d(x, BLOCK, ceil_mode=True, count_include_pad=False)
        detail = x - F.interpolate(means, scale_factor=BLOCK, mode="nearest")[..., :height, :width]
        fine = _in_units_of((0.5 * log_noise_var).exp(), detail)
        told = torch.cat([(x - PIXEL_MEAN) / PIXEL_STD, fine, _feature(log_noise_var)], 1)
        return F.pixel_shuffle(self.net(_blocks(told)), BLOCK)[..., :height, :width]


def _blocks(x: Tensor) -> Tensor:
    """Squares of pixels as channels; H and W are first padded to whole cells."""
    height, width = x.shape[-2:]
    return F.pixel_unshuffle(F.pad(x, (0, -width % CELL, 0, -height % CELL), mode="replicate"), BLOCK)


def _in_units_of(deviation: Tensor, x: Tensor) -> Tensor:
    return (x / deviation).clamp(-LARGEST, LARGEST)


def _feature(log_var: Tensor) -> Tensor:
    """About zero mean and unit variance."""
    return log_var / 4 + 2

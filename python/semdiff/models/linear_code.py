# SPDX-License-Identifier: Apache-2.0
"""Define the linear code that may stand beside the networks of a JSCC end: blocks of pixels to features by one matrix, and back.

What a linear code cannot know is how far each image was scaled to unit power. Here the receiver reads it off the features' means, and
scales its components by what a small network makes of these, the SNR and the rate.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.models.blocks import UPSCALE

HIDDEN = 64  # of the networks that scale components


def block_side(strides: int) -> int:
    """Compute the side in pixels of a block, which has UPSCALE x UPSCALE features of each symbol channel.

    Args:
        strides: halvings of the resolution between pixels and features.
    """
    return UPSCALE << strides


class LinearEncoder(nn.Module):
    """Map images to features: a convolution over blocks that overlap by half, each component scaled by SNR and rate.

    Args:
        colours: channels of the images.
        symbol_channels: real features at the full rate. A block has UPSCALE^2 components for each, the strongest in the first channels.
        strides: halvings of the resolution.
        condition: how many numbers say SNR and rate.
    """

    def __init__(self, colours: int, symbol_channels: int, strides: int, condition: int) -> None:
        super().__init__()
        side, components = block_side(strides), symbol_channels * UPSCALE**2
        self.map = nn.Conv2d(colours, components, 2 * side, side, side // 2)
        self.gain = nn.Sequential(nn.Linear(condition, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, components))

    def forward(self, blocks: Tensor, condition: Tensor) -> Tensor:
        """Compute features (B, symbol_channels, h, w).

        Args:
            blocks: images (B, colours, H, W), padded to whole blocks.
            condition: SNR and rate, (B, condition).
        """
        return F.pixel_shuffle(self.map(blocks) * self.gain(condition).exp()[:, :, None, None], UPSCALE)


class LinearDecoder(nn.Module):
    """Map features to images: each component scaled by what the features' means, SNR and rate say, then a convolution to blocks of pixels.

    Args:
        colours, symbol_channels, strides, condition: as in `LinearEncoder`.
    """

    def __init__(self, colours: int, symbol_channels: int, strides: int, condition: int) -> None:
        super().__init__()
        self.side, components = block_side(strides), symbol_channels * UPSCALE**2
        layers = nn.Linear(components + condition, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, components)
        self.gain = nn.Sequential(*layers)
        self.map = nn.Conv2d(components, colours * self.side**2, 3, 1, 1)

    def scale(self, features: Tensor, condition: Tensor) -> Tensor:
        """Scale the components.

        Args:
            features: (B, symbol_channels, h, w); channels that were not sent are zero.
            condition: as in `LinearEncoder`.

        Returns:
            Like features.
        """
        x = F.pixel_unshuffle(features, UPSCALE)
        gain = self.gain(torch.cat([x.mean((2, 3)), condition], 1)).exp()
        return F.pixel_shuffle(x * gain[:, :, None, None], UPSCALE)

    def forward(self, scaled: Tensor) -> Tensor:
        """Compute images.

        Args:
            scaled: what `scale` gives, (B, symbol_channels, h, w).

        Returns:
            (B, colours, H, W), in [-1, 1] or a little beyond.
        """
        return F.pixel_shuffle(self.map(F.pixel_unshuffle(scaled, UPSCALE)), self.side)

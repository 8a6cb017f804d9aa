# SPDX-License-Identifier: Apache-2.0
"""Define the two ends of a joint source-channel code of residual blocks, each beside a linear code (`semdiff.models.linear_code`).

The blocks are those of the up-sampler: convolutions whose features are scaled and shifted by what SNR and rate say (FiLM, Perez et al.,
2018). Nothing normalises.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.models.blocks import UPSCALE, ConditionEmbedding, FiLMBlock
from semdiff.models.jscc_layers import CONDITION, PixelCells, condition_of
from semdiff.models.linear_code import LinearDecoder, LinearEncoder
from semdiff.models.pixel_blocks import from_blocks, to_blocks


class ResidualTransmitter(PixelCells, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Encode images (B, C, H, W) in [0, 1] as features (B, symbol_channels, h, w), real, not yet of unit power.

    The first channels are the ones that a lower rate keeps.

    Args:
        image_shape: (C, H, W); H and W are None for any size.
        symbol_channels: real features at the full rate.
        width: channels of the blocks.
        depth: blocks.
        strides: halvings of the resolution, 2 or 3.
        condition: size of the embedding of SNR and rate.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        image_shape: Sequence[int | None] = (3, 32, 32),
        symbol_channels: int = 16,
        width: int = 96,
        depth: int = 2,
        strides: int = 2,
        condition: int = 64,
    ) -> None:
        super().__init__()
        colours = image_shape[0] or 1
        self.linear_encoder = LinearEncoder(colours, symbol_channels, strides, CONDITION)
        self.embedding = ConditionEmbedding(condition)
        self.conv_in = nn.Conv2d(colours << 2 * strides, width, 3, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(width, condition) for _ in range(depth))
        self.to_symbols = nn.Conv2d(width, symbol_channels, 3, padding=1)

    def forward(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute features.

        Args:
            images: (B, C, H, W) in [0, 1].
            snr_db: of the channel, (B,).
            rate: share of the symbol channels to be sent, (B,).

        Returns:
            (B, symbol_channels, h, w).
        """
        blocks = to_blocks(images, 1, self.border, 2 * self.cell)
        x, c = self.conv_in(F.pixel_unshuffle(blocks, self.cell)), self.embedding(snr_db, rate)
        for block in self.blocks:
            x = block(x, c)
        features: Tensor = self.to_symbols(F.silu(x)) + self.linear_encoder(blocks, condition_of(snr_db, rate).to(blocks))
        return features


class ResidualDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Decode received features (B, symbol_channels, h, w) as images (B, C, *size), not clamped to [0, 1].

    Args:
        colours: channels of the images.
        symbol_channels: real features at the full rate.
        width, outer_width: channels of the blocks, and of those at twice the resolution of the features.
        depth, outer_depth: how many of each.
        strides, condition: as in `ResidualTransmitter`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        colours: int = 3,
        symbol_channels: int = 16,
        width: int = 96,
        outer_width: int = 32,
        depth: int = 3,
        outer_depth: int = 1,
        strides: int = 2,
        condition: int = 64,
    ) -> None:
        super().__init__()
        self.linear_decoder = LinearDecoder(colours, symbol_channels, strides, CONDITION)
        self.embedding = ConditionEmbedding(condition)
        self.conv_in = nn.Conv2d(symbol_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(width, condition) for _ in range(depth))
        self.grow = nn.Conv2d(width, outer_width * UPSCALE**2, 1)
        self.outer_blocks = nn.ModuleList(FiLMBlock(outer_width, condition) for _ in range(outer_depth))
        self.to_image = nn.Conv2d(outer_width, colours << 2 * (strides - 1), 3, padding=1)

    def forward(self, features: Tensor, snr_db: Tensor, rate: Tensor, size: Sequence[int]) -> Tensor:
        """Compute images.

        Args:
            features: (B, symbol_channels, h, w); channels that were not sent are zero.
            snr_db: of the features, (B,).
            rate: share of the symbol channels that was sent, (B,).
            size: height and width of the images.
        """
        strides = self.config.strides
        scaled = self.linear_decoder.scale(features, condition_of(snr_db, rate).to(features))
        x = apply_blocks(self, scaled, self.embedding(snr_db, rate))
        image = F.pixel_shuffle(self.to_image(x), 1 << (strides - 1))
        return from_blocks(image + self.linear_decoder(scaled), size[0], size[1], 1, 2 << strides)


def apply_blocks(net: Any, x: Tensor, condition: Tensor) -> Tensor:
    """Apply a decoder's convolutions and blocks, all but its last convolution.

    Args:
        net: has `conv_in`, `blocks`, `grow` and `outer_blocks`.
        x: input of the first convolution.
        condition: embedding of SNR and rate.

    Returns:
        (B, outer_width, 2h, 2w).
    """
    x = net.conv_in(x)
    for block in net.blocks:
        x = block(x, condition)
    x = F.pixel_shuffle(net.grow(F.silu(x)), UPSCALE)
    for block in net.outer_blocks:
        x = block(x, condition)
    return F.silu(x)

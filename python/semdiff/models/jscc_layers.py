# SPDX-License-Identifier: Apache-2.0
"""Define the layers of DeepJSCC and ADJSCC, and ADJSCC's two ends as parts of a link.

Generalised divisive normalisation is Ballé, Laparra, Simoncelli, 2016; attention on the SNR is ADJSCC's (Xu, Ai, Chen, Yang, Sun,
Rodrigues, IEEE TCSVT 2021). A link that has ADJSCC's ends shares them, and their training, with that baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.models.pixel_blocks import Border, from_blocks, to_blocks

CONDITION = 2  # numbers that say SNR and rate, see `condition_of`


class GDN(nn.Module):
    """Normalise channels: x_i / sqrt(beta_i + sum_j gamma_ij x_j^2). Squares of the parameters keep both positive.

    Args:
        width: channels.
        inverse: multiply in place of dividing.
    """

    def __init__(self, width: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.ones(width))
        self.gamma = nn.Parameter((0.1 * torch.eye(width) + 1e-4).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x (B, width, h, w)."""
        norm: Tensor = F.conv2d(x.square(), self.gamma.square()[:, :, None, None], self.beta.square() + 1e-6).sqrt()
        return x * norm if self.inverse else x / norm


class AttentionFeature(nn.Module):
    """Scale each channel by a number in (0, 1) that depends on all channels' means, the SNR and the rate.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width + CONDITION, max(width // 8, 8)), nn.ReLU(), nn.Linear(max(width // 8, 8), width), nn.Sigmoid()
        )

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Scale x (B, width, h, w); condition (B, 2) holds snr_db / 20 and the rate."""
        scale: Tensor = self.net(torch.cat([x.mean((2, 3)), condition], 1))
        return x * scale[:, :, None, None]


class JSCCLayer(nn.Module):
    """Apply a convolution, GDN, PReLU, and attention.

    Args:
        conv: the convolution.
        width: its output channels.
        inverse: of the GDN.
        attention: whether there is attention.
    """

    def __init__(self, conv: nn.Module, width: int, inverse: bool, attention: bool) -> None:
        super().__init__()
        self.conv, self.gdn, self.prelu = conv, GDN(width, inverse), nn.PReLU(width)
        self.attention = AttentionFeature(width) if attention else None

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Apply the layer to x (B, C, h, w); condition (B, 2) as in `AttentionFeature`."""
        x = self.prelu(self.gdn(self.conv(x)))
        return x if self.attention is None else self.attention(x, condition)


def encoder_layers(colours: int, outer_width: int, width: int, depth: int, strides: int, attention: bool) -> nn.ModuleList:
    """Make the encoder of DeepJSCC or ADJSCC before its last convolution, at 1 / 2^strides of the resolution.

    Args:
        colours: channels of the images.
        outer_width, width: channels of the first layer, and of the others.
        depth: layers that keep the resolution.
        strides: halvings of the resolution, 2 or 3.
        attention: True for ADJSCC.
    """
    return nn.ModuleList(
        [
            JSCCLayer(nn.Conv2d(colours, outer_width, 5, 2, 2), outer_width, False, attention),
            JSCCLayer(nn.Conv2d(outer_width, width, 5, 2, 2), width, False, attention),
            *(JSCCLayer(nn.Conv2d(width, width, 5, 2, 2), width, False, attention) for _ in range(strides - 2)),
            *(JSCCLayer(nn.Conv2d(width, width, 3, 1, 1), width, False, attention) for _ in range(depth)),
        ]
    )


def decoder_layers(symbol_channels: int, outer_width: int, width: int, depth: int, strides: int, attention: bool) -> nn.ModuleList:
    """Make the decoder of DeepJSCC or ADJSCC before its last transposed convolution.

    Args:
        symbol_channels: real features at the full rate.
        outer_width, width, depth, strides, attention: as in `encoder_layers`.
    """
    return nn.ModuleList(
        [
            JSCCLayer(nn.Conv2d(symbol_channels, width, 3, 1, 1), width, True, attention),
            *(JSCCLayer(nn.Conv2d(width, width, 3, 1, 1), width, True, attention) for _ in range(depth + 1)),
            *(JSCCLayer(nn.ConvTranspose2d(width, width, 5, 2, 2, 1), width, True, attention) for _ in range(strides - 2)),
            JSCCLayer(nn.ConvTranspose2d(width, outer_width, 5, 2, 2, 1), outer_width, True, attention),
        ]
    )


def condition_of(snr_db: Tensor, rate: Tensor) -> Tensor:
    """Put SNR and rate into the numbers that the layers take.

    Args:
        snr_db: in dB, (B,).
        rate: (B,).

    Returns:
        (B, CONDITION).
    """
    return torch.stack([snr_db / 20, rate], 1)


def encode_blocks(ends: Any, blocks: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
    """Compute features by the encoder of a `Transmitter` or of a JSCC baseline, which name its layers alike.

    Args:
        ends: has `encoder` and `to_symbols`.
        blocks: images (B, C, h, w) in [-1, 1], padded to whole cells.
        snr_db, rate: (B,).
    """
    condition = condition_of(snr_db, rate).to(blocks)
    x = blocks
    for layer in ends.encoder:
        x = layer(x, condition)
    return ends.to_symbols(x)  # type: ignore[no-any-return]


def decode_blocks(ends: Any, features: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
    """Compute images in [-1, 1], padded, by the decoder of a `JSCCDecoder` or of a JSCC baseline, which name its layers alike.

    Args:
        ends: has `decoder`, `to_image` and `linear_decoder`.
        features: (B, symbol_channels, h, w).
        snr_db, rate: (B,).
    """
    condition = condition_of(snr_db, rate).to(features)
    x = features
    for layer in ends.decoder:
        x = layer(x, condition)
    return ends.to_image(x)  # type: ignore[no-any-return]


class PixelCells:
    """Say how a transmitter, whose config has `image_shape` and `strides`, cuts images into cells of one feature each."""

    config: Any

    @property
    def cell(self) -> int:
        """Compute the side in pixels of the square that one feature stands for."""
        return 1 << self.config.strides  # type: ignore[no-any-return]

    @property
    def border(self) -> Border:
        """Return how images are padded to whole multiples of two features."""
        return "black" if self.config.image_shape[1] else "replicate"


class Transmitter(PixelCells, ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Encode images (B, C, H, W) in [0, 1] as features (B, symbol_channels, h, w), real, not yet of unit power.

    The network is ADJSCC's encoder: its weights are those of `semdiff.baselines.ADJSCC`, by the same names. The first channels are the ones
    that a lower rate keeps.

    Args:
        image_shape: (C, H, W); H and W are None for any size.
        symbol_channels: real features at the full rate.
        width, outer_width: channels of the inner layers and of the first one.
        depth: layers that keep the resolution.
        strides: halvings of the resolution, 2 or 3.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        image_shape: Sequence[int | None] = (1, 28, 28),
        symbol_channels: int = 2,
        width: int = 160,
        outer_width: int = 64,
        depth: int = 2,
        strides: int = 2,
    ) -> None:
        super().__init__()
        colours = image_shape[0] or 1
        self.encoder = encoder_layers(colours, outer_width, width, depth, strides, True)
        self.to_symbols = nn.Conv2d(width, symbol_channels, 3, 1, 1)

    def forward(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute features.

        Args:
            images: (B, C, H, W) in [0, 1].
            snr_db: of the channel, (B,).
            rate: share of the symbol channels to be sent, (B,).

        Returns:
            (B, symbol_channels, h, w).
        """
        return encode_blocks(self, to_blocks(images, 1, self.border, 2 * self.cell), snr_db, rate)


class JSCCDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Decode received features (B, symbol_channels, h, w) as images (B, C, *size), not clamped to [0, 1]: ADJSCC's decoder.

    Its weights are those of `semdiff.baselines.ADJSCC`, by the same names.

    Args:
        colours: channels of the images.
        symbol_channels, width, outer_width, depth, strides: as in `Transmitter`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        colours: int = 1,
        symbol_channels: int = 2,
        width: int = 160,
        outer_width: int = 64,
        depth: int = 2,
        strides: int = 2,
    ) -> None:
        super().__init__()
        self.decoder = decoder_layers(symbol_channels, outer_width, width, depth, strides, True)
        self.to_image = nn.ConvTranspose2d(outer_width, colours, 5, 2, 2, 1)

    def forward(self, features: Tensor, snr_db: Tensor, rate: Tensor, size: Sequence[int]) -> Tensor:
        """Compute images.

        Args:
            features: (B, symbol_channels, h, w); channels that were not sent are zero.
            snr_db: of the features, (B,).
            rate: share of the symbol channels that was sent, (B,).
            size: height and width of the images.
        """
        return from_blocks(decode_blocks(self, features, snr_db, rate), size[0], size[1], 1, 2 << self.config.strides)

# SPDX-License-Identifier: Apache-2.0
"""Define the variational up-sampler of a link whose ends are a `ResidualJSCC`: that code's decoder, which says its variance too."""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.diffusion.vae import GaussianSample, gaussian_upsample
from semdiff.models.blocks import UPSCALE, ConditionEmbedding, FiLMBlock
from semdiff.models.jscc_layers import CONDITION, condition_of
from semdiff.models.linear_code import LinearDecoder
from semdiff.models.residual_jscc import apply_blocks
from semdiff.rng import KeyLike

STRIDES = 2  # halvings of the resolution between pixels and features


class ResidualUpsampler(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Received features (B, symbol_channels, h, w) at 1/4 of the resolution to the Gaussian of x_t, (B, colours, 4h, 4w) each.

    Args:
        colours, symbol_channels, width, outer_width, depth, outer_depth, condition: as in `semdiff.models.residual_jscc.ResidualDecoder`.
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
        condition: int = 64,
    ) -> None:
        super().__init__()
        self.linear_decoder = LinearDecoder(colours, symbol_channels, STRIDES, CONDITION)
        self.embedding = ConditionEmbedding(condition)
        self.conv_in = nn.Conv2d(2 * symbol_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(width, condition) for _ in range(depth))
        self.grow = nn.Conv2d(width, outer_width * UPSCALE**2, 1)
        self.outer_blocks = nn.ModuleList(FiLMBlock(outer_width, condition) for _ in range(outer_depth))
        self.to_gaussian = nn.Conv2d(outer_width, 2 * colours * UPSCALE**2, 3, padding=1)

    def forward(
        self, features: Tensor, snr_db: Tensor, rate: Tensor, key: KeyLike = None, noise_map: Tensor | None = None
    ) -> GaussianSample:
        """Compute the Gaussian and a draw of it.

        Args:
            features, snr_db, rate, key, noise_map: as in `semdiff.models.pixels.PixelUpsampler`.
        """
        return gaussian_upsample(self.coarse(features, snr_db, rate, noise_map), UPSCALE, key)

    def coarse(self, features: Tensor, snr_db: Tensor, rate: Tensor, noise_map: Tensor | None = None) -> Tensor:
        """Compute all but the last operation: what `gaussian_upsample` takes, (B, 2 * colours * UPSCALE^2, 2h, 2w).

        Args:
            features, snr_db, rate, noise_map: as in `forward`.
        """
        scaled = self.linear_decoder.scale(features, condition_of(snr_db, rate).to(features))
        known = torch.cat([scaled, torch.zeros_like(scaled) if noise_map is None else noise_map], 1)
        mean, logvar = self.to_gaussian(apply_blocks(self, known, self.embedding(snr_db, rate))).chunk(2, 1)
        return torch.cat([mean + F.pixel_unshuffle(self.linear_decoder(scaled), UPSCALE), logvar], 1)

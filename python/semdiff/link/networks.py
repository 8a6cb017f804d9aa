# SPDX-License-Identifier: Apache-2.0
"""The learned pair around the channel: a Downsampler before it, a variational Upsampler after it, both told the SNR and the rate.

Both see log-SNR through sinusoids and a small network whose output scales and shifts every block's features (FiLM, Perez et al., 2018). No
batch statistics anywhere, so a result never depends on its batch mates.
"""

from __future__ import annotations

import math

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.rng import KeyLike
from semdiff.vae import GaussianSample, gaussian_upsample

UPSCALE = 2  # a latent's side over its features'


class ConditionEmbedding(nn.Module):
    """snr_db (B,) and rate (B,), the share of the symbol channels in use, to a vector (B, width) for FiLM."""

    frequencies: Tensor

    def __init__(self, width: int, frequencies: int = 4) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(-1, frequencies - 1), persistent=False)
        self.net = nn.Sequential(nn.Linear(2 * frequencies + 2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, snr_db: Tensor, rate: Tensor) -> Tensor:
        # 40 dB is half a turn of the slowest sinusoid: one value, one code, over every SNR that a link meets.
        place = snr_db.unsqueeze(1) / 40
        angles = place * self.frequencies
        return self.net(torch.cat([place, angles.sin(), angles.cos(), rate.unsqueeze(1)], 1))  # type: ignore[no-any-return]


class FiLMBlock(nn.Module):
    """x + conv(silu(film(conv(silu(x))))), the last convolution small at first, so that depth does no harm without a norm."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(condition, 2 * width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(0.2)
            self.film.weight.mul_(0.2)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, 1)
        h = self.conv1(F.silu(x)) * (1 + scale) + shift
        return x + self.conv2(F.silu(h))  # type: ignore[no-any-return]


class Downsampler(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Latent (B, latent_channels, 2h, 2w) to features (B, symbol_channels, h, w), real, not yet of unit power.

    The first channels are the ones that a lower rate keeps; the network is told the rate, the link drops the rest.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, latent_channels: int = 4, symbol_channels: int = 8, width: int = 48, deep_width: int = 64, depth: int = 2, condition: int = 48
    ) -> None:
        super().__init__()
        self.embedding = ConditionEmbedding(condition)
        self.conv_in = nn.Conv2d(latent_channels, width, 3, padding=1)
        self.block_in = FiLMBlock(width, condition)
        self.shrink = nn.Conv2d(width, deep_width, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(deep_width, condition) for _ in range(depth))
        self.conv_out = nn.Conv2d(deep_width, symbol_channels, 3, padding=1)

    def forward(self, z: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """z as above, snr_db and rate (B,), float."""
        c = self.embedding(snr_db, rate)
        x = self.shrink(self.block_in(self.conv_in(z), c))
        for block in self.blocks:
            x = block(x, c)
        return self.conv_out(F.silu(x))  # type: ignore[no-any-return]


class Upsampler(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Received features (B, symbol_channels, h, w), dropped channels zero, to the Gaussian of x_t: (B, latent_channels, 2h, 2w) each.

    Where noise differs along a sample (fading), a map of it tells how far each element is to be relied on.

    Its last operation is `semdiff.gaussian_upsample`: the draw, the mean and the log-variance in one pass.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, latent_channels: int = 4, symbol_channels: int = 8, width: int = 80, depth: int = 3, condition: int = 48) -> None:
        super().__init__()
        self.embedding = ConditionEmbedding(condition)
        self.conv_in = nn.Conv2d(2 * symbol_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(width, condition) for _ in range(depth))
        self.conv_out = nn.Conv2d(width, 2 * latent_channels * UPSCALE**2, 3, padding=1)

    def forward(
        self, features: Tensor, snr_db: Tensor, rate: Tensor, key: KeyLike = None, noise_map: Tensor | None = None
    ) -> GaussianSample:
        """features as above, snr_db and rate (B,), float; noise_map like features, see `semdiff.link.symbols.Arrived`, None for equal
        noise everywhere; key draws the sample."""
        return gaussian_upsample(self.coarse(features, snr_db, rate, noise_map), UPSCALE, key)

    def coarse(self, features: Tensor, snr_db: Tensor, rate: Tensor, noise_map: Tensor | None = None) -> Tensor:
        """What `gaussian_upsample` takes: everything before the last operation, (B, 2 * latent_channels * UPSCALE^2, h, w)."""
        c = self.embedding(snr_db, rate)
        x = self.conv_in(torch.cat([features, torch.zeros_like(features) if noise_map is None else noise_map], 1))
        for block in self.blocks:
            x = block(x, c)
        return self.conv_out(F.silu(x))  # type: ignore[no-any-return]

# SPDX-License-Identifier: Apache-2.0
"""Define the receiver's networks of a link that works on pixels, with no autoencoder: the variational up-sampler and the denoiser.

The up-sampler gives N(mean, exp(logvar)) for x_t, as in the paper, with the image itself in the place of the latent. Beside it a decoder
that was trained on LPIPS and squared error (`semdiff.models.jscc_layers.JSCCDecoder`) makes a perceptual estimate. The denoiser begins at
that estimate plus fresh noise, taken for the image plus noise (`semdiff.link.pixel_starting_state`). Its inputs are the state, its noise,
the SNR and the rate, and neither of the two estimates: what the first state leaves out it has to draw.

Images are of zero mean and unit variance here (`PixelScale`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.diffusion.vae import GaussianSample, gaussian_upsample
from semdiff.models.blocks import BRANCH_SCALE, UPSCALE, ConditionEmbedding, FiLMBlock
from semdiff.rng import KeyLike


class PixelScale(NamedTuple):
    """Scale a data set's pixels to zero mean and unit variance.

    Attributes:
        mean, std: of the data set's pixels in [0, 1].
    """

    mean: float
    std: float

    def normalize(self, images: Tensor) -> Tensor:
        """Scale images in [0, 1] to unit variance."""
        return (images - self.mean) / self.std

    def images(self, x: Tensor) -> Tensor:
        """Invert `normalize` for x, not clamped to [0, 1]."""
        return x * self.std + self.mean

    def clamp(self, x: Tensor) -> Tensor:
        """Clamp x to the range of images in [0, 1]."""
        return x.clamp(-self.mean / self.std, (1 - self.mean) / self.std)


class SelfAttention(nn.Module):
    """Add to x (B, C, h, w) what each place takes from all others (Vaswani et al., 2017).

    Args:
        width: channels.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.GroupNorm(1, width)
        self.to_qkv = nn.Conv2d(width, 3 * width, 1)
        self.to_out = nn.Conv2d(width, width, 1)
        with torch.no_grad():
            self.to_out.weight.mul_(BRANCH_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the attention to x (B, width, h, w)."""
        b, c, h, w = x.shape
        q, k, v = self.to_qkv(self.norm(x)).reshape(b, 3, self.heads, c // self.heads, h * w).transpose(3, 4).unbind(1)
        y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(b, c, h, w)
        return x + self.to_out(y)  # type: ignore[no-any-return]


class PixelUpsampler(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Received features (B, symbol_channels, h, w) at 1/4 of the resolution to the Gaussian of x_t, (B, channels, 4h, 4w) each.

    Args:
        channels: of the image.
        symbol_channels: features at the full rate; dropped ones are zero.
        deep_width, deep_depth: channels and blocks at the features' resolution.
        width, depth: the same at twice that.
        condition: size of the embedding of SNR and rate.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: int = 1,
        symbol_channels: int = 2,
        deep_width: int = 128,
        deep_depth: int = 4,
        width: int = 64,
        depth: int = 3,
        condition: int = 64,
    ) -> None:
        super().__init__()
        self.embedding = ConditionEmbedding(condition)
        self.conv_in = nn.Conv2d(2 * symbol_channels, deep_width, 3, padding=1)
        self.deep = nn.ModuleList(FiLMBlock(deep_width, condition) for _ in range(deep_depth))
        self.attention = SelfAttention(deep_width)
        self.grow = nn.Conv2d(deep_width, width * UPSCALE**2, 1)
        self.blocks = nn.ModuleList(FiLMBlock(width, condition) for _ in range(depth))
        self.conv_out = nn.Conv2d(width, 2 * channels * UPSCALE**2, 3, padding=1)

    def forward(
        self, features: Tensor, snr_db: Tensor, rate: Tensor, key: KeyLike = None, noise_map: Tensor | None = None
    ) -> GaussianSample:
        """Compute the Gaussian and a draw of it.

        Args:
            features: (B, symbol_channels, h, w); channels that were not sent are zero.
            snr_db: of the features, (B,).
            rate: share of the symbol channels that was sent, (B,).
            key: of the draw.
            noise_map: like features, see `semdiff.transmission.symbols.ReceivedFeatures`; None for equal noise.
        """
        return gaussian_upsample(self.coarse(features, snr_db, rate, noise_map), UPSCALE, key)

    def coarse(self, features: Tensor, snr_db: Tensor, rate: Tensor, noise_map: Tensor | None = None) -> Tensor:
        """Compute all but the last operation: what `gaussian_upsample` takes, (B, 2 * channels * UPSCALE^2, 2h, 2w).

        Args:
            features, snr_db, rate, noise_map: as in `forward`.
        """
        c = self.embedding(snr_db, rate)
        x = self.conv_in(torch.cat([features, torch.zeros_like(features) if noise_map is None else noise_map], 1))
        for block in self.deep:
            x = block(x, c)
        x = F.pixel_shuffle(self.grow(self.attention(x)), UPSCALE)
        for block in self.blocks:
            x = block(x, c)
        return self.conv_out(F.silu(x))  # type: ignore[no-any-return]


class NoiseEmbedding(nn.Module):
    """Embed the noise variance, the SNR and the rate as a vector for FiLM.

    Args:
        width: of the vector.
        frequencies: sinusoids.
    """

    frequencies: Tensor

    def __init__(self, width: int, frequencies: int = 4) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(-1, frequencies - 1), persistent=False)
        self.net = nn.Sequential(nn.Linear(2 * (2 * frequencies + 1) + 1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def forward(self, log_noise_var: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Embed log_noise_var (ln of the noise variance), snr_db and rate, (B,) each, as (B, width)."""
        parts = []
        for value in (log_noise_var / 8, snr_db / 40):
            angles = value[:, None] * self.frequencies
            parts += [value[:, None], angles.sin(), angles.cos()]
        return self.net(torch.cat([*parts, rate[:, None]], 1))  # type: ignore[no-any-return]


class PixelDenoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Denoise x_t (B, channels, H, W), H and W multiples of 4: the output is v, of the same shape.

    It works at 1/2 and 1/4 of the resolution, with attention at 1/4. Its output is zero at first, so that x_0 is then estimated as
    sqrt(alpha_bar) x_t, the best linear estimate of data of unit variance without structure.

    Args:
        channels: of the image.
        width, depth: channels and blocks at 1/2 of the resolution, before and after the deep ones.
        deep_width, deep_depth: the same at 1/4.
        condition: size of the embedding of noise, SNR and rate.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, channels: int = 1, width: int = 64, deep_width: int = 128, depth: int = 2, deep_depth: int = 4, condition: int = 64
    ) -> None:
        super().__init__()
        self.embedding = NoiseEmbedding(condition)
        self.conv_in = nn.Conv2d(4 * channels, width, 3, padding=1)
        self.blocks_in = nn.ModuleList(FiLMBlock(width, condition) for _ in range(depth))
        self.shrink = nn.Conv2d(width, deep_width, 2, stride=2)
        self.deep = nn.ModuleList(FiLMBlock(deep_width, condition) for _ in range(deep_depth))
        self.attention = nn.ModuleList(SelfAttention(deep_width) for _ in range(2))
        self.grow = nn.Conv2d(deep_width, 4 * width, 1)
        self.join = nn.Conv2d(2 * width, width, 1)
        self.blocks_out = nn.ModuleList(FiLMBlock(width, condition) for _ in range(depth))
        self.conv_out = nn.Conv2d(width, 4 * channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(self.conv_out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, log_noise_var: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute v.

        Args:
            x: x_t, (B, channels, H, W).
            log_noise_var: ln((1 - alpha_bar) / alpha_bar), (B,).
            snr_db, rate: of the reception, (B,).
        """
        c = self.embedding(log_noise_var.to(x), snr_db.to(x), rate.to(x))
        x = self.conv_in(F.pixel_unshuffle(x, 2))
        for block in self.blocks_in:
            x = block(x, c)
        deep = self.shrink(x)
        half = len(self.deep) // 2
        for i, block in enumerate(self.deep):
            deep = block(deep, c)
            if i + 1 in (half, len(self.deep)):
                deep = self.attention[int(i + 1 > half)](deep)
        x = self.join(torch.cat([x, F.pixel_shuffle(self.grow(deep), 2)], 1))
        for block in self.blocks_out:
            x = block(x, c)
        return F.pixel_shuffle(self.conv_out(F.silu(x)), 2)

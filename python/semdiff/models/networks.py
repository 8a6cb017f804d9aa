# SPDX-License-Identifier: Apache-2.0
"""The learned pair around the channel: a Downsampler before it, a variational Upsampler after it, both told the SNR and the rate.

Both see log-SNR through sinusoids and a small network whose output scales and shifts every block's features (FiLM, Perez et al., 2018). No
batch statistics anywhere, so a result never depends on its batch mates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.autoencoders.vae import DecoderTiny
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.diffusion.vae import GaussianSample, gaussian_upsample
from semdiff.models.blocks import UPSCALE, ConditionEmbedding, FiLMBlock, SteeredMap, TimeEmbedding, zero_parameters
from semdiff.rng import KeyLike


class Downsampler(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Latent (B, latent_channels, 2h, 2w) to features (B, symbol_channels, h, w), real, not yet of unit power.

    The first channels are the ones that a lower rate keeps; the network is told the rate, the link drops the rest. linear: with a
    `SteeredMap` beside the blocks.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 4,
        symbol_channels: int = 8,
        width: int = 48,
        deep_width: int = 64,
        depth: int = 2,
        condition: int = 48,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = ConditionEmbedding(condition)
        self.conv_in = nn.Conv2d(latent_channels, width, 3, padding=1)
        self.block_in = FiLMBlock(width, condition)
        self.shrink = nn.Conv2d(width, deep_width, 4, stride=2, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(deep_width, condition) for _ in range(depth))
        self.conv_out = nn.Conv2d(deep_width, symbol_channels, 3, padding=1)
        straight = nn.Conv2d(latent_channels, symbol_channels, UPSCALE, stride=UPSCALE, bias=False)
        self.straight = SteeredMap(straight, condition) if linear else None

    @torch.no_grad()
    def level_db(self, z: Tensor, rate: Tensor) -> Tensor:
        """The power of what the linear map would send of each latent, in dB, (B,); 0 without such a map. A picture is of unit power on the
        air, so what it is heard at, in units of its features, is the channel's SNR less this: a smooth one comes through better."""
        if self.straight is None:
            return torch.zeros_like(rate)
        power = self.straight.map(z).float().square().mean((2, 3))
        kept = torch.arange(power.shape[1], device=z.device) < (rate * power.shape[1]).round()[:, None]
        mean: Tensor = (power * kept).sum(1) / kept.sum(1)
        return 10 * mean.clamp_min(1e-6).log10()

    def forward(self, z: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """z as above, snr_db (less `level_db`) and rate (B,), float."""
        c = self.embedding(snr_db, rate)
        x = self.shrink(self.block_in(self.conv_in(z), c))
        for block in self.blocks:
            x = block(x, c)
        out = self.conv_out(F.silu(x))
        return out if self.straight is None else out + self.straight(z, c)  # type: ignore[no-any-return]


class Upsampler(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Received features (B, symbol_channels, h, w), dropped channels zero, to the Gaussian of x_t: (B, latent_channels, 2h, 2w) each.

    Where noise differs along a sample (fading), a map of it tells how far each element is to be relied on.

    Its last operation is `semdiff.gaussian_upsample`: the draw, the mean and the log-variance in one pass. linear: with a `SteeredMap` to
    the mean beside the blocks.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 4,
        symbol_channels: int = 8,
        width: int = 80,
        depth: int = 3,
        condition: int = 48,
        linear: bool = False,
    ) -> None:
        super().__init__()
        self.embedding = ConditionEmbedding(condition)
        self.conv_in = nn.Conv2d(2 * symbol_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(width, condition) for _ in range(depth))
        means = latent_channels * UPSCALE**2
        self.conv_out = nn.Conv2d(width, 2 * means, 3, padding=1)
        self.straight = SteeredMap(nn.Conv2d(symbol_channels, means, 1, bias=False), condition) if linear else None

    def forward(
        self, features: Tensor, snr_db: Tensor, rate: Tensor, key: KeyLike = None, noise_map: Tensor | None = None
    ) -> GaussianSample:
        """features as above, snr_db and rate (B,), float; noise_map like features, see `ReceivedFeatures`, None for equal noise; key
        draws the sample."""
        return gaussian_upsample(self.coarse(features, snr_db, rate, noise_map), UPSCALE, key)

    def coarse(self, features: Tensor, snr_db: Tensor, rate: Tensor, noise_map: Tensor | None = None) -> Tensor:
        """What `gaussian_upsample` takes: everything before the last operation, (B, 2 * latent_channels * UPSCALE^2, h, w)."""
        c = self.embedding(snr_db, rate)
        x = self.conv_in(torch.cat([features, torch.zeros_like(features) if noise_map is None else noise_map], 1))
        for block in self.blocks:
            x = block(x, c)
        out = self.conv_out(F.silu(x))
        if self.straight is None:
            return out  # type: ignore[no-any-return]
        mean = self.straight(features, c)
        return torch.cat([out[:, : mean.shape[1]] + mean, out[:, mean.shape[1] :]], 1)


class Denoiser(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """x_t (B, latent_channels, h, w), h and w even, to the network's output of that shape, at two resolutions and without any norm, so that
    a part of a picture is denoised alike wherever it lies. hints: channels of what the receiver knows besides x_t; 0 for a plain prior."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, latent_channels: int = 24, hints: int = 0, width: int = 128, deep_width: int = 160, depth: int = 2, deep_depth: int = 2
    ) -> None:
        super().__init__()
        condition = 64
        self.embedding = TimeEmbedding(condition)
        self.conv_in = nn.Conv2d(latent_channels + hints, width, 3, padding=1)
        self.blocks_in = nn.ModuleList(FiLMBlock(width, condition) for _ in range(depth))
        self.shrink = nn.Conv2d(width, deep_width, 2, stride=2)
        self.deep = nn.ModuleList(FiLMBlock(deep_width, condition) for _ in range(deep_depth))
        self.grow = nn.Conv2d(deep_width, 4 * width, 1)
        self.blocks_out = nn.ModuleList(FiLMBlock(width, condition) for _ in range(depth))
        self.conv_out = nn.Conv2d(width, latent_channels, 3, padding=1)

    def forward(self, x: Tensor, t: Tensor, hints: Tensor | None = None) -> UNet2DOutput:
        """t (B,), float; hints (B, hints, h, w)."""
        c = self.embedding(t.to(x))
        x = self.conv_in(x if hints is None else torch.cat([x, hints], 1))
        for block in self.blocks_in:
            x = block(x, c)
        deep = self.shrink(x)
        for block in self.deep:
            deep = block(deep, c)
        x = x + F.pixel_shuffle(self.grow(deep), 2)
        for block in self.blocks_out:
            x = block(x, c)
        return UNet2DOutput(sample=self.conv_out(F.silu(x)))


def _level(log_error: Tensor) -> Tensor:
    """What FiLM is told of the error: its average."""
    level = log_error.flatten(1).mean(1, keepdim=True)
    return torch.cat([level, level.exp()], 1)


def _through(blocks: nn.ModuleList, x: Tensor, condition: Tensor) -> Tensor:
    for block in blocks:
        x = block(x, condition)
    return x


class _Decoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """What both decoders of blocks have: features from FiLM blocks that are told the level of the error, none of them above what training
    met (`semdiff.training.ceilings`). Without that a cell in a thousand pictures had features twenty times as large, and burst."""

    ceiling: Tensor
    blocks: nn.ModuleList

    def _features(self, x: Tensor, condition: Tensor) -> Tensor:
        x = F.silu(_through(self.blocks, x, condition))
        return x if self.training else torch.minimum(x, self.ceiling.to(x)[:, None, None])


UNBOUNDED = 1e4  # a ceiling before any was found; half precision holds it


class Finish(nn.Module):
    """Blocks of pixels (B, colours * block^2, h, w), gone over at half the picture's resolution by convolutions that see over their edges.

    A decoder that makes blocks shows their grain where it is unsure. Adds nothing, before it is trained. features: the decoder's own,
    (B, coarse, h, w). While nothing is trained, bands of rows go through one after the other, so that a large picture needs little
    memory; each is given as many rows more as the convolutions reach, so the result is that of the whole.
    """

    FEATURES, BAND = 4, 32  # channels at half the resolution; rows of blocks

    def __init__(self, coarse: int, channels: int, width: int, depth: int, colours: int = 3) -> None:
        super().__init__()
        self.block = math.isqrt(channels // colours)
        self.narrow = nn.Conv2d(coarse, self.FEATURES * (self.block // 2) ** 2, 1)
        self.conv_in = nn.Conv2d(4 * colours + self.FEATURES, width, 3, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(width, 2) for _ in range(depth))
        self.conv_out = nn.Conv2d(width, 4 * colours, 3, padding=1)
        self.reach = -(-2 * (2 + 2 * depth) // self.block)  # in blocks
        zero_parameters(self.conv_out)

    def forward(self, blocks: Tensor, features: Tensor, condition: Tensor) -> Tensor:
        rows = blocks.shape[2]
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or rows <= self.BAND:
            return self._finished(blocks, features, condition)
        out = torch.empty_like(blocks)
        for first in range(0, rows, self.BAND):
            last, above = min(first + self.BAND, rows), max(first - self.reach, 0)
            seen = slice(above, min(last + self.reach, rows))
            band = self._finished(blocks[:, :, seen], features[:, :, seen], condition)
            out[:, :, first:last] = band[:, :, first - above : last - above]
        return out

    def _finished(self, blocks: Tensor, features: Tensor, condition: Tensor) -> Tensor:
        half = F.pixel_unshuffle(F.pixel_shuffle(blocks, self.block), 2)
        x = self.conv_in(torch.cat([half, F.pixel_shuffle(self.narrow(features), self.block // 2)], 1))
        more = self.conv_out(F.silu(_through(self.blocks, x, condition)))
        return blocks + F.pixel_unshuffle(F.pixel_shuffle(more, 2), self.block)


class MeanDecoder(_Decoder):
    """The estimate of z and the logarithm of its error variance, (B, latent_channels, h, w) each, to blocks of pixels in [-1, 1]: the
    picture of least squared error. A decoder trained for how pictures look cannot be that too. linear: with a linear map of the estimate
    beside the blocks, each element of it scaled as they say: where a picture is smooth, noise is let through less. finish: the width and
    depth of a `Finish` behind it all, or none."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 24,
        out_channels: int = 192,
        width: int = 128,
        depth: int = 4,
        linear: bool = False,
        finish: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(2 * latent_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(width, 2) for _ in range(depth))
        self.conv_out = nn.Conv2d(width, out_channels, 3, padding=1)
        self.straight = nn.Conv2d(latent_channels, out_channels, 1) if linear else None
        self.gate = nn.Conv2d(width, latent_channels, 1) if linear else None
        self.finishing = Finish(width, out_channels, *finish) if finish else None
        self.register_buffer("ceiling", torch.full((width,), UNBOUNDED))
        if self.gate is not None:
            zero_parameters(self.gate)

    def forward(self, z: Tensor, log_error: Tensor) -> Tensor:
        condition = _level(log_error)
        x = self._features(self.conv_in(torch.cat([z, log_error], 1)), condition)
        out: Tensor = self.conv_out(x)
        if self.straight is not None and self.gate is not None:
            out = out + self.straight(z * (1 + self.gate(x)))
        return out if self.finishing is None else self.finishing(out, x, condition)


class DetailDecoder(_Decoder):
    """The detail that the mean decoder's picture lacks: sampled latents, the estimate of z and the logarithm of its error variance,
    (B, latent_channels, h, w) each, and the `MeanDecoder`'s blocks, to blocks of a picture with it; untrained it
    gives the mean decoder's blocks. finish: as there."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 24,
        out_channels: int = 192,
        width: int = 96,
        depth: int = 3,
        finish: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3 * latent_channels, width, 3, padding=1)
        self.blocks = nn.ModuleList(FiLMBlock(width, 2) for _ in range(depth))
        self.conv_out = nn.Conv2d(width, out_channels, 3, padding=1)
        self.finishing = Finish(width, out_channels, *finish) if finish else None
        self.register_buffer("ceiling", torch.full((width,), UNBOUNDED))
        zero_parameters(self.conv_out)

    def forward(self, z: Tensor, guess: Tensor, log_error: Tensor, mean: Tensor) -> Tensor:
        condition = _level(log_error)
        x = self._features(self.conv_in(torch.cat([z - guess, guess, log_error], 1)), condition)
        out = mean + self.conv_out(x)
        return out if self.finishing is None else self.finishing(out, x, condition)  # type: ignore[no-any-return]


class SampleDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Sampled latents (B, latent_channels, h, w) to blocks of pixels in [-1, 1], of the autoencoder's decoder's shape: a copy of it that
    goes on learning how samples should look, while that of the mean keeps its squared error."""

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, latent_channels: int = 4, out_channels: int = 16, width: int = 56, depth: int = 3) -> None:
        super().__init__()
        self.decoder = DecoderTiny(latent_channels, out_channels, (depth,), (width,), 2, "silu", "nearest")

    def forward(self, z: Tensor) -> Tensor:
        return self.decoder(z)  # type: ignore[no-any-return]


class Prompt(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """One text embedding, (1, tokens, width), for every sample of a batch: what a conditional denoiser is told."""

    embeds: Tensor

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, tokens: int = 77, width: int = 768) -> None:
        super().__init__()
        self.register_buffer("embeds", torch.zeros(1, tokens, width))

    @classmethod
    def of(cls, embeds: Tensor) -> Prompt:
        """ValueError unless embeds is floating-point (1, tokens, width)."""
        if embeds.dim() != 3 or embeds.shape[0] != 1 or not embeds.is_floating_point():
            raise ValueError(f"prompt_embeds: expected a float tensor (1, tokens, width), got {embeds.dtype} {tuple(embeds.shape)}")
        prompt: Prompt = cls(embeds.shape[1], embeds.shape[2])
        prompt.embeds.copy_(embeds)
        return prompt

    def forward(self, batch: int) -> Tensor:
        return self.embeds.expand(batch, -1, -1)

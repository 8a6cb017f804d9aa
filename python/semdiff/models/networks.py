# SPDX-License-Identifier: Apache-2.0
"""Define the networks of a link on latents: a Downsampler before the channel, a variational Upsampler after it, denoiser and decoders.

They are told the SNR and the rate by FiLM (`semdiff.models.blocks`). There are no batch statistics anywhere, so a result never depends on
the other images of a batch.
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
    """Convert latents (B, latent_channels, 2h, 2w) to features (B, symbol_channels, h, w), real, not yet of unit power.

    The first channels are the ones that a lower rate keeps; the network is told the rate, and the link drops the rest.

    Args:
        latent_channels, symbol_channels: channels in and out.
        width, deep_width: channels of the blocks at the latents' resolution and at half of it.
        depth: blocks at half the resolution.
        condition: size of the embedding of SNR and rate.
        linear: whether a `SteeredMap` is added beside the blocks.
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
        """Compute the power in dB of what the linear map would send of each latent, (B,); 0 without such a map.

        Symbols are of unit power, so the SNR of a picture's features is the channel's less this level: that of a smooth picture is higher.

        Args:
            z: latents (B, C, 2h, 2w).
            rate: share of the symbol channels to be sent, (B,).
        """
        if self.straight is None:
            return torch.zeros_like(rate)
        power = self.straight.map(z).float().square().mean((2, 3))
        kept = torch.arange(power.shape[1], device=z.device) < (rate * power.shape[1]).round()[:, None]
        mean: Tensor = (power * kept).sum(1) / kept.sum(1)
        return 10 * mean.clamp_min(1e-6).log10()

    def forward(self, z: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute features of latents z; snr_db (less `level_db`) and rate: float (B,)."""
        c = self.embedding(snr_db, rate)
        x = self.shrink(self.block_in(self.conv_in(z), c))
        for block in self.blocks:
            x = block(x, c)
        out = self.conv_out(F.silu(x))
        return out if self.straight is None else out + self.straight(z, c)  # type: ignore[no-any-return]


class Upsampler(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Convert received features (B, symbol_channels, h, w) to the Gaussian of x_t, (B, latent_channels, 2h, 2w) each.

    Where noise differs along a sample (fading), a map of it tells how reliable each element is. The last operation is
    `semdiff.gaussian_upsample`: the draw, the mean and the log-variance in one pass.

    Args:
        latent_channels, symbol_channels: channels out and in.
        width, depth: channels and number of the blocks.
        condition: size of the embedding of SNR and rate.
        linear: whether a `SteeredMap` to the mean is added beside the blocks.
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
        """Compute the Gaussian and a draw of it.

        Args:
            features: (B, symbol_channels, h, w); channels that were not sent are zero.
            snr_db: of the features, (B,).
            rate: share of the symbol channels that was sent, (B,).
            key: of the draw.
            noise_map: like features, see `ReceivedFeatures`; None for equal noise.
        """
        return gaussian_upsample(self.coarse(features, snr_db, rate, noise_map), UPSCALE, key)

    def coarse(self, features: Tensor, snr_db: Tensor, rate: Tensor, noise_map: Tensor | None = None) -> Tensor:
        """Compute all but the last operation: what `gaussian_upsample` takes, (B, 2 * latent_channels * UPSCALE^2, h, w).

        Args:
            features, snr_db, rate, noise_map: as in `forward`.
        """
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
    """Denoise x_t (B, latent_channels, h, w), h and w even, at two resolutions and without any norm over the picture.

    Without a norm a part of a picture is denoised alike wherever it lies.

    Args:
        latent_channels: channels in and out.
        hints: channels of what the receiver knows besides x_t; 0 for a plain prior.
        width, depth: channels and blocks at the full resolution, before and after the deep ones.
        deep_width, deep_depth: the same at half of it.
    """

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
        """Compute the output for x (B, latent_channels, h, w) at times t (B,); hints: (B, hints, h, w)."""
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
    """Compute the condition that FiLM gets of the error: its average, and e to that."""
    level = log_error.flatten(1).mean(1, keepdim=True)
    return torch.cat([level, level.exp()], 1)


def _through(blocks: nn.ModuleList, x: Tensor, condition: Tensor) -> Tensor:
    for block in blocks:
        x = block(x, condition)
    return x


class _Decoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Compute features for both decoders of blocks, by FiLM blocks that get the level of the error.

    No feature exceeds what training met (`semdiff.training.ceilings`): else one cell in a thousand pictures has features twenty times as
    large, and bursts into colours.
    """

    ceiling: Tensor
    blocks: nn.ModuleList

    def _features(self, x: Tensor, condition: Tensor) -> Tensor:
        x = F.silu(_through(self.blocks, x, condition))
        return x if self.training else torch.minimum(x, self.ceiling.to(x)[:, None, None])


UNBOUNDED = 1e4  # a ceiling before any was found; half precision holds it


class Finish(nn.Module):
    """Refine decoded blocks of pixels at half the picture's resolution, by convolutions that see over the blocks' edges.

    A decoder that makes blocks shows their edges where it is unsure. Untrained this adds nothing. Without gradients, bands of rows are
    computed one after the other, so that a large picture needs little memory; each band has as many more rows as the convolutions reach, so
    the result is that of the whole.

    Args:
        coarse: channels of the decoder's features.
        channels: of the blocks, colours * block^2.
        width, depth: channels and number of the blocks at half the resolution.
        colours: channels of the picture.
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
        """Refine blocks (B, channels, h, w), given the decoder's features (B, coarse, h, w) and condition (B, 2)."""
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
    """Decode an estimate of z as the picture of least squared error. A decoder trained for how pictures look cannot be that too.

    Args:
        latent_channels, out_channels: channels of the latents, and of the blocks of pixels.
        width, depth: channels and number of the blocks.
        linear: whether a linear map of the estimate is added, each element scaled by the blocks: in smooth pictures less noise passes.
        finish: width and depth of a `Finish` after it, or nothing.
    """

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
        """Decode an estimate z and ln of its error variance log_error, (B, latent_channels, h, w) each, as blocks of pixels in [-1, 1]."""
        condition = _level(log_error)
        x = self._features(self.conv_in(torch.cat([z, log_error], 1)), condition)
        out: Tensor = self.conv_out(x)
        if self.straight is not None and self.gate is not None:
            out = out + self.straight(z * (1 + self.gate(x)))
        return out if self.finishing is None else self.finishing(out, x, condition)


class DetailDecoder(_Decoder):
    """Add the details that the mean decoder's picture lacks. Untrained it gives the mean decoder's blocks.

    Args:
        latent_channels, out_channels: channels of the latents, and of the blocks of pixels.
        width, depth: channels and number of the blocks.
        finish: width and depth of a `Finish` after it, or nothing.
    """

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
        """Decode blocks of pixels in [-1, 1].

        Args:
            z: sampled latents, (B, latent_channels, h, w).
            guess, log_error: the estimate of z and ln of its error variance, of that shape.
            mean: the `MeanDecoder`'s blocks, (B, out_channels, h, w).
        """
        condition = _level(log_error)
        x = self._features(self.conv_in(torch.cat([z - guess, guess, log_error], 1)), condition)
        out = mean + self.conv_out(x)
        return out if self.finishing is None else self.finishing(out, x, condition)  # type: ignore[no-any-return]


class SampleDecoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Decode sampled latents as blocks of pixels in [-1, 1], by a copy of the autoencoder's decoder.

    The copy is trained further on how samples should look, while the decoder of the mean keeps its squared error.

    Args:
        latent_channels, out_channels: channels of the latents, and of the blocks of pixels.
        width, depth: of `DecoderTiny`.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, latent_channels: int = 4, out_channels: int = 16, width: int = 56, depth: int = 3) -> None:
        super().__init__()
        self.decoder = DecoderTiny(latent_channels, out_channels, (depth,), (width,), 2, "silu", "nearest")

    def forward(self, z: Tensor) -> Tensor:
        """Decode z (B, latent_channels, h, w)."""
        return self.decoder(z)  # type: ignore[no-any-return]


class Prompt(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Hold one text embedding for every sample of a batch, for a conditional denoiser.

    Args:
        tokens, width: of the embedding (1, tokens, width).
    """

    embeds: Tensor

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(self, tokens: int = 77, width: int = 768) -> None:
        super().__init__()
        self.register_buffer("embeds", torch.zeros(1, tokens, width))

    @classmethod
    def of(cls, embeds: Tensor) -> Prompt:
        """Make a prompt of an embedding.

        Args:
            embeds: floating-point (1, tokens, width).

        Raises:
            ValueError: for anything else.
        """
        if embeds.dim() != 3 or embeds.shape[0] != 1 or not embeds.is_floating_point():
            raise ValueError(f"prompt_embeds: expected a float tensor (1, tokens, width), got {embeds.dtype} {tuple(embeds.shape)}")
        prompt: Prompt = cls(embeds.shape[1], embeds.shape[2])
        prompt.embeds.copy_(embeds)
        return prompt

    def forward(self, batch: int) -> Tensor:
        """Return the embedding for so many samples: (batch, tokens, width)."""
        return self.embeds.expand(batch, -1, -1)

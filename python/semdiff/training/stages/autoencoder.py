# SPDX-License-Identifier: Apache-2.0
"""Train an autoencoder whose latents have zero mean and unit variance in each channel: stage 1 of the recipes.

Noise on the latents in training makes the decoder smooth in them: an error that a channel or a denoiser leaves then changes the picture
little. For photographs LPIPS (AlexNet) stands beside the squared error, and the encoder is finished: this decoder is the one that samples
go through.
"""

from __future__ import annotations

from typing import Literal

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from semdiff.metrics import lpips
from semdiff.models.pixel_blocks import Border, from_blocks, to_blocks
from semdiff.rng import Key, normal
from semdiff.training.engine import Stage

EncoderKind = Literal["trained", "frozen"]


class AutoencoderStage(Stage):
    """Train by the squared error of the blocks in [-1, 1], plus `perceptual` times LPIPS.

    Args:
        vae: the autoencoder.
        noise: standard deviation of the noise on the latents.
        block, border: see `semdiff.models.pixel_blocks`.
        perceptual: weight of LPIPS.
        encoder: whether it is trained; a frozen one has latents of about unit variance already.
    """

    mean: Tensor
    var: Tensor

    def __init__(
        self,
        vae: AutoencoderTiny,
        noise: float = 0.15,
        block: int = 4,
        border: Border = "black",
        perceptual: float = 0.0,
        encoder: EncoderKind = "trained",
    ) -> None:
        super().__init__()
        self.vae, self.noise, self.block, self.border, self.perceptual = vae, noise, block, border, perceptual
        self.encoding = encoder == "trained"
        self.frozen = () if self.encoding else ("vae.encoder",)
        self.register_buffer("mean", torch.zeros(vae.config.latent_channels))
        self.register_buffer("var", torch.ones(vae.config.latent_channels))

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the losses of images (B, C, H, W) in [0, 1]; key draws the noise."""
        x = to_blocks(images, self.block, self.border)
        z = self.vae.encode(x).latents.to(x)
        if self.encoding:
            mean, var = z.mean((0, 2, 3)), z.var((0, 2, 3))
            with torch.no_grad():
                self.mean.lerp_(mean, 0.05)
                self.var.lerp_(var, 0.05)
            z = (z - mean[:, None, None]) / (var[:, None, None] + 1e-6).sqrt()
        z = z + self.noise * normal(z.shape, key, device=z.device)
        decoded = self.vae.decode(z).sample.to(x)
        error = F.mse_loss(decoded, x)
        if not self.perceptual:
            return {"loss": error}
        seen = lpips(from_blocks(decoded, images.shape[2], images.shape[3], self.block).clamp(0, 1), images).mean()
        return {"loss": error + self.perceptual * seen, "mse": error, "lpips": seen}

    @torch.no_grad()
    def reconstruct(self, images: Tensor) -> Tensor:
        """Encode and decode images without noise, by the latents' running mean and variance.

        Args:
            images: (B, C, H, W) in [0, 1].

        Returns:
            (B, C, H, W) in [0, 1].
        """
        z = self.vae.encode(to_blocks(images, self.block, self.border)).latents
        z = (z - self.mean[:, None, None]) / (self.var[:, None, None] + 1e-6).sqrt()
        return from_blocks(self.vae.decode(z).sample, images.shape[2], images.shape[3], self.block).clamp(0, 1)


@torch.no_grad()
def fold_statistics(vae: AutoencoderTiny, images: Tensor, batch: int = 1000, block: int = 4, border: Border = "black") -> None:
    """Change the encoder's last convolution so that latents have mean 0 and variance 1 in each channel.

    Args:
        vae: the autoencoder.
        images: whose latents these are, (N, C, H, W) in [0, 1].
        batch: images at a time.
        block, border: see `semdiff.models.pixel_blocks`.
    """
    last = vae.encoder.layers[-1]
    z = encode_in_batches(vae, images, batch, block, border)
    mean, std = z.double().mean((0, 2, 3)), z.double().std((0, 2, 3))
    last.weight.div_(std.to(last.weight)[:, None, None, None])
    last.bias.sub_(mean.to(last.bias)).div_(std.to(last.bias))


@torch.no_grad()
def encode_in_batches(vae: AutoencoderTiny, images: Tensor, batch: int = 1000, block: int = 4, border: Border = "black") -> Tensor:
    """Encode images a batch at a time.

    Args:
        vae: the autoencoder.
        images: (N, C, H, W) in [0, 1].
        batch: images at a time.
        block, border: see `semdiff.models.pixel_blocks`.

    Returns:
        Latents (N, C, h, w).
    """
    return torch.cat([vae.encode(to_blocks(part, block, border)).latents for part in images.split(batch)])

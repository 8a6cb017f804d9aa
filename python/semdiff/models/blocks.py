# SPDX-License-Identifier: Apache-2.0
"""Build networks from blocks that are conditioned on SNR, rate and time by FiLM (Perez et al., 2018), without batch statistics."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

UPSCALE = 2  # a latent's side over its features'
BRANCH_SCALE = 0.2  # of a residual branch's last weights at first. Chosen by hand: without a norm, depth then does no harm


class _Embedding(nn.Module):
    """A number (B,) through sinusoids (Vaswani et al., 2017), and `others` as they are, to a vector (B, width) for FiLM."""

    frequencies: Tensor

    def __init__(self, width: int, frequencies: int, others: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", math.pi * 2.0 ** torch.arange(-1, frequencies - 1), persistent=False)
        self.net = nn.Sequential(nn.Linear(2 * frequencies + 1 + others, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())

    def embed(self, place: Tensor, *others: Tensor) -> Tensor:
        place = place.unsqueeze(1)
        angles = place * self.frequencies
        return self.net(torch.cat([place, angles.sin(), angles.cos(), *(o.unsqueeze(1) for o in others)], 1))  # type: ignore[no-any-return]


class ConditionEmbedding(_Embedding):
    """Embed SNR and rate as a vector for FiLM.

    Args:
        width: of the vector.
        frequencies: sinusoids.
    """

    def __init__(self, width: int, frequencies: int = 4) -> None:
        super().__init__(width, frequencies, 1)

    def forward(self, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Embed snr_db (B,) and rate (B,), the share of the symbol channels in use, as (B, width)."""
        # 40 dB is half a turn of the slowest sinusoid: one value, one code, over every SNR that a link meets.
        return self.embed(snr_db / 40, rate)


class TimeEmbedding(_Embedding):
    """Embed diffusion times as a vector for FiLM.

    Args:
        width: of the vector.
        frequencies: sinusoids.
        T: steps of the schedule.
    """

    def __init__(self, width: int, frequencies: int = 8, T: float = 1000.0) -> None:
        super().__init__(width, frequencies, 0)
        self.T = T

    def forward(self, t: Tensor) -> Tensor:
        """Embed times t (B,) as (B, width)."""
        return self.embed(t / self.T)


class FiLMBlock(nn.Module):
    """Compute x + conv(silu(film(conv(silu(x))))).

    Args:
        width: channels.
        condition: size of the embedding that scales and shifts them.
    """

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.film = nn.Linear(condition, 2 * width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.conv2.weight.mul_(BRANCH_SCALE)
            self.film.weight.mul_(BRANCH_SCALE)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Apply the block to x (B, width, h, w); condition (B, C) is the embedding."""
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, 1)
        h = self.conv1(F.silu(x)) * (1 + scale) + shift
        return x + self.conv2(F.silu(h))  # type: ignore[no-any-return]


def zero_parameters(layer: nn.Module) -> None:
    """Set all parameters of a layer to zero."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class SteeredMap(nn.Module):
    """Apply a linear map whose outputs are scaled by SNR and rate: what a training may begin with (`semdiff.training.linear`).

    Args:
        map: the convolution without a bias.
        condition: size of the embedding, or of whatever says SNR and rate; None where they are not told, and nothing is scaled.
    """

    def __init__(self, map: nn.Conv2d, condition: int | None) -> None:
        super().__init__()
        self.map = map
        self.gain = None if condition is None else nn.Linear(condition, map.out_channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Apply the map to x (B, C, h, w); condition (B, n) is the embedding."""
        y: Tensor = self.map(x)
        return y if self.gain is None else y * (1 + self.gain(condition))[:, :, None, None]

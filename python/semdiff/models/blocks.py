# SPDX-License-Identifier: Apache-2.0
"""Build networks from blocks that are told SNR, rate and time, by FiLM (Perez et al., 2018), without any norm over a batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

UPSCALE = 2  # a latent's side over its features'


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
    """snr_db (B,) and rate (B,), the share of the symbol channels in use, to a vector (B, width) for FiLM."""

    def __init__(self, width: int, frequencies: int = 4) -> None:
        super().__init__(width, frequencies, 1)

    def forward(self, snr_db: Tensor, rate: Tensor) -> Tensor:
        # 40 dB is half a turn of the slowest sinusoid: one value, one code, over every SNR that a link meets.
        return self.embed(snr_db / 40, rate)


class TimeEmbedding(_Embedding):
    """Diffusion times t (B,) of T to a vector (B, width) for FiLM."""

    def __init__(self, width: int, frequencies: int = 8, T: float = 1000.0) -> None:
        super().__init__(width, frequencies, 0)
        self.T = T

    def forward(self, t: Tensor) -> Tensor:
        return self.embed(t / self.T)


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


def zero_parameters(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class SteeredMap(nn.Module):
    """A linear map whose outputs are each scaled as SNR and rate ask: what a training may begin with (`semdiff.training.linear`)."""

    def __init__(self, map: nn.Conv2d, condition: int) -> None:
        super().__init__()
        self.map = map
        self.gain = nn.Linear(condition, map.out_channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.map(x) * (1 + self.gain(condition))[:, :, None, None]  # type: ignore[no-any-return]

# SPDX-License-Identifier: Apache-2.0
"""Between the networks' real features and the air's complex symbols."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff.channel import Received, normalize_power, pack, unpack
from semdiff.equalizer import Equalized, equalize


def features_to_symbols(features: Tensor, channels: int) -> Tensor:
    """The first `channels` of (B, C, h, w), as complex symbols (B, ceil(channels h w / 2)) of unit average power in each sample."""
    return normalize_power(pack(features[:, :channels].contiguous()))[0]


def symbols_to_features(symbols: Tensor, channels: int, shape: tuple[int, int, int]) -> Tensor:
    """Complex (B, uses) to real features (B, *shape), where all but the first `channels` are zero."""
    kept = unpack(symbols, (symbols.shape[0], channels, *shape[1:]))
    return F.pad(kept, (0, 0, 0, 0, 0, shape[0] - channels))


def flatten_fading(received: Received) -> tuple[Tensor, Tensor]:
    """Symbols with the channel's gain undone, complex like y, and one noise variance for each sample, float64 (B,).

    With one gain for a whole sample this is exact. With a gain for each symbol the MMSE equaliser's average gain 1 - m is undone and the
    rest counted as noise of variance m / (1 - m) (the second-order match), so an average stands in for what differs along the sample.
    """
    x, _, gain = equalized = equalize(received, "mmse")
    batch = received.y.shape[0]
    average = _per_sample(gain, batch)
    if gain.numel() == batch:
        return x / gain.to(x.real.dtype).reshape(batch, *(1,) * (x.dim() - 1)), _per_sample(_unbiased(equalized), batch)
    return x / average.to(x.real.dtype).reshape(batch, *(1,) * (x.dim() - 1)), (1 - average) / average


def _unbiased(equalized: Equalized) -> Tensor:
    return equalized.noise_var / equalized.gain.square()


def _per_sample(values: Tensor, batch: int) -> Tensor:
    return torch.broadcast_to(values, (batch, *values.shape[1:])).reshape(batch, -1).mean(1, dtype=torch.float64)

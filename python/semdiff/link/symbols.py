# SPDX-License-Identifier: Apache-2.0
"""Between the networks' real features and the air's complex symbols."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff.channel import Received, normalize_power, pack, unpack
from semdiff.equalizer import equalize


def features_to_symbols(features: Tensor, channels: int) -> Tensor:
    """The first `channels` of (B, C, h, w), as complex symbols (B, ceil(channels h w / 2)) of unit average power in each sample."""
    return normalize_power(pack(features[:, :channels].contiguous()))[0]


class Arrived(NamedTuple):
    """What the up-sampler is given."""

    features: Tensor  # (B, C, h, w), real; dropped channels are zero
    noise_var: Tensor  # (B,), float64: of a sample's real elements, taken together
    noise_map: Tensor  # (B, C, h, w): ln of each element's own noise variance over its sample's; zero where all are equal


# Beyond e^6 (26 dB) over or under the average an element says nothing, or all there is to say.
LARGEST_LOG_RATIO = 6.0


def arrive(received: Received, channels: int, shape: tuple[int, int, int]) -> Arrived:
    """Received symbols to features of `shape` (C, h, w), all but the first `channels` of them zero, with the channel's gain undone.

    With one gain for a whole sample this is exact. With a gain for each symbol the MMSE equaliser's average gain 1 - m is undone and the
    rest counted as noise of variance m / (1 - m) (the second-order match); the map tells which elements are better and worse than that.
    """
    uses = -(-channels * shape[1] * shape[2] // 2)
    x, noise_var, gain = (v[:, :uses] if v.shape[1] > 1 else v for v in equalize(received, "mmse"))  # without a MIMO channel's padding
    batch = x.shape[0]
    average = torch.broadcast_to(gain, (batch, gain.shape[1])).mean(1, dtype=torch.float64)
    together = (1 - average) / average
    ratio = (noise_var / gain.square().clamp_min(1e-30) / together[:, None]).log().clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    features = _to_features(x / average.to(x.real.dtype)[:, None], channels, shape)
    # Both reals of a symbol have its noise; pack halves a power that is not wanted here.
    ratio = torch.broadcast_to(ratio, x.shape).to(features.dtype)
    return Arrived(features, together, _to_features(torch.complex(ratio, ratio) / math.sqrt(2), channels, shape))


def _to_features(symbols: Tensor, channels: int, shape: tuple[int, int, int]) -> Tensor:
    """Complex (B, uses) to real (B, *shape), where all but the first `channels` are zero."""
    kept = unpack(symbols, (symbols.shape[0], channels, *shape[1:]))
    return F.pad(kept, (0, 0, 0, 0, 0, shape[0] - channels))

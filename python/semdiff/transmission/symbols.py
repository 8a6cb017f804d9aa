# SPDX-License-Identifier: Apache-2.0
"""Between the networks' real features and the air's complex symbols."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff.phy.channel import Received, normalize_power, pack, unpack, unpack_per_symbol
from semdiff.phy.equalizer import equalize
from semdiff.transmission.header import USES, scale_to_symbols, symbols_to_scale
from semdiff.transmission.layout import Layout


def features_to_symbols(features: Tensor, channels: int, header: bool = False) -> Tensor:
    """The first `channels` of (B, C, h, w), as complex symbols (B, ceil(channels h w / 2)) of unit average power in each sample.

    header: ahead of them what the features were divided by, see `semdiff.transmission.header`.
    """
    symbols, scale = normalize_power(pack(features[:, :channels].contiguous()))
    return torch.cat([scale_to_symbols(scale).to(symbols), symbols], 1) if header else symbols


class ReceivedFeatures(NamedTuple):
    """What the up-sampler is given."""

    features: Tensor  # (B, C, h, w), real; dropped channels are zero
    noise_var: Tensor  # (B,), float64: of a sample's real elements, taken together
    noise_map: Tensor  # (B, C, h, w): ln of each element's own noise variance over its sample's; zero where all are equal


# Beyond e^6 (26 dB) over or under the average an element says nothing, or all there is to say.
LARGEST_LOG_RATIO = 6.0
SMALLEST = 1e-30  # in place of a noise variance or a gain of zero


def symbols_to_features(received: Received, channels: int, shape: tuple[int, int, int], header: bool = False) -> ReceivedFeatures:
    """Received symbols to features of `shape` (C, h, w), all but the first `channels` of them zero, with the channel's gain undone.

    With one gain for a whole sample this is exact. With a gain for each symbol the MMSE equaliser's average gain 1 - m is undone and the
    rest counted as noise of variance m / (1 - m) (the second-order match); the map tells which elements are better and worse than that.
    A symbol whose gain is zero says nothing and is zero; a sample of such symbols has noise of variance 1e30. header: the first symbols
    tell what the features were divided by, which is undone; noise_var is then that of the features as they were.
    """
    kept = (received.y.shape[0], channels, *shape[1:])
    first = USES if header else 0
    last = first - (-math.prod(kept[1:]) // 2)
    equalized = equalize(received, "mmse")
    x, noise_var, gain = (v[:, first:last] if v.shape[1] > 1 else v for v in equalized)  # without a MIMO channel's padding
    lost = torch.where(gain > 0, noise_var / gain, 1.0).clamp_min(SMALLEST)  # 1 - gain: of a gain near 1 that has no digits left
    average = gain.mean(1, dtype=torch.float64).clamp_min(SMALLEST)
    together = lost.mean(1, dtype=torch.float64) / average
    ratio = (lost / gain.clamp_min(SMALLEST) / together[:, None]).log().clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    features = unpack(x / average.to(x.real.dtype)[:, None], kept)
    if header:
        told, told_noise, told_gain = (v[:, :first] if v.shape[1] > 1 else v for v in equalized)
        scale = symbols_to_scale(told, torch.broadcast_to(told_gain / told_noise.clamp_min(SMALLEST), told.shape))
        features, together = features * scale.to(features)[:, None, None, None], together * scale.square()
    noise_map = unpack_per_symbol(torch.broadcast_to(ratio, x.shape).to(features.dtype), kept)
    rest = (0, 0, 0, 0, 0, shape[0] - channels)
    return ReceivedFeatures(F.pad(features, rest), together, F.pad(noise_map, rest))


def receive_features(
    received: Received, channels: int, layout: Layout, heard_db: tuple[float, float], device: torch.device, dtype: torch.dtype
) -> tuple[ReceivedFeatures, Tensor]:
    """Take what a channel returned to what a link's networks are given: on their device and of their dtype, with what was heard
    clamped to `heard_db`, which they know (`clamp_snr`). Besides, the SNR in dB at which the features are heard, (B,)."""
    received = Received(*(v.to(device) for v in received))
    arrived = symbols_to_features(received._replace(y=received.y.to(torch.complex64)), channels, layout.symbols, layout.header)
    features, noise_var, noise_map = clamp_snr(arrived, *heard_db)
    return ReceivedFeatures(features.to(dtype), noise_var, noise_map.to(dtype)), (-10 * noise_var.log10()).to(features.device, dtype)


def clamp_snr(arrived: ReceivedFeatures, faintest_db: float, clearest_db: float) -> ReceivedFeatures:
    """What a network can take that learned from features heard at these SNRs in dB, between -inf and inf. Those heard better are taken for
    ones heard so. Those heard worse, as in a deep fade, are made fainter until their noise is the most that it knows: it then guesses
    what is usual, as it should of a picture that it hardly hears, where it bursts beyond its training."""
    most, least = 10 ** (-faintest_db / 10), 10 ** (-clearest_db / 10)
    fainter = (most / arrived.noise_var).clamp_max(1.0).sqrt().to(arrived.features)
    return arrived._replace(features=arrived.features * fainter[:, None, None, None], noise_var=arrived.noise_var.clamp(least, most))

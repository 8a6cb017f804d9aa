# SPDX-License-Identifier: Apache-2.0
"""Convert the networks' real features to complex symbols and back."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff.phy.channel import Received, normalize_power, pack, snr_db_of, unpack, unpack_per_symbol
from semdiff.phy.equalizer import equalize
from semdiff.transmission.header import HEADER_USES, scale_to_symbols, symbols_to_scale
from semdiff.transmission.layout import Layout


def features_to_symbols(features: Tensor, channels: int, header: bool = False) -> Tensor:
    """Pack the first channels of features as complex symbols of unit average power in each sample.

    Args:
        features: float (B, C, h, w).
        channels: how many of the C channels to send.
        header: whether to send ahead what the features were divided by, see `semdiff.transmission.header`.

    Returns:
        complex (B, ceil(channels h w / 2)), with a header HEADER_USES more.
    """
    symbols, scale = normalize_power(pack(features[:, :channels].contiguous()))
    return torch.cat([scale_to_symbols(scale).to(symbols), symbols], 1) if header else symbols


class ReceivedFeatures(NamedTuple):
    """Hold features as the up-sampler takes them.

    Attributes:
        features: real (B, C, h, w); channels that were not sent are zero.
        noise_var: float64 (B,), variance of a sample's real elements, taken together.
        noise_map: (B, C, h, w), ln of each element's noise variance over its sample's; zero where all are equal.
    """

    features: Tensor
    noise_var: Tensor
    noise_map: Tensor


# Noise e^6 (26 dB) over or under the average: an element beyond it is worthless, or as good as free of noise. Chosen by hand.
LARGEST_LOG_RATIO = 6.0
TINY = 1e-30  # in place of a noise variance or a gain of zero


def symbols_to_features(received: Received, channels: int, shape: tuple[int, int, int], header: bool = False) -> ReceivedFeatures:
    """Equalise received symbols and unpack them as features, with the channel's gain undone.

    With one gain for a whole sample this is exact. With a gain for each symbol the MMSE equaliser's average gain 1 - m is undone and the
    rest counts as noise of variance m / (1 - m) (the second-order match); the noise map says which elements are better or worse than that.
    A symbol of gain zero carries no information and becomes zero; a sample of such symbols has noise of variance 1e30.

    Args:
        received: symbols (B, uses), gains and noise variances.
        channels: symbol channels that were sent.
        shape: (C, h, w) of the features; channels beyond the first `channels` are zero.
        header: whether the first symbols carry the factor that the features were divided by. It is undone, and noise_var is that of the
            features before the division.

    Returns:
        The features with their noise.
    """
    kept = (received.y.shape[0], channels, *shape[1:])
    first = HEADER_USES if header else 0
    last = first - (-math.prod(kept[1:]) // 2)
    equalized = equalize(received, "mmse")
    x, noise_var, gain = (v[:, first:last] if v.shape[1] > 1 else v for v in equalized)  # without a MIMO channel's padding
    one_minus_gain = torch.where(gain > 0, noise_var / gain, 1.0).clamp_min(TINY)  # 1 - gain would lose all digits near 1
    average = gain.mean(1, dtype=torch.float64).clamp_min(TINY)
    sample_noise_var = one_minus_gain.mean(1, dtype=torch.float64) / average
    ratio = (one_minus_gain / gain.clamp_min(TINY) / sample_noise_var[:, None]).log().clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    features = unpack(x / average.to(x.real.dtype)[:, None], kept)
    if header:
        header_symbols, header_noise, header_gain = (v[:, :first] if v.shape[1] > 1 else v for v in equalized)
        scale = symbols_to_scale(header_symbols, torch.broadcast_to(header_gain / header_noise.clamp_min(TINY), header_symbols.shape))
        features, sample_noise_var = features * scale.to(features)[:, None, None, None], sample_noise_var * scale.square()
    noise_map = unpack_per_symbol(torch.broadcast_to(ratio, x.shape).to(features.dtype), kept)
    rest = (0, 0, 0, 0, 0, shape[0] - channels)
    return ReceivedFeatures(F.pad(features, rest), sample_noise_var, F.pad(noise_map, rest))


def receive_features(
    received: Received, channels: int, layout: Layout, snr_range_db: tuple[float, float], device: torch.device, dtype: torch.dtype
) -> tuple[ReceivedFeatures, Tensor]:
    """Convert a channel's output to the input of a link's networks, on their device and in their dtype.

    Args:
        received: symbols (B, uses), gains and noise variances.
        channels: symbol channels that were sent.
        layout: the symbols of the image.
        snr_range_db: the SNRs that the networks know, to which the features are brought by `clamp_snr`.
        device, dtype: of the networks.

    Returns:
        The features, and the SNR in dB of the features, (B,).
    """
    received = Received(*(v.to(device) for v in received))
    arrived = symbols_to_features(received._replace(y=received.y.to(torch.complex64)), channels, layout.symbols, layout.header)
    features, noise_var, noise_map = clamp_snr(arrived, *snr_range_db)
    return ReceivedFeatures(features.to(dtype), noise_var, noise_map.to(dtype)), snr_db_of(noise_var).to(features.device, dtype)


def clamp_snr(arrived: ReceivedFeatures, lowest_db: float, highest_db: float) -> ReceivedFeatures:
    """Bring received features to the SNRs that a network was trained for.

    Features with less noise are labelled with the least noise of the training. Features with more noise, as in a deep fade, are scaled down
    until their noise is the most of the training: the network then falls back on its prior, where unscaled features would exceed anything
    it met in training.

    Args:
        arrived: the features with their noise.
        lowest_db, highest_db: the SNRs of the training, between -inf and inf.

    Returns:
        The features with a noise variance within the range.
    """
    most, least = 10 ** (-lowest_db / 10), 10 ** (-highest_db / 10)
    factor = (most / arrived.noise_var).clamp_max(1.0).sqrt().to(arrived.features)
    return arrived._replace(features=arrived.features * factor[:, None, None, None], noise_var=arrived.noise_var.clamp(least, most))

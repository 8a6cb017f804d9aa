# SPDX-License-Identifier: Apache-2.0
"""Draw the random channel of a training: an SNR for each sample, every rate in each batch, fading for some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.phy.channel import AWGN, Received, pack
from semdiff.rng import Key, complex_normal, normal, uniform
from semdiff.transmission.symbols import ReceivedFeatures, features_to_symbols, symbols_to_features

SNR_DB = (-7.0, 18.0)  # a little wider than evaluations, which go from -5 to 15 dB. Chosen by hand
TRANSMITTER_ERROR_DB = 2.0  # standard deviation of the transmitter's error about the SNR. Chosen by hand


class Conditions(NamedTuple):
    """Describe the channel of a training.

    Attributes:
        snr_db: range of the samples' SNRs in dB.
        transmitter_error_db: standard deviation of the transmitter's error about the SNR, in dB.
        together: whether a batch has unit power as a whole, as the parts of one large picture have. The receiver then knows the common
            divisor, as behind a header (`semdiff.transmission.header`).
        fading: whether some samples meet Rayleigh fading with a gain for each symbol, in place of AWGN.
        fading_every: the last of so many samples fades.
    """

    snr_db: tuple[float, float] = SNR_DB
    transmitter_error_db: float = TRANSMITTER_ERROR_DB
    together: bool = False
    fading: bool = True
    fading_every: int = 2


DEFAULT_CONDITIONS = Conditions()


def over_the_air(
    encode: Callable[[Tensor, Tensor], Tensor], like: Tensor, total: int, rates: Sequence[int], keys: Sequence[Key], conditions: Conditions
) -> tuple[ReceivedFeatures, Tensor]:
    """Send features over a channel, each sample at an SNR of its own.

    The batch is cut into equal parts, one for each number of symbol channels.

    Args:
        encode: (believed SNR, rate) -> features.
        like: a batch, for size, dtype and device.
        total: symbol channels at the full rate.
        rates: numbers of symbol channels.
        keys: three.
        conditions: of the channel.

    Returns:
        The received features, and the rates (B,).
    """
    snr_key, error_key, channel_key = keys
    snr_db = uniform(like.shape[0], snr_key, *conditions.snr_db).to(like.device)
    believed = snr_db + conditions.transmitter_error_db * normal(snr_db.shape, error_key).to(like.device)
    parts = [(part, rates[i % len(rates)]) for i, part in enumerate(torch.arange(like.shape[0], device=like.device).chunk(len(rates)))]
    rate = torch.cat([torch.full((len(part),), channels / total, device=like.device) for part, channels in parts])
    features = encode(believed, rate).to(like)
    _, channels_in_all, h, w = features.shape
    arrived = []
    for i, (part, channels) in enumerate(parts):
        sent = features[part]
        scale = sent[:, :channels].square().mean().sqrt() if conditions.together else None
        symbols = features_to_symbols(sent, channels) if scale is None else pack(sent[:, :channels] / scale)
        sent_at = symbols, snr_db[part].double(), channel_key.fold_in(i)
        received = sometimes_fade(*sent_at, conditions.fading_every) if conditions.fading else AWGN()(*sent_at)
        received_features = symbols_to_features(received, channels, (channels_in_all, h, w))
        if scale is not None:
            received_features = received_features._replace(
                features=received_features.features * scale, noise_var=received_features.noise_var * scale.detach().double().square()
            )
        arrived.append(received_features)
    return ReceivedFeatures(*(torch.cat(values) for values in zip(*arrived, strict=True))), rate


def sometimes_fade(s: Tensor, snr_db: Tensor, key: Key, every: int = 2) -> Received:
    """Send symbols over Rayleigh fading with a gain for each symbol, for the last of each `every` samples, and over AWGN for the others.

    Args:
        s: symbols, complex (B, uses).
        snr_db: (B,).
        key: of gains and noise.
        every: see above.
    """
    fade_key, noise_key = key.split(2)
    h = complex_normal(s.shape, fade_key, device=s.device)
    fades = (torch.arange(s.shape[0], device=s.device) % every == every - 1)[:, None]
    h = torch.where(fades, h, torch.ones_like(h))
    received: Received = AWGN()(h * s, snr_db, noise_key)
    return received._replace(h=h)

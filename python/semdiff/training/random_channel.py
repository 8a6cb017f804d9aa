# SPDX-License-Identifier: Apache-2.0
"""The random channel that trainings draw from: an SNR for each sample, every rate in each batch, fading for some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.phy.channel import AWGN, Received, pack
from semdiff.rng import Key, complex_normal, normal, uniform
from semdiff.transmission.symbols import ReceivedFeatures, features_to_symbols, symbols_to_features

SNR_DB = (-7.0, 18.0)  # a little wider than what is measured, so that its ends are not the ends of what was learned
TRANSMITTER_ERROR_DB = 2.0  # standard deviation of what the transmitter believes about the SNR


class Conditions(NamedTuple):
    """What a training's channel is like. together: a batch is of unit power as a whole, as the parts of one large picture are; what its
    samples hear is then their own noise and what all were divided by, as behind a header (`semdiff.transmission.header`)."""

    snr_db: tuple[float, float] = SNR_DB
    transmitter_error_db: float = TRANSMITTER_ERROR_DB
    together: bool = False
    fading: bool = True  # some samples meet Rayleigh fading with a gain for each symbol, in place of AWGN
    fading_every: int = 2  # which: the last of so many


DEFAULT_CONDITIONS = Conditions()


def over_the_air(
    encode: Callable[[Tensor, Tensor], Tensor], like: Tensor, total: int, rates: Sequence[int], keys: Sequence[Key], conditions: Conditions
) -> tuple[ReceivedFeatures, Tensor]:
    """What arrives of encode(believed SNR, rate) -> features, and the rates (B,): each sample at an SNR of its own, the batch cut into
    equal parts, one for each number of symbol channels in `rates`. like: a batch for size, dtype and device; keys: three."""
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
        told = symbols, snr_db[part].double(), channel_key.fold_in(i)
        received = sometimes_fade(*told, conditions.fading_every) if conditions.fading else AWGN()(*told)
        heard = symbols_to_features(received, channels, (channels_in_all, h, w))
        if scale is not None:
            heard = heard._replace(features=heard.features * scale, noise_var=heard.noise_var * scale.detach().double().square())
        arrived.append(heard)
    return ReceivedFeatures(*(torch.cat(values) for values in zip(*arrived, strict=True))), rate


def sometimes_fade(s: Tensor, snr_db: Tensor, key: Key, every: int = 2) -> Received:
    """Rayleigh fading that changes with every symbol for the last of each `every` samples of s (B, uses), AWGN for the others."""
    fade_key, noise_key = key.split(2)
    h = complex_normal(s.shape, fade_key, device=s.device)
    fades = (torch.arange(s.shape[0], device=s.device) % every == every - 1)[:, None]
    h = torch.where(fades, h, torch.ones_like(h))
    received: Received = AWGN()(h * s, snr_db, noise_key)
    return received._replace(h=h)

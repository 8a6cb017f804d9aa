# SPDX-License-Identifier: Apache-2.0
"""Stage 3: the down- and up-sampler around the channel, on latents, with the fused loss.

A random SNR for each sample, and every rate in each batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.diffusion.loss import upsampler_loss
from semdiff.diffusion.schedule import alpha_bar_of
from semdiff.diffusion.vae import GaussianSample
from semdiff.models.networks import Downsampler, Upsampler
from semdiff.phy.channel import AWGN, Received, pack, snr_db_of
from semdiff.rng import Key, complex_normal, normal
from semdiff.training.engine import Stage
from semdiff.training.stages.diffusion import uniform
from semdiff.transmission.symbols import Arrived, arrive, features_to_symbols

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


USUAL = Conditions()


class Crossing(NamedTuple):
    """What the up-sampler says after the channel, and the channel's noise variance, float64 (B,)."""

    gaussian: GaussianSample
    noise_var: Tensor


def cross_channel(
    downsampler: Downsampler, upsampler: Upsampler, z: Tensor, rates: tuple[int, ...], key: Key, conditions: Conditions = USUAL
) -> Crossing:
    """Latents (B, C, h, w) over a channel under `conditions`, to what the up-sampler says."""
    *keys, draw_key = key.split(4)
    total = downsampler.config.symbol_channels

    def encode(believed: Tensor, rate: Tensor) -> Tensor:
        level_db = downsampler.level_db(z, rate)
        return downsampler(z, believed - (_shared(level_db, rate) if conditions.together else level_db), rate)  # type: ignore[no-any-return]

    arrived, rate = over_the_air(encode, z, total, rates, keys, conditions)
    heard_db = snr_db_of(arrived.noise_var).to(z)
    gaussian = upsampler(arrived.features, heard_db, rate, draw_key, arrived.noise_map.to(z))
    return Crossing(GaussianSample(*(g.to(z) for g in gaussian)), arrived.noise_var)


def _shared(level_db: Tensor, rate: Tensor) -> Tensor:
    """The level of all samples of a rate together."""
    same = (rate[:, None] == rate).to(level_db)
    return 10 * ((same @ (10 ** (level_db / 10))) / same.sum(1)).log10()


def over_the_air(
    encode: Callable[[Tensor, Tensor], Tensor], like: Tensor, total: int, rates: Sequence[int], keys: Sequence[Key], conditions: Conditions
) -> tuple[Arrived, Tensor]:
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
        heard = arrive(received, channels, (channels_in_all, h, w))
        if scale is not None:
            heard = heard._replace(features=heard.features * scale, noise_var=heard.noise_var * scale.detach().double().square())
        arrived.append(heard)
    return Arrived(*(torch.cat(values) for values in zip(*arrived, strict=True))), rate


def sometimes_fade(s: Tensor, snr_db: Tensor, key: Key, every: int = 2) -> Received:
    """Rayleigh fading that changes with every symbol for the last of each `every` samples of s (B, uses), AWGN for the others."""
    fade_key, noise_key = key.split(2)
    h = complex_normal(s.shape, fade_key, device=s.device)
    fades = (torch.arange(s.shape[0], device=s.device) % every == every - 1)[:, None]
    h = torch.where(fades, h, torch.ones_like(h))
    received: Received = AWGN()(h * s, snr_db, noise_key)
    return received._replace(h=h)


class ResamplingStage(Stage):
    """forward(key, latents): the fused loss, and for reading the error of the estimate of z and the mean squared z-score (1 if honest)."""

    def __init__(
        self,
        downsampler: Downsampler,
        upsampler: Upsampler,
        rates: tuple[int, ...],
        lambda_prior: float = 0.0,
        lambda_match: float = 0.1,
        conditions: Conditions = USUAL,
    ) -> None:
        super().__init__()
        self.downsampler, self.upsampler, self.conditions = downsampler, upsampler, conditions
        self.rates, self.lambda_prior, self.lambda_match = rates, lambda_prior, lambda_match

    def forward(self, key: Key, z: Tensor) -> dict[str, Tensor]:
        crossing_key, loss_key = key.split(2)
        crossing = cross_channel(self.downsampler, self.upsampler, z, self.rates, crossing_key, self.conditions)
        _, mean, logvar = crossing.gaussian
        a = alpha_bar_of(crossing.noise_var)
        loss = upsampler_loss(mean, logvar, z, a, self.lambda_prior, self.lambda_match, loss_key)
        with torch.no_grad():
            error = (mean / a.sqrt().to(mean)[:, None, None, None] - z).square().mean()
        return {"loss": loss.total, "match": loss.match, "error": error}

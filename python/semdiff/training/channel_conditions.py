# SPDX-License-Identifier: Apache-2.0
"""Train the down- and up-sampler around the channel, on latents, with the fused loss: stage 3 of the recipes.

Each sample has a random SNR, and each batch every rate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.diffusion.loss import upsampler_loss
from semdiff.diffusion.vae import GaussianSample
from semdiff.models.networks import Downsampler, Upsampler
from semdiff.phy.channel import AWGN, Received, pack
from semdiff.rng import Key, complex_normal, normal
from semdiff.training.engine import Stage
from semdiff.training.stages.diffusion import uniform
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


class Crossing(NamedTuple):
    """Hold what the receiver has after the channel.

    Attributes:
        gaussian: of the up-sampler.
        noise_var: of the channel, float64 (B,).
    """

    gaussian: GaussianSample
    noise_var: Tensor


def cross_channel(
    downsampler: Downsampler, upsampler: Upsampler, z: Tensor, rates: tuple[int, ...], key: Key, conditions: Conditions = DEFAULT_CONDITIONS
) -> Crossing:
    """Send latents over a channel and up-sample what arrives.

    Args:
        downsampler, upsampler: the networks.
        z: latents (B, C, h, w).
        rates: numbers of symbol channels, each for a part of the batch.
        key: of all random numbers.
        conditions: of the channel.
    """
    *keys, draw_key = key.split(4)
    total = downsampler.config.symbol_channels

    def encode(believed: Tensor, rate: Tensor) -> Tensor:
        level_db = downsampler.level_db(z, rate)
        return downsampler(z, believed - (_shared(level_db, rate) if conditions.together else level_db), rate)  # type: ignore[no-any-return]

    arrived, rate = over_the_air(encode, z, total, rates, keys, conditions)
    feature_snr_db = (-10 * arrived.noise_var.log10()).to(z)
    gaussian = upsampler(arrived.features, feature_snr_db, rate, draw_key, arrived.noise_map.to(z))
    return Crossing(GaussianSample(*(g.to(z) for g in gaussian)), arrived.noise_var)


def _shared(level_db: Tensor, rate: Tensor) -> Tensor:
    """The level of all samples of a rate together."""
    same = (rate[:, None] == rate).to(level_db)
    return 10 * ((same @ (10 ** (level_db / 10))) / same.sum(1)).log10()


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


class ResamplingStage(Stage):
    """Train the ends by the fused loss; the error of the estimate of z and the mean squared z-score (1 if honest) are shown.

    Args:
        downsampler, upsampler: the networks.
        rates: numbers of symbol channels.
        lambda_prior, lambda_match: weights of the loss, see `semdiff.upsampler_loss`.
        conditions: of the channel.
    """

    def __init__(
        self,
        downsampler: Downsampler,
        upsampler: Upsampler,
        rates: tuple[int, ...],
        lambda_prior: float = 0.0,
        lambda_match: float = 0.1,
        conditions: Conditions = DEFAULT_CONDITIONS,
    ) -> None:
        super().__init__()
        self.downsampler, self.upsampler, self.conditions = downsampler, upsampler, conditions
        self.rates, self.lambda_prior, self.lambda_match = rates, lambda_prior, lambda_match

    def forward(self, key: Key, z: Tensor) -> dict[str, Tensor]:
        """Compute the losses of latents z (B, C, h, w); key draws all random numbers."""
        crossing_key, loss_key = key.split(2)
        crossing = cross_channel(self.downsampler, self.upsampler, z, self.rates, crossing_key, self.conditions)
        _, mean, logvar = crossing.gaussian
        a = 1 / (1 + crossing.noise_var)
        loss = upsampler_loss(mean, logvar, z, a, self.lambda_prior, self.lambda_match, loss_key)
        with torch.no_grad():
            error = (mean / a.sqrt().to(mean)[:, None, None, None] - z).square().mean()
        return {"loss": loss.total, "match": loss.match, "error": error}

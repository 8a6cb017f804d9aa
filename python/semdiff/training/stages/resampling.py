# SPDX-License-Identifier: Apache-2.0
"""Train the down- and up-sampler around the channel, on latents, with the fused loss: stage 3 of the recipes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.diffusion.loss import upsampler_loss
from semdiff.diffusion.schedule import alpha_bar_of
from semdiff.diffusion.vae import GaussianSample
from semdiff.models.networks import Downsampler, Upsampler
from semdiff.phy.channel import snr_db_of
from semdiff.rng import Key
from semdiff.training.engine import Stage
from semdiff.training.random_channel import DEFAULT_CONDITIONS, Conditions, over_the_air


class UpsamplerOutput(NamedTuple):
    """Hold what the receiver has after the channel.

    Attributes:
        gaussian: of the up-sampler.
        noise_var: of the channel, float64 (B,).
    """

    gaussian: GaussianSample
    noise_var: Tensor


def cross_channel(
    downsampler: Downsampler, upsampler: Upsampler, z: Tensor, rates: tuple[int, ...], key: Key, conditions: Conditions = DEFAULT_CONDITIONS
) -> UpsamplerOutput:
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
    feature_snr_db = snr_db_of(arrived.noise_var).to(z)
    gaussian = upsampler(arrived.features, feature_snr_db, rate, draw_key, arrived.noise_map.to(z))
    return UpsamplerOutput(GaussianSample(*(g.to(z) for g in gaussian)), arrived.noise_var)


def _shared(level_db: Tensor, rate: Tensor) -> Tensor:
    """The level of all samples of a rate together."""
    same = (rate[:, None] == rate).to(level_db)
    return 10 * ((same @ (10 ** (level_db / 10))) / same.sum(1)).log10()


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
        a = alpha_bar_of(crossing.noise_var)
        loss = upsampler_loss(mean, logvar, z, a, self.lambda_prior, self.lambda_match, loss_key)
        with torch.no_grad():
            error = (mean / a.sqrt().to(mean)[:, None, None, None] - z).square().mean()
        return {"loss": loss.total, "match": loss.match, "error": error}

# SPDX-License-Identifier: Apache-2.0
"""Train a JSCC baseline: both ends together, through the channel."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from semdiff.baselines.jscc import DeepJSCC, PerceptualADJSCC
from semdiff.metrics import lpips
from semdiff.phy.channel import snr_db_of
from semdiff.rng import Key
from semdiff.training.engine import Stage
from semdiff.training.random_channel import Conditions, over_the_air

AWGN_ALONE = Conditions(fading=False)  # which favours the baseline there
LPIPS_WEIGHT = 0.1  # beside a squared error around 0.01, where LPIPS is around 0.2


class JSCCStage(Stage):
    """Train by the mean squared error, every rate in each batch, an SNR for each sample.

    A `PerceptualADJSCC` adds LPIPS_WEIGHT times the mean LPIPS (AlexNet).

    Args:
        model: what is trained.
        conditions: of the channel.
    """

    def __init__(self, model: DeepJSCC, conditions: Conditions = AWGN_ALONE) -> None:
        super().__init__()
        self.model, self.conditions = model, conditions

    def send(self, key: Key, images: Tensor) -> Tensor:
        """Send images (B, C, H, W) in [0, 1] and receive them, not clamped to [0, 1]; key draws all random numbers."""
        model = self.model
        arrived, rate = over_the_air(
            lambda believed, rate: model.encode(images, believed, rate),
            images,
            model.config.symbol_channels,
            model.config.rates,
            key.split(3),
            self.conditions,
        )
        snr_db = snr_db_of(arrived.noise_var).to(images)
        return model.decode(arrived.features, snr_db, rate, images.shape[-2:]).to(images)

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the losses of images (B, C, H, W) in [0, 1]; key draws all random numbers."""
        out = self.send(key, images)
        error = F.mse_loss(out, images)
        if not isinstance(self.model, PerceptualADJSCC):
            return {"loss": error}
        perceptual = lpips(out.clamp(0, 1), images).mean()
        return {"loss": error + LPIPS_WEIGHT * perceptual, "mse": error, "lpips": perceptual}

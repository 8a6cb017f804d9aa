# SPDX-License-Identifier: Apache-2.0
"""Train a JSCC baseline: both ends together, through the channel."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from semdiff.baselines.jscc import DeepJSCC
from semdiff.baselines.residual_jscc import ResidualJSCC
from semdiff.metrics import lpips
from semdiff.models.jscc_layers import condition_of
from semdiff.models.linear_code import LinearDecoder, block_side
from semdiff.models.pixel_blocks import from_blocks, to_blocks
from semdiff.phy.channel import snr_db_of
from semdiff.rng import Key
from semdiff.training.engine import Stage
from semdiff.training.random_channel import Conditions, over_the_air

AWGN_ALONE = Conditions(fading=False)  # which favours the baseline there
TYPICAL = 0.005  # a squared error, where every exponent has the same gradient
LPIPS_WEIGHT = 0.1  # beside a squared error around 0.01, where LPIPS is around 0.2


class JSCCStage(Stage):
    """Train by the mean squared error, every rate in each batch, an SNR for each sample.

    A model that is `perceptual` adds LPIPS_WEIGHT times the mean LPIPS (AlexNet).

    Args:
        model: what is trained.
        conditions: of the channel.
        exponent: of each image's squared error, see `balanced`.
    """

    def __init__(self, model: DeepJSCC, conditions: Conditions = AWGN_ALONE, exponent: float = 1.0) -> None:
        super().__init__()
        self.model, self.conditions, self.exponent = model, conditions, exponent

    def encode(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute features.

        Args:
            images, snr_db, rate: as in `DeepJSCC.encode`.
        """
        return self.model.encode(images, snr_db, rate)

    def decode(self, features: Tensor, snr_db: Tensor, rate: Tensor, size: Sequence[int]) -> Tensor:
        """Compute images.

        Args:
            features, snr_db, rate, size: as in `DeepJSCC.decode`.
        """
        return self.model.decode(features, snr_db, rate, size)

    def send(self, key: Key, images: Tensor) -> Tensor:
        """Send images (B, C, H, W) in [0, 1] and receive them, not clamped to [0, 1]; key draws all random numbers."""
        config = self.model.config
        arrived, rate = over_the_air(
            lambda believed, rate: self.encode(images, believed, rate),
            images,
            config.symbol_channels,
            config.rates,
            key.split(3),
            self.conditions,
        )
        snr_db = snr_db_of(arrived.noise_var).to(images)
        return self.decode(arrived.features, snr_db, rate, images.shape[-2:]).to(images)

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the losses of images (B, C, H, W) in [0, 1]; key draws all random numbers."""
        out = self.send(key, images)
        error = F.mse_loss(out, images)
        if self.model.perceptual:
            perceptual = lpips(out.clamp(0, 1), images).mean()
            return {"loss": error + LPIPS_WEIGHT * perceptual, "mse": error, "lpips": perceptual}
        if self.exponent == 1.0:
            return {"loss": error}
        return {"loss": balanced(out, images, self.exponent, TYPICAL), "mse": error}


def balanced(x: Tensor, target: Tensor, exponent: float, typical: float) -> Tensor:
    """Compute the mean over images of a power of their squared error.

    A network for many SNRs that is trained with exponent 1 lives on the noisy ones, where errors are large, and with one near 0, where only
    ratios of errors count, as in decibels, on the good ones.

    Args:
        x, target: (B, C, H, W).
        exponent: above 0.
        typical: a squared error, where every exponent gives the same gradient.

    Returns:
        A scalar.
    """
    each = F.mse_loss(x, target, reduction="none").mean((1, 2, 3))
    return (each / typical + 1e-4).pow(exponent).mean() * (typical / exponent)  # the root of 0 has no gradient


class LinearJSCCStage(JSCCStage):
    """Train the linear code of a model alone, as if there were no networks. It learns in a hundredth of the time that they take.

    Args:
        model: what is trained.
        conditions, exponent: as in `JSCCStage`.
    """

    model: ResidualJSCC

    def __init__(self, model: ResidualJSCC, conditions: Conditions = AWGN_ALONE, exponent: float = 1.0) -> None:
        super().__init__(model, conditions, exponent)
        networks = (("transmitter", model.transmitter), ("decoder", model.decoder))
        self.frozen = tuple(f"model.{end}.{n}" for end, net in networks for n, _ in net.named_children() if not n.startswith("linear"))

    def encode(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute features by the linear code.

        Args:
            images, snr_db, rate: as in `DeepJSCC.encode`.
        """
        blocks = to_blocks(images, 1, self.model.transmitter.border, self._side)
        features: Tensor = self.model.transmitter.linear_encoder(blocks, condition_of(snr_db, rate).to(blocks))
        return features

    def decode(self, features: Tensor, snr_db: Tensor, rate: Tensor, size: Sequence[int]) -> Tensor:
        """Compute images by the linear code.

        Args:
            features, snr_db, rate, size: as in `DeepJSCC.decode`.
        """
        decoder: LinearDecoder = self.model.decoder.linear_decoder  # type: ignore[assignment]
        scaled = decoder.scale(features, condition_of(snr_db, rate).to(features))
        return from_blocks(decoder(scaled), size[0], size[1], 1, self._side)

    @property
    def _side(self) -> int:
        return block_side(self.model.config.strides)

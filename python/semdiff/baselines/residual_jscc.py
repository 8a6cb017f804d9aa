# SPDX-License-Identifier: Apache-2.0
"""Send images by joint source-channel coding with the strongest network here: residual blocks, each end beside a linear code.

A link that has these ends shares them, and their training, with this baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from diffusers.configuration_utils import register_to_config
from torch import Tensor

from semdiff.baselines.jscc import DeepJSCC
from semdiff.models.residual_jscc import ResidualDecoder, ResidualTransmitter

Self = TypeVar("Self", bound="ResidualJSCC")


class ResidualJSCC(DeepJSCC):
    """Send images by `ResidualTransmitter` and `ResidualDecoder`, which are told SNR and rate.

    Args:
        image_shape: (C, H, W); H and W are None for any size.
        symbol_channels: real features at the full rate.
        rates: how many of them each offered rate sends.
        width, outer_width: channels of the blocks, and of the decoder's at twice the resolution of the features.
        encoder_depth, depth, outer_depth: blocks of the transmitter, and of the decoder at either resolution.
        strides: halvings of the resolution, 2 or 3.
        header: whether a header is sent, see `semdiff.transmission.header`; for models of any size.

    Example:
        >>> import torch, semdiff as sd
        >>> from semdiff.baselines.residual_jscc import ResidualJSCC
        >>> ResidualJSCC(width=16, outer_width=8).transmit(torch.rand(1, 3, 32, 32), snr_db=10.0, key=sd.Key(0)).ledger.total
        512
    """

    attention = True
    weights = "residual-jscc"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        image_shape: Sequence[int | None] = (3, 32, 32),
        symbol_channels: int = 16,
        rates: Sequence[int] = (16, 8, 4),
        width: int = 96,
        outer_width: int = 32,
        encoder_depth: int = 2,
        depth: int = 3,
        outer_depth: int = 1,
        strides: int = 2,
        header: bool = False,
    ) -> None:
        super(DeepJSCC, self).__init__()  # without its networks
        self.transmitter = ResidualTransmitter(image_shape, symbol_channels, width, encoder_depth, strides)
        self.decoder = ResidualDecoder(image_shape[0] or 1, symbol_channels, width, outer_width, depth, outer_depth, strides)

    @classmethod
    def default(cls: type[Self], model: str = "cifar10") -> Self:
        """Load the weights in the repository's folder weights/, see `DeepJSCC.default`.

        Args:
            model: cifar10, 32x32 colour, CBR 1/6, 1/12 and 1/24.

        Raises:
            FileNotFoundError: where there is none of this name.
        """
        return super().default(model)

    def encode(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute features of images.

        Args:
            images, snr_db, rate: as in `DeepJSCC.encode`.
        """
        features: Tensor = self.transmitter(images, snr_db, rate)
        return features

    def decode(self, features: Tensor, snr_db: Tensor, rate: Tensor, size: Sequence[int]) -> Tensor:
        """Compute images from received features.

        Args:
            features, snr_db, rate, size: as in `DeepJSCC.decode`.
        """
        images: Tensor = self.decoder(features, snr_db, rate, size)
        return images


class PerceptualResidualJSCC(ResidualJSCC):
    """Send images by ResidualJSCC trained on squared error and LPIPS (AlexNet)."""

    weights = "residual-jscc-lpips"
    perceptual = True

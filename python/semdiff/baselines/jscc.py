# SPDX-License-Identifier: Apache-2.0
"""Send images by deep joint source-channel coding: one network maps images to symbols, another one maps received symbols to images.

DeepJSCC (Bourtsoulatze, Kurka, Gündüz, IEEE TCCN 2019): convolutions with generalised divisive normalisation (Ballé, Laparra,
Simoncelli, 2016), one network for every SNR, which it is not told. ADJSCC (Xu, Ai, Chen, Yang, Sun, Rodrigues, IEEE TCSVT 2021): the
same with attention on the SNR after each layer. Written from the papers, fully convolutional, and sized like the link that they are
compared with.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from semdiff.models.hub import check_hub_options, push_model
from semdiff.models.jscc_layers import (
    decode_blocks,
    decoder_layers,
    encode_blocks,
    encoder_layers,
)
from semdiff.models.loading import check_class, load_network
from semdiff.models.pixel_blocks import from_blocks, to_blocks
from semdiff.models.store import find_baseline, find_model, saved, verify_checksums
from semdiff.phy.channel import snr_db_of
from semdiff.rng import Key
from semdiff.transmission.inputs import check_images, choose_rate
from semdiff.transmission.layout import Layout
from semdiff.transmission.step_count import StepCount
from semdiff.transmission.symbols import features_to_symbols, symbols_to_features
from semdiff.transmission.transmitter import Air, Decoded, ImageTransmitter

PERCEPTUAL = "Perceptual"  # begins the name of a network that was trained on LPIPS as well
NAMES = ("DeepJSCC", "ADJSCC", "PerceptualADJSCC", "ResidualJSCC", "PerceptualResidualJSCC")
Self = TypeVar("Self", bound="DeepJSCC")


class DeepJSCC(ModelMixin, ConfigMixin, ImageTransmitter):  # type: ignore[misc]
    """Send images by convolutional networks that map them to symbols and back, at 1/4 or 1/8 of the resolution.

    Args:
        image_shape: (C, H, W); H and W are None for any size.
        symbol_channels: real features at the full rate.
        rates: how many of them each offered rate sends.
        width, outer_width: channels of the inner layers, and of the ones next to the image.
        depth: layers that keep the resolution.
        strides: halvings of the resolution, 2 or 3.
        header: whether a header is sent, see `semdiff.transmission.header`; for models of any size.

    Example:
        >>> import semdiff as sd
        >>> from semdiff.baselines import DeepJSCC
        >>> from semdiff.data import sample_images
        >>> DeepJSCC(width=16, outer_width=8).transmit(sample_images(), snr_db=10.0, key=sd.Key(0)).ledger.total
        64
    """

    attention = False
    perceptual = False  # whether it was trained on LPIPS as well
    weights = "deepjscc"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        image_shape: Sequence[int | None] = (1, 28, 28),
        symbol_channels: int = 2,
        rates: Sequence[int] = (2, 1),
        width: int = 160,
        outer_width: int = 64,
        depth: int = 2,
        strides: int = 2,
        header: bool = False,
    ) -> None:
        super().__init__()
        c, a = image_shape[0] or 1, self.attention
        self.encoder = encoder_layers(c, outer_width, width, depth, strides, a)
        self.to_symbols = nn.Conv2d(width, symbol_channels, 3, 1, 1)
        self.decoder = decoder_layers(symbol_channels, outer_width, width, depth, strides, a)
        self.to_image = nn.ConvTranspose2d(outer_width, c, 5, 2, 2, 1)

    # The two ends

    def encode(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute features of images.

        Args:
            images: (B, C, H, W) in [0, 1].
            snr_db: of the channel, (B,).
            rate: share of the symbol channels to be sent, (B,).

        Returns:
            (B, symbol_channels, h, w), not of unit power.
        """
        blocks = to_blocks(images, 1, "black" if self.image_shape[1] else "replicate", self._multiple)
        return encode_blocks(self, blocks, snr_db, rate)

    def decode(self, features: Tensor, snr_db: Tensor, rate: Tensor, size: Sequence[int]) -> Tensor:
        """Compute images from received features.

        Args:
            features: (B, symbol_channels, h, w); channels that were not sent are zero.
            snr_db: of the features, (B,).
            rate: share of the symbol channels that was sent, (B,).
            size: height and width of the images.

        Returns:
            (B, C, *size), not clamped to [0, 1].
        """
        return from_blocks(decode_blocks(self, features, snr_db, rate), size[0], size[1], 1, self._multiple)

    @property
    def _multiple(self) -> int:
        """Pixels: images are padded to whole multiples of two features."""
        strides: int = self.config.strides
        return 2 << strides

    # What it offers

    @property
    def image_shape(self) -> tuple[int, int | None, int | None]:
        """Return (C, H, W) of the images that the model takes; H and W are None where it takes any size."""
        c, h, w = self.config.image_shape
        return c, h, w

    def layout(self, size: tuple[int, int] | None = None) -> Layout:
        """Describe the symbols of an image.

        Args:
            size: height and width of the images; None is the size that the model is for, or the smallest if it takes any.
        """
        config, (c, height, width), multiple = self.config, self.image_shape, self._multiple
        h, w = size or (height or multiple, width or multiple)
        return Layout((c, h, w), multiple, multiple // 2, config.symbol_channels, tuple(config.rates), config.header, height is None)

    @property
    def cbrs(self) -> dict[int, float]:
        """Return the bandwidth ratios on offer by number of symbol channels, as `SemanticLink.cbrs`."""
        return self.layout().cbrs

    def exchange(self, images: Tensor, air: Air, *, cbr: float | None, steps: StepCount, realism: float, key: Key) -> Decoded:
        """Encode, send and decode. Both ends know the SNR.

        Args:
            images: float (B, C, H, W) in [0, 1].
            air: the channel.
            cbr: one of `cbrs`, within 5 %; None is the largest.
            steps, realism, key: without effect.
        """
        check_images(images, self.image_shape)
        size = (images.shape[2], images.shape[3])
        channels, layout = choose_rate(cbr, self.layout()), self.layout(size)
        images = images.to(self.device, self.dtype)
        rate = torch.full((len(images),), channels / self.config.symbol_channels, dtype=self.dtype, device=self.device)
        features = self.encode(images, air.snr_db.to(images), rate).to(images)
        received = air(features_to_symbols(features, channels, layout.header))
        arrived = symbols_to_features(received, channels, layout.symbols, layout.header)
        features = arrived.features.to(self.dtype)
        out = self.decode(features, snr_db_of(arrived.noise_var).to(features), rate, size).to(features)
        return Decoded(out.clamp(0, 1))

    # Files

    @classmethod
    def default(cls: type[Self], model: str = "fashion-mnist") -> Self:
        """Load the weights in the repository's folder weights/, to compare with the link of the same name.

        A wheel has no baselines: the variable SEMDIFF_WEIGHTS names the folder weights/ of a clone.

        Args:
            model: fashion-mnist, 28x28 grey, CBR 1/12 and 1/24, or photos, any size, CBR 1/12, 1/24 and 1/48.

        Raises:
            FileNotFoundError: where there is none of this name.
        """
        return cls.load(find_baseline(model, cls.weights, cls.__name__, "python -m semdiff.training.recipes.jscc"))

    @classmethod
    def load(cls: type[Self], folder: str | os.PathLike[str], **hub: Any) -> Self:
        """Load weights: of the package by the name of the link they are compared with, from a folder that `save` wrote, or from the Hub.

        Args:
            folder: the name, the folder, or user/model on the Hub, in this order.
            hub: revision, token, cache_dir, force_download and local_files_only, as diffusers takes them.

        Raises:
            FileNotFoundError: where there is none.
            ValueError: where a file is altered, or the weights are another network's.
        """
        check_hub_options(hub)
        place = find_model(folder, "folder", cls.weights, **hub)
        if not (place / "config.json").is_file():
            raise FileNotFoundError(f"{place}: expected a folder with config.json, as save writes it")
        verify_checksums(place)
        saved = check_class(place / "config.json", NAMES)["_class_name"]
        alike = {cls.__name__.removeprefix(PERCEPTUAL), PERCEPTUAL + cls.__name__.removeprefix(PERCEPTUAL)}
        if saved not in alike:
            raise ValueError(f"{place}: expected the weights of a {cls.__name__}, got those of a {saved}")
        options = {"torch_dtype": torch.float32, "use_safetensors": True, "low_cpu_mem_usage": False}
        return load_network(cls, place, alike, options)  # type: ignore[no-any-return]

    @classmethod
    def from_pretrained(cls: type[Self], pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """Load weights as `load` does, by diffusers' name for it.

        Args:
            pretrained_model_name_or_path: as `folder` of `load`.
            kwargs: as `hub` of `load`.
        """
        return cls.load(pretrained_model_name_or_path, **kwargs)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Save as safetensors and JSON, with a checksum of each file. The folder holds the old model or the whole new one at any time.

        Args:
            folder: the folder.
        """
        with saved(folder) as place:
            self.save_pretrained(place, safe_serialization=True)

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> str:
        """Send the weights to the Hugging Face Hub, as `save` writes them, in one commit.

        Args:
            repo_id: user/model, or a name in one's own account; made where there is none.
            kwargs: commit_message, private, token and create_pr, as diffusers takes them.

        Returns:
            The commit's address.
        """
        return push_model(self.save, repo_id, type(self), **kwargs)


class ADJSCC(DeepJSCC):
    """Send images by DeepJSCC with attention on the SNR after every layer, at both ends.

    Example:
        >>> import semdiff as sd
        >>> from semdiff.baselines import ADJSCC
        >>> from semdiff.data import sample_images
        >>> sent = ADJSCC.default().transmit(sample_images()[:2], snr_db=10.0, cbr=1 / 24, key=sd.Key(0))
        >>> sent.images.shape, sent.ledger.total
        (torch.Size([2, 1, 28, 28]), 32)
    """

    attention = True
    weights = "adjscc"


class PerceptualADJSCC(ADJSCC):
    """Send images by ADJSCC trained on squared error and LPIPS (AlexNet): the gain of a baseline from a loss on how images look."""

    weights = "adjscc-lpips"
    perceptual = True

# SPDX-License-Identifier: Apache-2.0
"""Deep joint source-channel coding, the baselines that a diffusion receiver is measured against: images straight to symbols and back.

DeepJSCC (Bourtsoulatze, Kurka, Gündüz, IEEE TCCN 2019): convolutions with generalised divisive normalisation (Ballé, Laparra,
Simoncelli, 2016), one network for every SNR, which it is not told. ADJSCC (Xu, Ai, Chen, Yang, Sun, Rodrigues, IEEE TCSVT 2021): the
same with attention on the SNR after each layer. Written from the papers, fully convolutional, and sized like the link that they are
compared with.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import Tensor, nn

from semdiff.models.codec import from_blocks, to_blocks
from semdiff.models.jscc import decoder_layers, encoder_layers
from semdiff.models.loading import check_class, load_network
from semdiff.models.store import saved, shipped_models, verify_checksums
from semdiff.rng import Key
from semdiff.transmission.inputs import check_images, choose_rate
from semdiff.transmission.layout import Layout
from semdiff.transmission.steps import StepCount
from semdiff.transmission.symbols import features_to_symbols, symbols_to_features
from semdiff.transmission.transmitter import Air, Decoded, ImageTransmitter

Self = TypeVar("Self", bound="DeepJSCC")


class DeepJSCC(ModelMixin, ConfigMixin, ImageTransmitter):  # type: ignore[misc]
    """Images (B, C, H, W) in [0, 1] to complex symbols and back, at 1/4 of the resolution. transmit() is that of `ImageTransmitter`.

    image_shape: (C, H, W); H and W are None for any size. symbol_channels: real features at the full rate; rates: how many of them each
    offered rate sends. strides: halvings of the resolution, 2 or 3. header: see `semdiff.transmission.header`; for any size.
    """

    attention = False
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
        """Features (B, symbol_channels, h, w), not of unit power. snr_db and rate (share of the symbol channels sent): (B,)."""
        condition = torch.stack([snr_db / 20, rate], 1).to(images)
        x = to_blocks(images, 1, "black" if self.image_shape[1] else "replicate", self._multiple)
        for layer in self.encoder:
            x = layer(x, condition)
        return self.to_symbols(x)  # type: ignore[no-any-return]

    def decode(self, features: Tensor, snr_db: Tensor, rate: Tensor, size: Sequence[int]) -> Tensor:
        """Images (B, C, *size), not clamped to [0, 1]."""
        condition = torch.stack([snr_db / 20, rate], 1).to(features)
        x = features
        for layer in self.decoder:
            x = layer(x, condition)
        return from_blocks(self.to_image(x), size[0], size[1], 1, self._multiple)

    @property
    def _multiple(self) -> int:
        """Pixels: images are padded to whole multiples of two features."""
        strides: int = self.config.strides
        return 2 << strides

    # What it offers

    @property
    def image_shape(self) -> tuple[int, int | None, int | None]:
        c, h, w = self.config.image_shape
        return c, h, w

    def layout(self, size: tuple[int, int] | None = None) -> Layout:
        """How images of this height and width lie on the air. None: of the size that the model is for, or the least if it takes any."""
        config, (c, height, width), multiple = self.config, self.image_shape, self._multiple
        h, w = size or (height or multiple, width or multiple)
        return Layout((c, h, w), multiple, multiple // 2, config.symbol_channels, tuple(config.rates), config.header, height is None)

    @property
    def cbrs(self) -> dict[int, float]:
        """Complex uses for each source value, by the number of symbol channels sent: what `cbr` can be. As `SemanticLink.cbrs`."""
        return self.layout().cbrs

    def exchange(self, images: Tensor, air: Air, *, cbr: float | None, steps: StepCount, realism: float, key: Key) -> Decoded:
        """Encode, send, decode. It is told the SNR at both ends; steps, realism and key change nothing."""
        check_images(images, self.image_shape)
        size = (images.shape[2], images.shape[3])
        channels, layout = choose_rate(cbr, self.layout()), self.layout(size)
        images = images.to(self.device, self.dtype)
        rate = torch.full((len(images),), channels / self.config.symbol_channels, dtype=self.dtype, device=self.device)
        features = self.encode(images, air.snr_db.to(images), rate).to(images)
        received = air(features_to_symbols(features, channels, layout.header))
        arrived = symbols_to_features(received, channels, layout.symbols, layout.header)
        features = arrived.features.to(self.dtype)
        out = self.decode(features, (-10 * arrived.noise_var.log10()).to(features), rate, size).to(features)
        return Decoded(out.clamp(0, 1))

    # Files

    @classmethod
    def default(cls: type[Self], model: str = "fashion-mnist") -> Self:
        """The weights that come with the package to compare the link of that name with: fashion-mnist, 28x28 grey, CBR 1/12 and 1/24, or
        photos, any size, CBR 1/12, 1/24 and 1/48. FileNotFoundError where there are none."""
        folder = shipped_models(cls.weights).get(model)
        if folder is None:
            trained = "semdiff.training.recipes.jscc trains one"
            raise FileNotFoundError(f"no {cls.__name__} of the name {model!r} comes with the package; {trained}")
        return cls.load(folder)

    @classmethod
    def load(cls: type[Self], folder: str | os.PathLike[str]) -> Self:
        """From a local folder that `save` wrote. FileNotFoundError where there is none; ValueError where a file is altered or the weights
        are of a network with attention, or without, that this one is not."""
        place = Path(folder)
        if not (place / "config.json").is_file():
            raise FileNotFoundError(f"{place}: expected a folder with config.json, as save writes it")
        verify_checksums(place)
        family = DeepJSCC, ADJSCC, PerceptualADJSCC
        saved = check_class(place / "config.json", [kind.__name__ for kind in family])["_class_name"]
        alike = {kind.__name__ for kind in family if kind.attention == cls.attention}
        if saved not in alike:
            raise ValueError(f"{place}: expected the weights of a {cls.__name__}, got those of a {saved}")
        options = {"torch_dtype": torch.float32, "use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False}
        return load_network(cls, place, alike, options)  # type: ignore[no-any-return]

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Safetensors and JSON, with a checksum of each file: the folder holds the old model or the whole new one."""
        with saved(folder) as place:
            self.save_pretrained(place, safe_serialization=True)


class ADJSCC(DeepJSCC):
    """DeepJSCC with attention on the SNR after every layer, at both ends."""

    attention = True
    weights = "adjscc"


class PerceptualADJSCC(ADJSCC):
    """ADJSCC trained on squared error and LPIPS (AlexNet): what a baseline gains by aiming at how pictures look."""

    weights = "adjscc-lpips"

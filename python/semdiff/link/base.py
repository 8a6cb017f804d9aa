# SPDX-License-Identifier: Apache-2.0
"""What every link has: a transmitter, a receiver in two halves, and files, as a diffusers pipeline."""

from __future__ import annotations

import os
from abc import abstractmethod
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from semdiff.diffusion.matching import MatchMode
from semdiff.diffusion.sampler import Solver
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link.receiver import Receiver
from semdiff.models.loading import load_parts, read_index
from semdiff.models.store import quiet, saved, shipped_models, verify_checksums
from semdiff.phy.channel import Channel, Received
from semdiff.rng import Key, KeyLike
from semdiff.transmission.inputs import check_gains, check_images, check_share, choose_rate, per_sample
from semdiff.transmission.layout import Layout
from semdiff.transmission.ledger import Transmission
from semdiff.transmission.steps import StepCount, check_steps
from semdiff.transmission.symbols import ReceivedFeatures, features_to_symbols, receive_features
from semdiff.transmission.transmitter import Air, Decoded, ImageTransmitter
from semdiff.transmission.warnings import average_snr_db, warn_of_snr

DEFAULT_MODEL = "fashion-mnist"


class ImageLink(DiffusionPipeline, ImageTransmitter):  # type: ignore[misc]
    """features -> unit power -> channel -> equaliser -> up-sampler -> receiver. Its kinds say what the networks are.

    Attributes:
        schedule: of the denoiser's training.
        saved_as: the class's name in a folder's model_index.json.
    """

    saved_as: ClassVar[str]
    schedule: NoiseSchedule
    _heard_db: tuple[float, float]  # the SNRs of features between which the networks learned

    # What a kind has of its own

    @abstractmethod
    def layout(self, size: tuple[int, int] | None = None) -> Layout:
        """How images of this height and width lie on the air. None: of the size that the model is for, or of one cell if it takes any."""

    @abstractmethod
    def features(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Make the transmitter's features, (B, C, h, w), of images on its device; snr_db and rate (share of the symbol channels): (B,)."""

    @abstractmethod
    def upsample(self, arrived: ReceivedFeatures, snr_db: Tensor, rate: Tensor, key: Key, size: tuple[int, int]) -> Any:
        """Make of received features all that the receiver knows before it denoises: a reception."""

    @abstractmethod
    def receiver(self, size: tuple[int, int]) -> Receiver:
        """The receiver behind the up-sampler, for images of this height and width."""

    # What it offers

    @property
    def image_shape(self) -> tuple[int, int | None, int | None]:
        c, h, w = self.config.image_shape
        return c, h, w

    @property
    def cbrs(self) -> dict[int, float]:
        """Complex uses for each source value, by the number of symbol channels sent: what `cbr` can be. For a model of any size what they
        are without padding and header; `Ledger.cbr` counts both."""
        return self.layout().cbrs

    # The transmitter

    @torch.no_grad()
    def send(self, images: Tensor, snr_db: float | Tensor = 10.0, *, cbr: float | None = None) -> Tensor:
        """Make symbols for the air: complex (B, uses), unit average power in each sample.

        Args:
            images: float (B, C, H, W) in [0, 1].
            snr_db: what the transmitter believes about the channel, a number or (B,); it was trained with 2 dB of error there and may be
                wrong by more at a price.
            cbr: one of `cbrs`, within 5 %, or with a UserWarning what lies between them; None is the largest.
        """
        check_images(images, self.image_shape)
        channels = choose_rate(cbr, self.layout())
        believed = per_sample(snr_db, "snr_db", images.shape[0])
        warn_of_snr(believed, self.config.snr_db_range)
        images = images.to(self.device, self.dtype)
        features = self.features(images, believed.to(images), self._rate(channels, images))
        return features_to_symbols(features, channels, self.config.get("header", False))

    # The receiver

    @torch.no_grad()
    def receive(
        self,
        symbols: Tensor,
        noise_var: float | Tensor,
        h: Tensor | None = None,
        *,
        steps: StepCount = "auto",
        realism: float = 1.0,
        match: MatchMode = "calibrated",
        solver: Solver = "dpmpp_2m",
        diffusion: bool = True,
        key: KeyLike = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Make images (B, C, H, W) in [0, 1] of received symbols, complex (B, uses).

        Args:
            noise_var: E|n|^2, a number, (B,) or broadcastable to the symbols.
            h: the channel's complex gain, (B,) or broadcastable to the symbols; None is 1.
            steps: a number, or "auto": what `auto_steps` says to the SNR at which a sample was heard.
            realism: r gives (1 - r) * mean + r * sample, in pixels; see `semdiff.link.receiver` for what the mean is.
            match: see `starting_state`.
            solver: of `semdiff.sample`.
            diffusion: False decodes the up-sampler's estimate, by a decoder untrained for it.
            key: of the random numbers.
            size: height and width, for a model of any size.
        """
        received = self.received(symbols, noise_var, h, size)
        reception = self.equalize_and_upsample(received, key=key, size=size)
        return self.denoise_and_decode(
            reception, steps=steps, realism=realism, match=match, solver=solver, diffusion=diffusion, key=key, size=size
        ).images

    def received(
        self, symbols: Tensor, noise_var: float | Tensor, h: Tensor | None = None, size: tuple[int, int] | None = None
    ) -> Received:
        """Check what a channel of others gave, arguments as in `receive`, and put it as this package's channels do."""
        batch = symbols.shape[0]
        self._sized(size).channels_of(symbols)
        if isinstance(noise_var, Tensor) and noise_var.dim() > 1:
            per_symbol = noise_var.detach().double()
            if not bool((per_symbol > 0).all() & per_symbol.isfinite().all()):
                raise ValueError("noise_var: expected finite numbers above zero")
        else:
            per_symbol = per_sample(noise_var, "noise_var", batch, positive=True)[:, None]
        gain = check_gains(torch.ones(batch, device=symbols.device) if h is None else h, symbols)
        warn_of_snr(average_snr_db(gain, per_symbol, fading=h is not None), self.config.snr_db_range)
        return Received(symbols, gain, per_symbol.to(symbols.device))

    @torch.no_grad()
    def equalize_and_upsample(
        self, received: Received, channels: int | None = None, *, key: KeyLike = None, size: tuple[int, int] | None = None
    ) -> Any:
        """Make of what a channel returned all that the receiver knows before it denoises.

        channels: the symbol channels that were sent; None takes them from the number of symbols, to which a channel may have added its own.
        """
        layout = self._sized(size)
        channels = layout.channels_of(received.y) if channels is None else channels
        arrived, snr_db = receive_features(received, channels, layout, self._heard_db, self.device, self.dtype)
        size = (layout.image[1], layout.image[2])
        return self.upsample(arrived, snr_db, self._rate(channels, arrived.features), Key.of(key).fold_in(1), size)

    @torch.no_grad()
    def denoise_and_decode(
        self,
        reception: Any,
        *,
        steps: StepCount = "auto",
        realism: float = 1.0,
        match: MatchMode = "calibrated",
        solver: Solver = "dpmpp_2m",
        diffusion: bool = True,
        key: KeyLike = None,
        size: tuple[int, int] | None = None,
    ) -> Decoded:
        """Make images of what `equalize_and_upsample` knows; arguments as in `receive`."""
        share = check_share(realism, "realism")
        check_steps(steps, self.schedule.T)
        _, height, width = self._sized(size).image
        return self.receiver((height, width)).denoise_and_decode(reception, steps, share, match, solver, diffusion, Key.of(key).fold_in(2))

    # Both ends and the channel between them

    def transmit(  # type: ignore[override]
        self,
        images: Tensor,
        snr_db: float | Tensor,
        *,
        cbr: float | None = None,
        channel: Channel | None = None,
        steps: StepCount = "auto",
        realism: float = 1.0,
        key: KeyLike = None,
        match: MatchMode = "calibrated",
        solver: Solver = "dpmpp_2m",
        diffusion: bool = True,
    ) -> Transmission:
        """Send images over `channel` (AWGN() if None) at `snr_db`, a number or (B,), which both ends know, and receive them.

        Arguments as in `ImageTransmitter.transmit`; match, solver and diffusion as in `receive`.
        """
        options = {"match": match, "solver": solver, "diffusion": diffusion}
        return super().transmit(images, snr_db, cbr=cbr, channel=channel, steps=steps, realism=realism, key=key, **options)

    def exchange(
        self, images: Tensor, air: Air, *, cbr: float | None, steps: StepCount, realism: float, key: Key, **options: Any
    ) -> Decoded:
        check_steps(steps, self.schedule.T)
        symbols = self.send(images, air.snr_db, cbr=cbr)
        size = (images.shape[2], images.shape[3])
        reception = self.equalize_and_upsample(air(symbols), self.layout(size).channels_of(symbols), key=key, size=size)
        return self.denoise_and_decode(reception, steps=steps, realism=realism, key=key, size=size, **options)

    def __call__(
        self,
        images: Tensor,
        snr_db: float | Tensor,
        *,
        num_inference_steps: int | None = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Transmission:
        """`transmit` by the names of diffusers' pipelines: num_inference_steps is steps, generator makes the key."""
        if num_inference_steps is not None:
            options["steps"] = num_inference_steps
        if generator is not None:
            options["key"] = generator
        return self.transmit(images, snr_db, **options)

    # Files

    @classmethod
    def default(cls, model: str = DEFAULT_MODEL) -> Self:
        """Load a link that comes with the package: fashion-mnist (28x28 grey, CBR 1/12, 1/24) or photos (colour, any size, also 1/48).

        Raises:
            ValueError: for other names.
        """
        models = shipped_models()
        if model not in models:
            raise ValueError(f"model: expected one that comes with the package ({', '.join(models)}), got {model!r}")
        return cls.from_pretrained(models[model])

    @staticmethod
    def folder(model: str | os.PathLike[str]) -> Path:
        """Where a model lies: one of the package's by its name, or a folder."""
        return shipped_models().get(os.fspath(model), Path(model))

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike[str], **kwargs: Any) -> Self:
        """Load a link of the package by its name, or from a local folder that `save_pretrained` wrote.

        Args:
            pretrained_model_name_or_path: the name or the folder. Nothing is downloaded.
            kwargs: networks in place of the folder's, and dtype; float32 unless it says otherwise.

        Raises:
            FileNotFoundError: where there is none.
            ValueError: where a file is missing, truncated or altered.
        """
        folder = cls.folder(pretrained_model_name_or_path)
        if not (folder / "model_index.json").is_file():
            raise FileNotFoundError(f"{folder}: expected a folder with model_index.json, as save_pretrained writes it")
        verify_checksums(folder)
        options = {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True, "low_cpu_mem_usage": False} | kwargs
        index = read_index(folder, signature(cls).parameters, cls.saved_as)
        parts = load_parts(folder, {name: kind for name, kind in index.items() if name not in kwargs}, options)
        with quiet():
            link: Self = super().from_pretrained(str(folder), **(options | parts))
        return link

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """Writes the model as safetensors and JSON, with a checksum of each file: the folder holds the old model or the whole new one."""
        with saved(save_directory) as folder:
            super().save_pretrained(folder, **({"safe_serialization": True} | kwargs))

    # Parts

    def _rate(self, channels: int, like: Tensor) -> Tensor:
        share = channels / self.layout().channels
        return torch.full((like.shape[0],), share, dtype=like.dtype, device=like.device)

    def _sized(self, size: tuple[int, int] | None) -> Layout:
        """ValueError where the model takes any size and none is given, or takes one and another is given."""
        _, height, width = self.image_shape
        if size is None and height is None:
            raise ValueError("size: expected the height and width of the images, since this model takes any, got None")
        if size is not None and height is not None and tuple(size) != (height, width):
            raise ValueError(f"size: expected {height, width}, which this model was trained for, got {tuple(size)}")
        return self.layout(size)

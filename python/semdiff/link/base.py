# SPDX-License-Identifier: Apache-2.0
"""Define what every link has: a transmitter, and a receiver in two halves."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from semdiff._util.child_keys import DENOISER, UPSAMPLER
from semdiff.diffusion.matching import MatchMode
from semdiff.diffusion.sampler import Solver
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link.files import LinkFiles
from semdiff.link.own_denoiser import OwnDenoiser
from semdiff.link.receiver import Receiver
from semdiff.phy.channel import Channel, Received
from semdiff.rng import Key, KeyLike
from semdiff.transmission.inputs import check_gains, check_images, check_share, choose_rate, per_sample
from semdiff.transmission.layout import Layout
from semdiff.transmission.ledger import Transmission
from semdiff.transmission.step_count import StepCount, check_steps
from semdiff.transmission.symbols import ReceivedFeatures, features_to_symbols, receive_features
from semdiff.transmission.transmitter import Air, Decoded, ImageTransmitter
from semdiff.transmission.warnings import average_snr_db, warn_of_snr


class ImageLink(OwnDenoiser, LinkFiles, ImageTransmitter):
    """Send images as learned features: features -> unit power -> channel -> equaliser -> up-sampler -> receiver.

    A kind of link adds the networks: `SemanticLink` and `PixelLink`.

    Attributes:
        schedule: the noise schedule of the denoiser's training.
        feature_snr_range_db: SNRs in dB of features in the networks' training; others are brought to its ends.
    """

    axes: ClassVar[tuple[str, ...]] = ("steps", "realism")
    solver: ClassVar[Solver] = "dpmpp_2m"  # what is taken where none is named
    schedule: NoiseSchedule
    feature_snr_range_db: tuple[float, float]

    # What a kind has of its own

    @abstractmethod
    def layout(self, size: tuple[int, int] | None = None) -> Layout:
        """Describe the symbols of an image.

        Args:
            size: height and width of the images; None is the size that the model is for, or one cell if it takes any.

        Returns:
            Shapes, and channel uses at each rate.
        """

    @abstractmethod
    def features(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute the transmitter's features.

        Args:
            images: (B, C, H, W) in [0, 1], on the link's device.
            snr_db: what the transmitter knows of the channel, (B,).
            rate: share of the symbol channels to be sent, (B,).

        Returns:
            Features (B, C, h, w), not of unit power.
        """

    @abstractmethod
    def upsample(self, arrived: ReceivedFeatures, snr_db: Tensor, rate: Tensor, key: Key, size: tuple[int, int]) -> Any:
        """Compute what the receiver knows before it denoises.

        Args:
            arrived: received features (B, C, h, w) and their noise.
            snr_db: of the features, (B,).
            rate: share of the symbol channels that was sent, (B,).
            key: of the up-sampler's draw.
            size: height and width of the images.

        Returns:
            A reception, as the receiver of this link takes it.
        """

    @abstractmethod
    def receiver(self, size: tuple[int, int]) -> Receiver:
        """Return the receiver behind the up-sampler, for images of height and width `size`."""

    # What it offers

    @property
    def most_steps(self) -> int:
        """Return the number of steps of the schedule, the most that a sampler can take."""
        return self.schedule.T

    @property
    def image_shape(self) -> tuple[int, int | None, int | None]:
        """Return (C, H, W) of the images that the link takes; H and W are None where it takes any size."""
        c, h, w = self.config.image_shape
        return c, h, w

    @property
    def cbrs(self) -> dict[int, float]:
        """Return the bandwidth ratios on offer, complex channel uses for each source value, by number of symbol channels.

        For a model of any size these are the ratios without padding and header; `Ledger.cbr` counts both.
        """
        return self.layout().cbrs

    # The transmitter

    @torch.no_grad()
    def send(self, images: Tensor, snr_db: float | Tensor = 10.0, *, cbr: float | None = None) -> Tensor:
        """Encode images as symbols for the channel.

        Args:
            images: float (B, C, H, W) in [0, 1].
            snr_db: what the transmitter believes about the channel in dB, a number or (B,). It was trained with an error of 2 dB and loses
                quality with larger ones.
            cbr: one of `cbrs`, within 5 %, or with a UserWarning a ratio between them; None is the largest.

        Returns:
            complex (B, uses), of unit average power in each sample.

        Raises:
            TypeError, ValueError: naming the argument.

        Example:
            >>> from semdiff.data import sample_images
            >>> from semdiff.link import SemanticLink
            >>> SemanticLink.default().send(sample_images(), snr_db=10.0, cbr=1 / 24).shape
            torch.Size([10, 32])
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
        solver: Solver | None = None,
        diffusion: bool = True,
        key: KeyLike = None,
        size: tuple[int, int] | None = None,
    ) -> Tensor:
        """Decode images from received symbols.

        Args:
            symbols: complex (B, uses), as a channel returned them.
            noise_var: E|n|^2 of a symbol's noise, a number, (B,) or broadcastable to the symbols.
            h: the channel's complex gain, (B,) or broadcastable to the symbols; None is 1.
            steps: a number of sampling steps, or "auto", which looks up `auto_steps` at the SNR of the received features.
            realism: r gives (1 - r) * mean + r * sample, in pixels; see `semdiff.link.receiver` for the mean.
            match: see `semdiff.link.starting_state.starting_state`.
            solver: of `semdiff.sample`; None is the link's own.
            diffusion: False decodes the up-sampler's estimate, with a decoder that was not trained for it.
            key: of the random numbers; None draws one from torch's generator.
            size: height and width of the images, for a model of any size.

        Returns:
            float (B, C, H, W) in [0, 1].

        Raises:
            TypeError, ValueError: naming the argument.

        Example:
            >>> import semdiff as sd
            >>> from semdiff.data import sample_images
            >>> from semdiff.link import SemanticLink
            >>> link = SemanticLink.default()
            >>> received = sd.AWGN()(link.send(sample_images()[:2], 10.0), 10.0, sd.Key(0))
            >>> link.receive(received.y, received.noise_var[:, 0], received.h[:, 0], realism=0.0).shape
            torch.Size([2, 1, 28, 28])
        """
        received = self.received(symbols, noise_var, h, size)
        reception = self.equalize_and_upsample(received, key=key, size=size)
        return self.denoise_and_decode(
            reception, steps=steps, realism=realism, match=match, solver=solver, diffusion=diffusion, key=key, size=size
        ).images

    def received(
        self, symbols: Tensor, noise_var: float | Tensor, h: Tensor | None = None, size: tuple[int, int] | None = None
    ) -> Received:
        """Check the output of any channel and put it in the form that this package's channels return.

        Args:
            symbols, noise_var, h, size: as in `receive`.

        Returns:
            Symbols, gains and noise variances.

        Raises:
            TypeError, ValueError: naming the argument.
        """
        self._sized(size).channels_of(symbols)
        batch = symbols.shape[0]
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
        """Run the receiver's first half: equalise, unpack and up-sample.

        Args:
            received: as a channel returned it.
            channels: symbol channels that were sent; None takes them from the number of symbols, which a channel may have padded.
            key: as in `receive`.
            size: height and width of the images, for a model of any size.

        Returns:
            A reception, for `denoise_and_decode`.
        """
        layout = self._sized(size)
        if not isinstance(received, Received):
            raise TypeError(f"received: expected a semdiff.Received, got {type(received).__name__}")
        channels = layout.channels_of(received.y) if channels is None else channels
        if channels not in layout.counts:
            raise ValueError(f"channels: expected one of {layout.counts}, got {channels!r}")
        arrived, snr_db = receive_features(received, channels, layout, self.feature_snr_range_db, self.device, self.dtype)
        size = (layout.image[1], layout.image[2])
        return self.upsample(arrived, snr_db, self._rate(channels, arrived.features), Key.of(key).fold_in(UPSAMPLER), size)

    @torch.no_grad()
    def denoise_and_decode(
        self,
        reception: Any,
        *,
        steps: StepCount = "auto",
        realism: float = 1.0,
        match: MatchMode = "calibrated",
        solver: Solver | None = None,
        diffusion: bool = True,
        key: KeyLike = None,
        size: tuple[int, int] | None = None,
    ) -> Decoded:
        """Run the receiver's second half: denoise and decode.

        Args:
            reception: from `equalize_and_upsample`.
            steps, realism, match, solver, diffusion, key, size: as in `receive`.

        Returns:
            The images, the time at which denoising began, and the evaluations.
        """
        share = check_share(realism, "realism")
        check_steps(steps, self.schedule.T)
        _, height, width = self._sized(size).image
        return self.receiver((height, width)).denoise_and_decode(
            reception, steps, share, match, solver or self.solver, diffusion, Key.of(key).fold_in(DENOISER)
        )

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
        solver: Solver | None = None,
        diffusion: bool = True,
    ) -> Transmission:
        """Send images over a channel and receive them; both ends know the SNR.

        Args:
            images: float (B, C, H, W) in [0, 1].
            snr_db: signal-to-noise ratio of a symbol in dB, a number or float (B,).
            cbr: one of `cbrs`, within 5 %; None is the largest.
            channel: None is `semdiff.AWGN()`.
            steps, realism, match, solver, diffusion: as in `receive`.
            key: of the channel's and the receiver's random numbers; None draws one from torch's generator.

        Returns:
            The received images, their channel uses, and what was measured.

        Raises:
            TypeError, ValueError: naming the argument.

        Example:
            >>> import semdiff as sd
            >>> from semdiff.data import sample_images
            >>> from semdiff.link import SemanticLink
            >>> link = SemanticLink.default()
            >>> sent = link.transmit(sample_images()[:2], snr_db=10.0, cbr=1 / 12, steps=2, key=sd.Key(0))
            >>> sent.images.shape, sent.ledger.total, sent.evaluations
            (torch.Size([2, 1, 28, 28]), 64, 2)
        """
        options = {"match": match, "solver": solver, "diffusion": diffusion}
        return super().transmit(images, snr_db, cbr=cbr, channel=channel, steps=steps, realism=realism, key=key, **options)

    def exchange(
        self, images: Tensor, air: Air, *, cbr: float | None, steps: StepCount, realism: float, key: Key, **options: Any
    ) -> Decoded:
        """Run the link once: the body of `transmit`.

        Args:
            images, cbr, steps, realism: as in `transmit`.
            air: the channel at this batch's SNR.
            key: of the batch.
            options: match, solver and diffusion, as in `receive`.
        """
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
        """Run `transmit` by the argument names of diffusers' pipelines.

        Args:
            images, snr_db: as in `transmit`.
            num_inference_steps: steps; None leaves the default.
            generator: makes the key; None leaves the default.
            options: more arguments of `transmit`.
        """
        for name, given, alias in (("steps", num_inference_steps, "num_inference_steps"), ("key", generator, "generator")):
            if given is not None:
                if name in options:
                    raise ValueError(f"{alias}: expected None beside {name}, which means the same, got both")
                options[name] = given
        return self.transmit(images, snr_db, **options)

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

# SPDX-License-Identifier: Apache-2.0
"""Define PixelLink: a link whose diffusion model works on the image itself, for small images of one size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

from diffusers import SchedulerMixin
from torch import Tensor, nn

from semdiff.diffusion.matching import DiffusionState
from semdiff.diffusion.sampler import Solver
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link.base import ImageLink
from semdiff.link.pixel_receiver import PixelReceiver
from semdiff.link.pixel_starting_state import PixelReception, perceptual_state, without_padding
from semdiff.link.receiver import Receiver
from semdiff.models.jscc_layers import JSCCDecoder, Transmitter
from semdiff.models.pixels import PixelDenoiser, PixelScale, PixelUpsampler
from semdiff.models.residual_jscc import ResidualDecoder, ResidualTransmitter
from semdiff.models.residual_upsampler import ResidualUpsampler
from semdiff.rng import Key
from semdiff.transmission.layout import Layout
from semdiff.transmission.step_count import check_table
from semdiff.transmission.symbols import ReceivedFeatures
from semdiff.transmission.warnings import check_range


class PixelLink(ImageLink):
    """Send images as features and denoise their pixels.

    transmitter -> unit power -> channel -> up-sampler and perceptual decoder -> match -> denoiser

    It has the methods of `SemanticLink`. The mean (realism 0) is that of the up-sampler's Gaussian and takes no evaluation of the denoiser.
    A sample begins at the perceptual estimate plus fresh noise, at the time that belongs to both, see `semdiff.link.pixel_starting_state`.

    Args:
        transmitter, upsampler, decoder, unet: the networks.
        scheduler: diffusers' scheduler with the noise schedule of the denoiser's training.
        image_shape: (C, H, W) of the images it takes.
        rates: numbers of symbol channels on offer.
        pixel_mean, pixel_std: of the data set, see `PixelScale`.
        renoise: variance of the fresh noise at the beginning, in parts of the estimate's error variance.
        auto_steps: what steps="auto" means, pairs of an SNR in dB and the steps from there upwards; None is 8.
        snr_db_range: the SNRs of the training, [low, high] in dB; outside there is a UserWarning.

    Example:
        >>> from semdiff.link import PixelLink
        >>> link = PixelLink.from_pretrained("fashion-mnist")
        >>> link.image_shape
        (1, 28, 28)
    """

    saved_as: ClassVar[str] = "PixelLink"
    solver: ClassVar[Solver] = "ddim"  # the path is straight: with 4 steps dpmpp_2m costs .6 dB and .01 of LPIPS
    _optional_components: list[str] = []  # noqa: RUF012, diffusers' own name and type

    def __init__(
        self,
        transmitter: Transmitter | ResidualTransmitter,
        upsampler: PixelUpsampler | ResidualUpsampler,
        decoder: JSCCDecoder | ResidualDecoder,
        unet: PixelDenoiser,
        scheduler: SchedulerMixin,
        image_shape: Sequence[int] = (1, 28, 28),
        rates: Sequence[int] = (2, 1),
        pixel_mean: float = 0.0,
        pixel_std: float = 1.0,
        renoise: float = 0.25,
        auto_steps: Sequence[Sequence[float]] | None = None,
        snr_db_range: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        modules: dict[str, nn.Module] = {"transmitter": transmitter, "upsampler": upsampler, "decoder": decoder, "unet": unet}
        self.register_modules(scheduler=scheduler, **modules)
        self.schedule = NoiseSchedule.from_diffusers(scheduler)
        _check_settings(transmitter, image_shape, rates, pixel_mean, pixel_std, renoise)
        check_table(auto_steps, self.schedule.T)
        check_range(snr_db_range)
        self.register_to_config(image_shape=list(image_shape), rates=list(rates), renoise=renoise, auto_steps=auto_steps)
        self.register_to_config(pixel_mean=pixel_mean, pixel_std=pixel_std, snr_db_range=snr_db_range and list(snr_db_range))
        self.scale = PixelScale(pixel_mean, pixel_std)
        # Features outside the training's range are brought to its ends, as `clamp_snr` says.
        self.feature_snr_range_db = (snr_db_range[0], snr_db_range[1]) if snr_db_range else (-math.inf, math.inf)
        for module in modules.values():
            module.eval()

    # What it offers

    @property
    def cell(self) -> int:
        """Compute the side in pixels of the square that images are padded to multiples of: two features."""
        return 2 * self.transmitter.cell  # type: ignore[no-any-return]

    @property
    def trained_on(self) -> tuple[str, ...]:
        """List the metrics that the training optimised."""
        return "psnr", "lpips_alex", "lpips_alex_shifted"

    def layout(self, size: tuple[int, int] | None = None) -> Layout:
        """Describe the symbols of an image, see `ImageLink.layout`.

        Args:
            size: height and width of the images; None is the size that the model is for.
        """
        c, height, width = self.config.image_shape
        h, w = size or (height, width)
        config = self.transmitter.config
        return Layout((c, h, w), self.cell, self.transmitter.cell, config.symbol_channels, tuple(self.config.rates))

    # Transmitter and receiver

    def features(self, images: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        """Compute the transmitter's features, see `ImageLink.features`.

        Args:
            images: (B, C, H, W) in [0, 1], on the link's device.
            snr_db: what the transmitter knows of the channel, (B,).
            rate: share of the symbol channels to be sent, (B,).
        """
        return self.transmitter(images, snr_db.clamp(*self.feature_snr_range_db), rate)  # type: ignore[no-any-return]

    def upsample(self, arrived: ReceivedFeatures, snr_db: Tensor, rate: Tensor, key: Key, size: tuple[int, int]) -> PixelReception:
        """Compute the up-sampler's Gaussian and the perceptual estimate, see `ImageLink.upsample`.

        Args:
            arrived: received features and their noise.
            snr_db, rate: SNR of the features and share of the symbol channels, (B,).
            key: of the draw.
            size: height and width of the images.
        """
        features, noise_var, noise_map = arrived
        gaussian = self.upsampler(features, snr_db, rate, key, noise_map)
        perceptual = self.scale.normalize(self.decoder(features, snr_db, rate, size).float())
        return PixelReception(without_padding(gaussian, size), perceptual, noise_var.cpu(), rate)

    def receiver(self, size: tuple[int, int]) -> Receiver:
        """Return the receiver behind the up-sampler, for images of height and width `size`."""
        return PixelReceiver(self.schedule, self.config.auto_steps, self.unet, self.dtype, self.scale, self.begin, self.own_denoiser)

    def begin(self, reception: PixelReception, key: Key) -> DiffusionState:
        """Compute the state x_t at which denoising begins, and its time t (B,).

        Args:
            reception: from `upsample`.
            key: of the fresh noise.
        """
        return perceptual_state(reception, self.scale, self.schedule, self.config.renoise, key)

    def compile(self, *_: Any, **__: Any) -> PixelLink:
        """Return the link as it is: the networks of small images take longer to compile than to run."""
        return self


def _check_settings(
    transmitter: Transmitter | ResidualTransmitter, image_shape: Any, rates: Any, pixel_mean: Any, pixel_std: Any, renoise: Any
) -> None:
    most = transmitter.config.symbol_channels
    for name, value, right, expected in (
        ("image_shape", image_shape, _whole(image_shape) and len(image_shape) == 3, "three whole numbers above zero, (C, H, W)"),
        ("rates", rates, _whole(rates) and rates and max(rates) <= most, f"symbol channels from 1 to {most}"),
        ("pixel_mean", pixel_mean, _finite(pixel_mean), "a finite number"),
        ("pixel_std", pixel_std, _finite(pixel_std) and pixel_std > 0, "a finite number above zero"),
        ("renoise", renoise, _finite(renoise) and renoise >= 0, "a finite number, at least zero"),
    ):
        if not right:
            raise ValueError(f"{name}: expected {expected}, got {value!r}")


def _whole(values: Any) -> bool:
    return isinstance(values, Sequence) and all(type(v) is int and v > 0 for v in values)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)

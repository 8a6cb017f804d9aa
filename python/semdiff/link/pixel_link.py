# SPDX-License-Identifier: Apache-2.0
"""PixelLink: a link whose diffusion model works on the image itself, for small images of one size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from torch import Tensor, nn

from semdiff.diffusion.matching import DiffusionState, MatchMode
from semdiff.diffusion.sampler import Solver, sample
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link.pipeline import SemanticLink
from semdiff.link.pixel_reception import PixelReception, mean_estimate, perceptual_state, straight_grid, without_padding
from semdiff.models.jscc import JSCCDecoder, Transmitter
from semdiff.models.pixels import PixelDenoiser, PixelScale, PixelUpsampler
from semdiff.phy.channel import Received
from semdiff.rng import Key, KeyLike
from semdiff.transmission.inputs import check_images, check_share, choose_rate, per_sample
from semdiff.transmission.layout import Layout
from semdiff.transmission.steps import USUAL, Steps, check_steps, check_table, resolve_steps, sample_in_groups
from semdiff.transmission.symbols import features_to_symbols, hear_within
from semdiff.transmission.warnings import check_range, warn_of_snr


class PixelLink(SemanticLink):
    """transmitter -> unit power -> channel -> up-sampler and perceptual decoder -> match -> denoiser.

    It has the methods of `SemanticLink`. The mean (realism 0) is that of the up-sampler's Gaussian, without an evaluation; a sample begins
    at the perceptual estimate and fresh noise, at the time that belongs to both, see `semdiff.link.pixel_reception`.

    Args:
        transmitter, upsampler, decoder, unet: the networks.
        scheduler: diffusers' scheduler with the table that the denoiser was trained with.
        image_shape: (C, H, W) of the images it takes.
        rates: numbers of symbol channels on offer.
        pixel_mean, pixel_std: of the data set, see `PixelScale`.
        renoise: fresh noise at the beginning, in parts of the estimate's error variance.
        auto_steps: what steps="auto" means, pairs of an SNR in dB and the steps from there upwards; None is 8.
        snr_db_range: the SNRs of the training, [low, high]; outside there is a UserWarning.
    """

    saved_as: ClassVar[str] = "PixelLink"
    _optional_components: list[str] = []  # noqa: RUF012, diffusers' own name and type

    def __init__(
        self,
        transmitter: Transmitter,
        upsampler: PixelUpsampler,
        decoder: JSCCDecoder,
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
        DiffusionPipeline.__init__(self)
        modules: dict[str, nn.Module] = {"transmitter": transmitter, "upsampler": upsampler, "decoder": decoder, "unet": unet}
        self.register_modules(scheduler=scheduler, **modules)
        self.schedule = NoiseSchedule.from_diffusers(scheduler)
        check_table(auto_steps, self.schedule.T)
        check_range(snr_db_range)
        self.register_to_config(image_shape=list(image_shape), rates=list(rates), renoise=renoise, auto_steps=auto_steps)
        self.register_to_config(pixel_mean=pixel_mean, pixel_std=pixel_std, snr_db_range=snr_db_range and list(snr_db_range))
        self.scale = PixelScale(pixel_mean, pixel_std)
        # What is heard outside the training's range is brought to its ends, as `within` says.
        self._heard_db = (snr_db_range[0], snr_db_range[1]) if snr_db_range else (-math.inf, math.inf)
        for module in modules.values():
            module.eval()

    # What it offers

    @property
    def cell(self) -> int:
        return 2 * self.transmitter.cell  # type: ignore[no-any-return]

    @property
    def trained_on(self) -> tuple[str, ...]:
        return "psnr", "lpips_alex", "lpips_alex_shifted"

    def layout(self, size: tuple[int, int] | None = None) -> Layout:
        c, height, width = self.config.image_shape
        h, w = size or (height, width)
        config = self.transmitter.config
        return Layout((c, h, w), self.cell, self.transmitter.cell, config.symbol_channels, tuple(self.config.rates))

    # Transmitter and receiver

    @torch.no_grad()
    def send(self, images: Tensor, cbr: float | None = None, snr_db: float | Tensor = 10.0) -> Tensor:
        check_images(images, self.image_shape)
        channels = choose_rate(cbr, self.layout())
        believed = per_sample(snr_db, "snr_db", images.shape[0])
        warn_of_snr(believed, self.config.snr_db_range)
        images = images.to(self.device, self.dtype)
        told = believed.to(images).clamp(*self._heard_db)
        return features_to_symbols(self.transmitter(images, told, self._rate(channels, images)), channels)

    @torch.no_grad()
    def understand(  # type: ignore[override]
        self, received: Received, channels: int, key: KeyLike = None, size: tuple[int, int] | None = None
    ) -> PixelReception:
        """Make of what a channel returned all that the receiver knows of the image before it denoises."""
        layout = self._sized(size)
        arrived, snr_db = hear_within(received, channels, layout, self._heard_db, self.device, self.dtype)
        features, noise_var, noise_map = arrived
        told = snr_db, self._rate(channels, features)
        pixels = (layout.image[1], layout.image[2])
        gaussian = self.upsampler(features, *told, Key.of(key).fold_in(1), noise_map)
        perceptual = self.scale.normalize(self.decoder(features, *told, pixels).float())
        return PixelReception(without_padding(gaussian, pixels), perceptual, noise_var.cpu(), told[1])

    @torch.no_grad()
    def imagine(  # type: ignore[override]
        self,
        heard: PixelReception,
        steps: Steps = USUAL,
        realism: float = 1.0,
        match: MatchMode = "calibrated",
        solver: Solver = "dpmpp_2m",
        diffusion: bool = True,
        key: KeyLike = None,
        size: tuple[int, int] | None = None,
    ) -> tuple[Tensor, Tensor, int]:
        """Images (B, C, H, W) in [0, 1], the time t at which denoising began (B,), and evaluations for each image, the most if they differ.

        diffusion=False gives the perceptual estimate, from which the denoiser would begin.
        """
        share = check_share(realism, "realism")
        check_steps(steps, self.schedule.T)
        if match != "calibrated":
            raise ValueError(f"match: expected calibrated, the only one that a link on pixels has, got {match!r}")
        self._sized(size)
        nowhere = torch.full_like(heard.noise_var, torch.nan)
        if not diffusion:
            return self._to_pixels(heard.perceptual), nowhere, 0
        if share == 0.0:
            return self._mean_picture(heard), nowhere, 0
        base = Key.of(key).fold_in(2)
        state = self.begin(heard, base)
        counts = resolve_steps(steps, heard.snr_db, self.config.auto_steps)

        def draw(count: int, rows: Tensor) -> Tensor:
            part = DiffusionState(state.x[rows], state.t[rows])
            grid = straight_grid(part.t, count, self.schedule)
            told = heard.snr_db[rows].to(part.x), heard.rate[rows].to(part.x)
            denoise = lambda x, t: self.unet(x.to(self.dtype), self.schedule.noise_var(t).log().to(x), *told).to(x)  # noqa: E731
            return sample(denoise, part, self.schedule, count, solver, prediction="v", key=base.fold_in(1), grid=grid)

        x = sample_in_groups(draw, counts, together=solver == "ddpm")
        evaluations = 2 * int(counts.max()) - 1 if solver == "heun" else int(counts.max())
        found = self._to_pixels(x)
        return found if share == 1.0 else (1 - share) * self._mean_picture(heard) + share * found, state.t, evaluations

    def begin(self, heard: PixelReception, key: Key) -> DiffusionState:
        """The state x_t at which denoising begins, and its time t (B,)."""
        return perceptual_state(heard, self.scale, self.schedule, self.config.renoise, key)

    def compile(self, *_: Any, **__: Any) -> PixelLink:
        """Nothing is compiled: the networks of small images take longer to compile than to run."""
        return self

    def _mean_picture(self, heard: PixelReception) -> Tensor:
        return self._to_pixels(mean_estimate(heard.gaussian, self.schedule)[0])

    def _to_pixels(self, x: Tensor) -> Tensor:
        return self.scale.images(x).clamp(0, 1)

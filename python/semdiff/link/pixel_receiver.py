# SPDX-License-Identifier: Apache-2.0
"""Receive with a diffusion model on pixels: follow a flow from the perceptual estimate and fresh noise to the image."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from semdiff.diffusion.matching import DiffusionState, MatchMode
from semdiff.diffusion.sampler import Solver, sample
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link.pixel_starting_state import PixelReception, mean_estimate, straight_grid
from semdiff.link.receiver import evaluations_of
from semdiff.models.pixels import PixelDenoiser, PixelScale
from semdiff.rng import Key
from semdiff.transmission.step_count import StepCount, resolve_steps, sample_in_groups
from semdiff.transmission.transmitter import Decoded


@dataclass(frozen=True)
class PixelReceiver:
    """Decode the mean of the up-sampler's Gaussian, or draw a sample.

    Attributes:
        unet: the denoiser.
        dtype: of the network.
        scale: of the data set's pixels.
        schedule: of the denoiser's training.
        auto_steps: what steps="auto" means, see `resolve_steps`.
        begin: (reception, key) -> the state at which a sample begins.
    """

    unet: PixelDenoiser
    dtype: torch.dtype
    scale: PixelScale
    schedule: NoiseSchedule
    auto_steps: Sequence[Sequence[float]] | None
    begin: Callable[[PixelReception, Key], DiffusionState]

    def denoise_and_decode(
        self, reception: PixelReception, steps: StepCount, realism: float, match: MatchMode, solver: Solver, diffusion: bool, key: Key
    ) -> Decoded:
        """Make (1 - realism) * mean + realism * sample, in pixels.

        Args:
            reception: from the link's `upsample`.
            steps, realism, solver: as in `ImageLink.receive`.
            match: "calibrated", the only one that a link on pixels has.
            diffusion: False gives the perceptual estimate, from which a sample would begin.
            key: of the fresh noise; its child 1 is the sampler's.

        Returns:
            The images, the time at which denoising began, and the evaluations.

        Raises:
            ValueError: for another match.
        """
        if match != "calibrated":
            raise ValueError(f"match: expected calibrated, the only one that a link on pixels has, got {match!r}")
        no_time = torch.full_like(reception.noise_var, torch.nan)
        if not diffusion:
            return Decoded(self._to_images(reception.perceptual), no_time)
        if realism == 0.0:
            return Decoded(self._mean(reception), no_time)
        state = self.begin(reception, key)
        counts = resolve_steps(steps, reception.snr_db, self.auto_steps)

        def draw(count: int, rows: Tensor) -> Tensor:
            part = DiffusionState(state.x[rows], state.t[rows])
            grid = straight_grid(part.t, count, self.schedule)
            conditions = reception.snr_db[rows].to(part.x), reception.rate[rows].to(part.x)
            denoise = lambda x, t: self.unet(x.to(self.dtype), self.schedule.noise_var(t).log().to(x), *conditions).to(x)  # noqa: E731
            return sample(denoise, part, self.schedule, count, solver, prediction="v", key=key.fold_in(1), grid=grid)

        sampled = self._to_images(sample_in_groups(draw, counts, together=solver == "ddpm"))
        images = sampled if realism == 1.0 else (1 - realism) * self._mean(reception) + realism * sampled
        return Decoded(images, state.t, evaluations_of(counts, solver))

    def _mean(self, reception: PixelReception) -> Tensor:
        return self._to_images(mean_estimate(reception.gaussian, self.schedule)[0])

    def _to_images(self, x: Tensor) -> Tensor:
        return self.scale.images(x).clamp(0, 1)

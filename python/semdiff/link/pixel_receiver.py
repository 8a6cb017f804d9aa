# SPDX-License-Identifier: Apache-2.0
"""Receive with a diffusion model on pixels: follow a flow from the perceptual estimate and fresh noise to the image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from semdiff.diffusion.matching import DiffusionState, MatchMode
from semdiff.diffusion.sampler import Denoiser, Prediction, Solver, sample
from semdiff.link.pixel_starting_state import PixelReception, mean_estimate, straight_grid
from semdiff.link.receiver import Receiver
from semdiff.models.pixels import PixelDenoiser, PixelScale
from semdiff.rng import Key
from semdiff.transmission.step_count import StepCount
from semdiff.transmission.transmitter import Decoded


@dataclass(frozen=True)
class PixelReceiver(Receiver):
    """Decode the mean of the up-sampler's Gaussian, or draw a sample.

    Attributes:
        unet: the denoiser.
        dtype: of the network.
        scale: of the data set's pixels.
        begin: (reception, key) -> the state at which a sample begins.
        own_denoiser: a user's denoiser in the place of unet and what it predicts, or None.
    """

    unet: PixelDenoiser
    dtype: torch.dtype
    scale: PixelScale
    begin: Callable[[PixelReception, Key], DiffusionState]
    own_denoiser: tuple[Denoiser, Prediction] | None = None

    def denoise_and_decode(
        self, reception: PixelReception, steps: StepCount, realism: float, match: MatchMode, solver: Solver, diffusion: bool, key: Key
    ) -> Decoded:
        """Make (1 - realism) * mean + realism * sample, in pixels.

        Args:
            reception, steps, realism, solver, diffusion, key: as in `Receiver.denoise_and_decode`.
            match: "calibrated", the only one that a link on pixels has.

        Raises:
            ValueError: for another match.
        """
        if match != "calibrated":
            raise ValueError(f"match: expected calibrated, the only one that a link on pixels has, got {match!r}")
        return super().denoise_and_decode(reception, steps, realism, match, solver, diffusion, key)

    def estimate(self, reception: PixelReception) -> Tensor:
        """Make the perceptual estimate of a reception, from which a sample would begin."""
        return self.show(reception.perceptual, reception)

    def mean(self, reception: PixelReception, match: MatchMode, key: Key) -> Decoded:
        """Decode the mean of the reception's Gaussian, without an evaluation; match and key are unused."""
        images = self.show(mean_estimate(reception.gaussian, self.schedule)[0], reception)
        return Decoded(images, torch.full_like(reception.noise_var, torch.nan))

    def start(self, reception: PixelReception, match: MatchMode, key: Key) -> DiffusionState:
        """Make the state at which a sample of the reception begins; key draws its fresh noise, match is unused."""
        return self.begin(reception, key)

    def draw(self, reception: PixelReception, rows: Tensor, state: DiffusionState, steps: int, solver: Solver, key: Key) -> Tensor:
        """Sample normalised pixels. Arguments reception, rows, state, steps, solver, key: as in `Receiver.draw`."""
        grid = straight_grid(state.t, steps, self.schedule)
        conditions = reception.snr_db[rows].to(state.x), reception.rate[rows].to(state.x)
        own = lambda x, t: self.unet(x.to(self.dtype), self.schedule.noise_var(t).log().to(x), *conditions).to(x)  # noqa: E731
        denoise, prediction = self.own_denoiser or (own, "v")
        return sample(denoise, state, self.schedule, steps, solver, prediction=prediction, key=key, grid=grid)

    def show(self, x: Tensor, reception: PixelReception) -> Tensor:
        """Turn normalised pixels x into images; reception is unused."""
        return self.scale.images(x).clamp(0, 1)

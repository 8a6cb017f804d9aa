# SPDX-License-Identifier: Apache-2.0
"""Receive with a diffusion model on latents: turn the up-sampler's Gaussian into an image.

There are two kinds. A `DenoisingReceiver` decodes the denoiser's output: its posterior mean, or a sample. A `DecodingReceiver` has a
decoder of its own for the image of least error, which needs no evaluation of the denoiser, and may have one that adds a sample's details.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from semdiff._util.child_keys import MEAN, SAMPLE
from semdiff.diffusion.matching import DiffusionState, MatchMode
from semdiff.diffusion.sampler import Prediction, Solver, posterior_mean, sample
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link.starting_state import Reception, estimate, estimate_elements, starting_state
from semdiff.phy.channel import snr_db_of
from semdiff.rng import Key
from semdiff.transmission.step_count import StepCount, resolve_steps, sample_in_groups
from semdiff.transmission.transmitter import Decoded

Denoise: TypeAlias = Callable[[Tensor, Tensor], Tensor]  # (x_t, t) -> what the schedule's prediction type says


@dataclass(frozen=True)
class Receiver(ABC):
    """Turn what is known behind an up-sampler into images: the estimate, the mean, a sample, or a mixture of the last two.

    A kind of receiver says what these are; a reception is what the link's `upsample` returns, and has noise_var, float64 (B,).

    Attributes:
        schedule: of the denoiser's training.
        auto_steps: what steps="auto" means, see `resolve_steps`.
    """

    schedule: NoiseSchedule
    auto_steps: Sequence[Sequence[float]] | None

    @abstractmethod
    def estimate(self, reception: Any) -> Tensor:
        """Make the images (B, C, H, W) in [0, 1] of a reception without denoising."""

    @abstractmethod
    def mean(self, reception: Any, match: MatchMode, key: Key) -> Decoded:
        """Make the image of least error.

        Args:
            reception: from the link's `upsample`.
            match: as in `ImageLink.receive`.
            key: of the random numbers.
        """

    @abstractmethod
    def start(self, reception: Any, match: MatchMode, key: Key) -> DiffusionState:
        """Make the state at which a sample begins. Arguments reception, match, key: as in `mean`."""

    @abstractmethod
    def draw(self, reception: Any, rows: Tensor, state: DiffusionState, steps: int, solver: Solver, key: Key) -> Tensor:
        """Sample from a state.

        Args:
            reception: of the whole batch.
            rows: int64 (n,), the samples of the batch that the state is of.
            state: where they begin.
            steps, solver: of the sampler.
            key: of the sampler.
        """

    @abstractmethod
    def show(self, x: Tensor, reception: Any) -> Tensor:
        """Decode samples.

        Args:
            x: from `draw`, (B, C, h, w).
            reception: of the whole batch.

        Returns:
            Images (B, C, H, W) in [0, 1].
        """

    def denoise_and_decode(
        self, reception: Any, steps: StepCount, realism: float, match: MatchMode, solver: Solver, diffusion: bool, key: Key
    ) -> Decoded:
        """Make (1 - realism) * mean + realism * sample, in pixels.

        Args:
            reception: from the link's `upsample`.
            steps, realism, match, solver: as in `ImageLink.receive`.
            diffusion: False gives the estimate.
            key: itself for the start of the mean or the sample, its child SAMPLE for the sampler, MEAN for the mean of a mixture.

        Returns:
            The images, the time at which denoising began, and the evaluations.
        """
        if not diffusion:
            return Decoded(self.estimate(reception), torch.full_like(reception.noise_var, torch.nan))
        if realism == 0.0:
            return self.mean(reception, match, key)
        state = self.start(reception, match, key)
        counts = resolve_steps(steps, snr_db_of(reception.noise_var), self.auto_steps)

        def draw(count: int, rows: Tensor) -> Tensor:
            part = DiffusionState(state.x[rows], state.t[rows])
            return self.draw(reception, rows, part, count, solver, key.fold_in(SAMPLE))

        x = sample_in_groups(draw, counts, together=solver == "ddpm")
        images, evaluations = self.show(x, reception), evaluations_of(counts, solver)
        if realism == 1.0:
            return Decoded(images, state.t, evaluations)
        mean = self.mean(reception, match, key.fold_in(MEAN))
        return Decoded((1 - realism) * mean.images + realism * images, state.t, evaluations + mean.evaluations)


@dataclass(frozen=True)
class LatentReceiver(Receiver):
    """Denoise latents and decode them.

    Attributes:
        denoiser: (estimate, ln of its error variance) -> the denoiser (x, t) -> output, which may be conditioned on them.
        decode: latents to images in [0, 1].
        prediction, clip: of the denoiser's training.
        renoise: fresh noise at a sample's start, see `starting_state`.
    """

    denoiser: Callable[[Tensor, Tensor], Denoise]
    decode: Callable[[Tensor], Tensor]
    prediction: Prediction
    clip: float | None
    renoise: float

    def estimate(self, reception: Reception) -> Tensor:
        """Decode the up-sampler's estimate, which the decoder was not trained for; reception: see `Reception`."""
        return self.decode(estimate(*reception)[0])

    def start(self, reception: Reception, match: MatchMode, key: Key) -> DiffusionState:
        """Make the state at which a sample begins, see `starting_state`. Arguments reception, match, key: as in `Receiver.mean`."""
        return starting_state(*reception, self.schedule, match, self.renoise, key)

    def draw(self, reception: Reception, rows: Tensor, state: DiffusionState, steps: int, solver: Solver, key: Key) -> Tensor:
        """Sample latents. Arguments reception, rows, state, steps, solver, key: as in `Receiver.draw`."""
        denoise = self.denoiser(*estimate_elements(*reception.of(rows)))
        return sample(denoise, state, self.schedule, steps, solver, prediction=self.prediction, clip=self.clip, key=key)


@dataclass(frozen=True)
class DenoisingReceiver(LatentReceiver):
    """Decode the denoiser's posterior mean, and its samples by `decode_sample`."""

    decode_sample: Callable[[Tensor], Tensor]

    def mean(self, reception: Reception, match: MatchMode, key: Key) -> Decoded:
        """Decode the denoiser's posterior mean: one evaluation. Arguments reception, match, key: as in `Receiver.mean`."""
        state = starting_state(*reception, self.schedule, match, 0.0, key)
        denoise = self.denoiser(*estimate_elements(*reception))
        return Decoded(self.decode(posterior_mean(denoise, state, self.schedule, self.prediction, self.clip)), state.t, 1)

    def show(self, x: Tensor, reception: Reception) -> Tensor:
        """Decode sampled latents x by `decode_sample`; reception is unused."""
        return self.decode_sample(x)


@dataclass(frozen=True)
class DecodingReceiver(LatentReceiver):
    """Decode the up-sampler's Gaussian by a mean decoder; a detail decoder, where there is one, adds to that what samples show."""

    decode_sample: Callable[[Tensor], Tensor]
    to_images: Callable[[Tensor], Tensor]
    mean_decoder: nn.Module
    detail_decoder: nn.Module | None

    def mean(self, reception: Reception, match: MatchMode, key: Key) -> Decoded:
        """Decode the Gaussian of the reception without the denoiser; match and key are unused."""
        no_time = torch.full_like(reception.noise_var, torch.nan)
        return Decoded(self.to_images(self.mean_decoder(*estimate_elements(*reception))), no_time)

    def show(self, x: Tensor, reception: Reception) -> Tensor:
        """Decode sampled latents x by the detail decoder, which also sees the reception, or without one by `decode_sample`."""
        if self.detail_decoder is None:
            return self.decode_sample(x)
        estimated = estimate_elements(*reception)
        return self.to_images(self.detail_decoder(x, *estimated, self.mean_decoder(*estimated)))


def evaluations_of(counts: Tensor, solver: Solver) -> int:
    """Count the denoiser's evaluations for samples of so many steps, the most where they differ.

    Args:
        counts: steps of each sample, int64 (B,).
        solver: heun takes two evaluations a step but the last, the others one.
    """
    most = int(counts.max())
    return 2 * most - 1 if solver == "heun" else most

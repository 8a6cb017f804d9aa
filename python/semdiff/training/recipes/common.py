# SPDX-License-Identifier: Apache-2.0
"""Share what the recipes of links have in common: images, the kind of autoencoder, the schedule, and how one stage follows another."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from accelerate import Accelerator
from diffusers import AutoencoderTiny, DDIMScheduler
from torch import Tensor

from semdiff.data import cifar10, fashion_mnist
from semdiff.link import SemanticLink
from semdiff.rng import Key
from semdiff.training.batches import Batches
from semdiff.training.curve import StageCurve
from semdiff.training.engine import Plan, Stage, fit
from semdiff.training.saving import save_link


def read_images(name: str, folder: str | os.PathLike[str] | None = None) -> Tensor:
    """Read training images.

    Args:
        name: fashion-mnist or cifar10.
        folder: of the data set; None is its usual place.

    Returns:
        (N, C, H, W) in [0, 1].
    """
    if name == "cifar10":
        return cifar10("train", folder).images.float() / 255
    return fashion_mnist("train", folder).images


def check_budget(budget: float) -> None:
    """Check a factor on the steps of a recipe.

    Args:
        budget: the factor.

    Raises:
        TypeError, ValueError: where it is not a finite number above zero.
    """
    if not isinstance(budget, (int, float)):
        raise TypeError(f"budget: expected a finite number above zero, got {type(budget).__name__}")
    if not 0 < budget < math.inf:
        raise ValueError(f"budget: expected a finite number above zero, got {budget}")


def autoencoder(channels: int, latent_channels: int, width: int, encoder_blocks: int, decoder_blocks: int) -> AutoencoderTiny:
    """Make an autoencoder of blocks of pixels, see `semdiff.models.pixel_blocks`; it works at one resolution throughout.

    Args:
        channels: of the blocks.
        latent_channels: of the latents.
        width: channels inside.
        encoder_blocks, decoder_blocks: how many.
    """
    return AutoencoderTiny(
        in_channels=channels,
        out_channels=channels,
        encoder_block_out_channels=(width,),
        decoder_block_out_channels=(width,),
        num_encoder_blocks=(encoder_blocks,),
        num_decoder_blocks=(decoder_blocks,),
        latent_channels=latent_channels,
        act_fn="silu",
    )


def scheduler() -> DDIMScheduler:
    """Make the paper's schedule, with v-prediction."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        clip_sample=False,
    )


@dataclass(frozen=True)
class Course:
    """Run one stage of a recipe after the other.

    Attributes:
        folder: of the checkpoints.
        key: of all random numbers.
        accelerator: of the training.
        resume, progress: as in `fit`.
        on_step: called with the stage's name and the number of steps so far.
    """

    folder: Path  # of the checkpoints
    key: Key
    accelerator: Accelerator
    resume: bool = True
    progress: bool = True
    on_step: Callable[[str, int], None] | None = None

    def run(
        self, number: int, name: str, stage: Stage, data: Sequence[Tensor] | Batches, plan: Plan, curve: StageCurve | None = None
    ) -> None:
        """Train one stage, which is on the CPU afterwards.

        Args:
            number: of the stage, for its key.
            name, stage, data, plan, curve: as in `fit`.
        """
        on_step = self.on_step
        fit(
            stage,
            data,
            plan,
            name=name,
            key=self.key.fold_in(number),
            folder=self.folder,
            resume=self.resume,
            accelerator=self.accelerator,
            progress=self.progress,
            on_step=None if on_step is None else lambda step: on_step(name, step),
            curve=curve,
        )
        stage.to("cpu")

    def finish(self, link: SemanticLink, place: Path) -> Path:
        """Save the link at `place` in the main process; all processes wait until it is there."""
        if self.accelerator.is_main_process:
            save_link(link, place)
        self.accelerator.wait_for_everyone()
        return place

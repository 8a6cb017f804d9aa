# SPDX-License-Identifier: Apache-2.0
"""Train a link on latents for Fashion-MNIST, the paper's own form: six stages, somewhat over an hour on one CPU core.

Stages 1 to 3 are the paper's (autoencoder; latent diffusion; down- and up-sampler with the fused loss). Stage 4 trains both ends together,
stage 5 the posterior mean alone once more, stage 6 a decoder for samples.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DModel
from torch import Tensor

from semdiff.data import fashion_mnist
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link import Downsampler, SemanticLink, Upsampler
from semdiff.metrics import LPIPS
from semdiff.models.networks import SampleDecoder
from semdiff.rng import Key
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.engine import Plan, Stage
from semdiff.training.random_channel import DEFAULT_CONDITIONS
from semdiff.training.recipes.common import Course, autoencoder, check_budget, scheduler
from semdiff.training.stages.autoencoder import AutoencoderStage, encode_in_batches, fold_statistics
from semdiff.training.stages.detail import DetailStage
from semdiff.training.stages.diffusion import DiffusionStage
from semdiff.training.stages.fidelity import FidelityStage
from semdiff.training.stages.receiver import ReceiverStage
from semdiff.training.stages.resampling import ResamplingStage

PLANS = {
    "autoencoder": Plan(steps=2500, batch_size=64, learning_rate=1.5e-3),
    "diffusion": Plan(steps=1400, batch_size=128, learning_rate=1e-3),
    "resampling": Plan(steps=2500, batch_size=64, learning_rate=1e-3),
    "receiver": Plan(steps=1500, batch_size=64, learning_rate=5e-4),
    "fidelity": Plan(steps=3200, batch_size=64, learning_rate=7e-4),
    "detail": Plan(steps=600, batch_size=48, learning_rate=5e-4),
}
BLOCK = 4  # pixels on the side of a latent's square
LATENT_CHANNELS = 8  # of 8x8: with 4 the autoencoder's own error, 26.4 dB, was half of the link's at 15 dB
AUTO_STEPS = ((-7, 6), (0, 4))  # SNR in dB and steps from there upwards: docs/results/link_steps.md
RATES = (8, 4)  # symbol channels of 4x4: 64 and 32 complex uses of 784 values, CBR 1/12 and 1/24


@dataclass
class Networks:
    """Hold everything that is trained, and the scheduler."""

    vae: AutoencoderTiny
    unet: UNet2DModel
    downsampler: Downsampler
    upsampler: Upsampler
    sample_decoder: SampleDecoder
    scheduler: DDIMScheduler

    def link(self) -> SemanticLink:
        """Return the networks as a link."""
        parts = self.vae, self.unet, self.downsampler, self.upsampler, self.scheduler
        snr_db = DEFAULT_CONDITIONS.snr_db
        return SemanticLink(*parts, sample_decoder=self.sample_decoder, rates=RATES, snr_db_range=snr_db, auto_steps=AUTO_STEPS)


def build(seed: int) -> Networks:
    """Make fresh networks. The same seed gives the same weights; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = autoencoder(BLOCK**2, LATENT_CHANNELS, width=56, encoder_blocks=2, decoder_blocks=3)
        unet = UNet2DModel(
            sample_size=8,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=(48, 64),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "DownBlock2D"),
            up_block_types=("UpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            attention_head_dim=32,
        )
        downsampler, upsampler, sample_decoder = Downsampler(LATENT_CHANNELS), Upsampler(LATENT_CHANNELS), SampleDecoder(LATENT_CHANNELS)
    return Networks(vae, unet, downsampler, upsampler, sample_decoder, scheduler())


def train(
    out: str | os.PathLike[str],
    budget: float = 1.0,
    seed: int = 0,
    resume: bool = True,
    data_folder: str | os.PathLike[str] | None = None,
    images: Tensor | None = None,
    progress: bool = True,
    accelerator: Accelerator | None = None,
    on_step: Callable[[str, int], None] | None = None,
) -> Path:
    """Train the model.

    Args:
        out: folder of the checkpoints and the model. An interrupted run goes on from out/checkpoints and, in one process, ends with the
            same bits.
        budget: factor on the number of steps of every stage.
        seed: of all random numbers.
        resume: whether to go on from checkpoints.
        data_folder: of Fashion-MNIST.
        images: training images (N, 1, 28, 28) in [0, 1] in place of Fashion-MNIST's.
        progress: show a bar.
        accelerator: of the training; None prepares one.
        on_step: called with the stage's name and the number of steps so far.

    Returns:
        The folder out/model, which `SemanticLink.from_pretrained` reads.

    Raises:
        ValueError: for a budget that is not above zero.
        FileNotFoundError: where Fashion-MNIST or LPIPS's network is not installed.
    """
    check_budget(budget)
    folder = Path(out)
    LPIPS("alex")  # the last stage's: if its weights are not there, say so now
    if images is None:
        images = fashion_mnist("train", data_folder).images
    accelerator = accelerator or prepare_accelerator()
    networks, course = build(seed), Course(folder / "checkpoints", Key(seed), accelerator, resume, progress, on_step)

    def run(number: int, name: str, stage: Stage, *data: Tensor) -> None:
        course.run(number, name, stage, data, PLANS[name].scaled(budget))

    run(1, "autoencoder", AutoencoderStage(networks.vae), images)
    fold_statistics(networks.vae, images)
    latents = encode_in_batches(networks.vae, images)
    schedule = NoiseSchedule.from_diffusers(networks.scheduler)
    run(2, "diffusion", DiffusionStage(networks.unet, schedule), latents)
    run(3, "resampling", ResamplingStage(networks.downsampler, networks.upsampler, RATES), latents)
    receiver = ReceiverStage(networks.vae, networks.unet, networks.downsampler, networks.upsampler, schedule, RATES)
    run(4, "receiver", receiver, latents, images)
    ends = networks.downsampler, networks.upsampler
    run(5, "fidelity", FidelityStage(networks.vae, *ends, RATES, (networks.unet, schedule), pixel_weight=20.0), images)
    networks.sample_decoder.decoder.load_state_dict(networks.vae.decoder.state_dict())
    detail = DetailStage(networks.unet, *ends, networks.sample_decoder, schedule, RATES)
    run(6, "detail", detail, latents, images)
    return course.finish(networks.link(), folder / "model")

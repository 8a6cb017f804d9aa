# SPDX-License-Identifier: Apache-2.0
"""Train a small latent diffusion model of CIFAR-10 and save it as a diffusers pipeline: `python -m studies.cifar10_latent_diffusion RUN`.

RUN/pipeline is an `LDMPipeline`: an AutoencoderTiny with 16 channels at a quarter of the resolution, a UNet2DModel with v-prediction and
the paper's schedule. `semdiff train ends --pipeline RUN/pipeline` trains the two ends of the paper's system around it. The training goes on
where it was interrupted. The last 1,000 training images are held out; the printed numbers are theirs.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, LDMPipeline, UNet2DModel
from torch import Tensor

from semdiff import Key, NoiseSchedule, add_noise
from semdiff.data import cifar10
from semdiff.metrics import psnr
from semdiff.models.store import saved
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.engine import Plan
from semdiff.training.recipes.common import Course, scheduler
from semdiff.training.stages.autoencoder import AutoencoderStage, encode_in_batches, fold_statistics
from semdiff.training.stages.diffusion import DiffusionStage, denoised

HELD_OUT = 1000
LATENT_CHANNELS = 16
# 128,000 and 256,000 images: about half an hour of one core with bfloat16.
AUTOENCODER = Plan(steps=4000, batch_size=32, learning_rate=2e-3)
DIFFUSION = Plan(steps=4000, batch_size=64, learning_rate=1.5e-3)


def build(seed: int) -> tuple[AutoencoderTiny, UNet2DModel]:
    """Make the untrained networks; most of the work is at a quarter of the resolution."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderTiny(
            encoder_block_out_channels=(48,) * 3,
            decoder_block_out_channels=(48,) * 3,
            num_encoder_blocks=(0, 0, 2),
            num_decoder_blocks=(3, 1, 0),
            latent_channels=LATENT_CHANNELS,
            act_fn="silu",
        )
        unet = UNet2DModel(
            sample_size=8,
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            block_out_channels=(64, 128),
            layers_per_block=1,
            down_block_types=("DownBlock2D",) * 2,
            up_block_types=("UpBlock2D",) * 2,
            norm_num_groups=8,
            attention_head_dim=32,
        )
    return vae, unet


@torch.no_grad()
def denoising_error(unet: UNet2DModel, z: Tensor, schedule: NoiseSchedule, snr_db: float) -> float:
    """Compute the mean squared error of the denoiser's estimate of latents z (N, C, h, w) at one SNR."""
    t = schedule.timestep(torch.full((len(z),), 10 ** (-snr_db / 10), dtype=torch.float64))
    x = add_noise(z, t, schedule, Key(1))
    estimate = denoised(x, unet(x, t.to(x)).sample, schedule.alpha_bar(t))
    return float((estimate - z).square().mean())


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder for checkpoints/ and pipeline/")
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10; $SEMDIFF_CIFAR10 if not given")
    parser.add_argument("--budget", type=float, default=1.0, help="factor on the steps")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    images = cifar10("train", options.data).images.float() / 255
    images, held_out = images[:-HELD_OUT], images[-HELD_OUT:]
    vae, unet = build(options.seed)
    course = Course(options.run / "checkpoints", Key(options.seed), prepare_accelerator("auto"))
    stage = AutoencoderStage(vae, block=1)
    course.run(1, "autoencoder", stage, [images], AUTOENCODER.scaled(options.budget))
    print(f"autoencoder: {psnr(stage.reconstruct(held_out), held_out).mean():.2f} dB", flush=True)
    fold_statistics(vae, images, block=1)
    latents = encode_in_batches(vae, images, block=1)
    schedule = NoiseSchedule.from_diffusers(scheduler())
    course.run(2, "diffusion", DiffusionStage(unet, schedule), [latents], DIFFUSION.scaled(options.budget))
    z = encode_in_batches(vae, held_out, block=1)
    for snr_db in (0.0, 10.0):
        print(
            f"denoiser, {snr_db:.0f} dB: error {denoising_error(unet, z, schedule, snr_db):.4f} of {float(z.square().mean()):.3f}",
            flush=True,
        )
    with saved(options.run / "pipeline") as folder:
        LDMPipeline(vqvae=vae, unet=unet, scheduler=scheduler()).save_pretrained(folder)


if __name__ == "__main__":
    main()

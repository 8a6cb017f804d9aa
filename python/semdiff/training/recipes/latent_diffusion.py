# SPDX-License-Identifier: Apache-2.0
"""Train a small latent diffusion model of one's own pictures, in minutes: something for `semdiff train ends` to stand around.

It is an ordinary diffusers pipeline, an `LDMPipeline` of an AutoencoderTiny with 16 channels at a quarter of the resolution and a
UNet2DModel with v-prediction, and knows nothing of channels. What comes of it is rough beside a large model.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderTiny, LDMPipeline, UNet2DModel
from torch import Tensor

from semdiff._util.atomic import write_atomically
from semdiff._util.precision import Precision
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.diffusion.steps import add_noise
from semdiff.metrics import psnr
from semdiff.models.pixel_blocks import to_blocks
from semdiff.models.store import quiet, saved
from semdiff.rng import Key
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.batches import RandomCrops, generator
from semdiff.training.engine import Plan
from semdiff.training.recipes import ends, photos
from semdiff.training.recipes.common import Course, check_budget, scheduler
from semdiff.training.stages.autoencoder import AutoencoderStage, encode_in_batches, fold_statistics
from semdiff.training.stages.diffusion import DiffusionStage, denoised

AUTOENCODER = Plan(steps=4000, batch_size=32, learning_rate=2e-3)
DIFFUSION = Plan(steps=2000, batch_size=64, learning_rate=1.5e-3)
LATENT_CHANNELS = 16
CELL = 8  # pixels: a quarter of the resolution, halved once by the denoiser
CROP, CROPS = 64, 2048  # pixels on the side of crops of larger pictures, and how many
LATENTS = 20_000  # images at most whose latents the denoiser learns
HELD_OUT = 1000  # images at most
QUALITY = "quality.json"


def build(colours: int, seed: int) -> tuple[AutoencoderTiny, UNet2DModel]:
    """Make the untrained networks; most of the work is at a quarter of the resolution.

    Args:
        colours: channels of the pictures, 1 or 3.
        seed: of the weights; torch's global generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = AutoencoderTiny(
            in_channels=colours,
            out_channels=colours,
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


def train(
    out: str | os.PathLike[str],
    data: str | os.PathLike[str] | Tensor,
    budget: float = 1.0,
    seed: int = 0,
    resume: bool = True,
    precision: Precision = "auto",
    progress: bool = True,
    on_step: Callable[[str, int], None] | None = None,
) -> Path:
    """Train an autoencoder and a denoiser of its latents, and save them as diffusers saves a pipeline.

    A tenth of the pictures, at most 1,000, is held out, the last ones of a tensor. On it out/quality.json tells the PSNR of the autoencoder
    alone, in dB, which no link around it exceeds, and what the denoiser leaves of white noise at 0 and 10 dB, in parts of the latents'
    power; the best linear estimate of white latents leaves 0.5 and 0.09.

    Args:
        out: folder of the checkpoints, the pipeline and quality.json. An interrupted run goes on from there.
        data: as of `ends.train`, at least ten pictures. Those of more than 64 pixels on a side are learned from 2,048 random crops.
        budget: factor on the number of steps.
        seed: of all random numbers.
        resume: whether to go on from what is there.
        precision: see `prepare_accelerator`.
        progress: show a bar.
        on_step: called with the stage's name and the number of steps so far.

    Returns:
        The folder out/pipeline.

    Raises:
        FileNotFoundError: where data is not there.
        ValueError: naming data or budget, where it does not fit.
    """
    check_budget(budget)
    folder, key = Path(out), Key(seed)
    images, held_out = _images(data, key)
    vae, unet = build(images.shape[1], seed)
    accelerator = prepare_accelerator(precision)
    course = Course(folder / "checkpoints", key, accelerator, resume, progress, on_step)
    course.run(1, "autoencoder", AutoencoderStage(vae, block=1), [images], AUTOENCODER.scaled(budget))
    fold_statistics(vae, images[:4096], 64, block=1)
    plan = DIFFUSION.scaled(budget)
    latents = encode_in_batches(vae, images[: min(LATENTS, plan.steps * plan.batch_size)], 64, block=1)
    schedule = NoiseSchedule.from_diffusers(scheduler())
    course.run(2, "diffusion", DiffusionStage(unet, schedule), [latents], plan)
    z = encode_in_batches(vae, held_out, 64, block=1)
    found = {"autoencoder_psnr": float(psnr(_decode(vae, z), held_out).mean())}
    for snr_db in (0, 10):
        found[f"denoiser_error_{snr_db}_db"] = denoising_error(unet, z, schedule, snr_db) / float(z.square().mean())
    if accelerator.is_main_process:
        with quiet(), saved(folder / "pipeline") as place:
            LDMPipeline(vqvae=vae, unet=unet, scheduler=scheduler()).save_pretrained(place)
        write_atomically(folder / QUALITY, (json.dumps(found, indent=1) + "\n").encode())
    accelerator.wait_for_everyone()
    return folder / "pipeline"


def describe_quality(out: str | os.PathLike[str]) -> str:
    """Say in words what quality.json tells of the model in a folder.

    Args:
        out: as of `train`.
    """
    found = json.loads((Path(out) / QUALITY).read_text(encoding="utf-8"))
    psnr_db, left = found["autoencoder_psnr"], found["denoiser_error_0_db"]
    denoiser = f"of noise at 0 dB the denoiser leaves an error of {left:.2f}, the best linear one of white latents 0.50"
    return f"Held-out pictures: {psnr_db:.1f} dB by the autoencoder alone; {denoiser}"


@torch.no_grad()
def denoising_error(unet: UNet2DModel, z: Tensor, schedule: NoiseSchedule, snr_db: float) -> float:
    """Compute the mean squared error of a denoiser's estimate of noisy latents.

    Args:
        unet: a denoiser with v-prediction.
        z: latents (N, C, h, w).
        schedule: of its times.
        snr_db: of the noise, for latents of unit variance.
    """
    t = schedule.timestep(torch.full((len(z),), 10 ** (-snr_db / 10), dtype=torch.float64))
    x = add_noise(z, t, schedule, Key(1))
    v = torch.cat([unet(part, time).sample for part, time in zip(x.split(64), t.to(x).split(64), strict=True)])
    return float((denoised(x, v, schedule.alpha_bar(t)) - z).square().mean())


@torch.no_grad()
def _decode(vae: AutoencoderTiny, z: Tensor) -> Tensor:
    return torch.cat([(vae.decode(part).sample + 1) / 2 for part in z.split(64)]).clamp(0, 1)


def _images(data: str | os.PathLike[str] | Tensor, key: Key) -> tuple[Tensor, Tensor]:
    """Images (N, C, H, W) in [0, 1] of whole cells to learn, and others: small pictures, padded as by a link, or crops of larger ones."""
    pictures = ends.read_pictures(data)
    if not isinstance(data, Tensor):  # in a folder's own order those of one kind may lie together, and all of them would be held out
        pictures = _mixed(pictures, key)
    if isinstance(pictures, Tensor) and max(pictures.shape[2:]) <= CROP:
        images = pictures if pictures.is_floating_point() else pictures.float() / 255
        images = (to_blocks(images, 1, "replicate", CELL) + 1) / 2
        kept = _held_out(len(images))
        return images[:-kept], images[-kept:]
    if isinstance(pictures, Tensor):
        whole = (pictures * 255).round().byte() if pictures.is_floating_point() else pictures
        pictures = {str(i): picture for i, picture in enumerate(whole)}
    large = list(photos.usable(pictures, CROP).items())
    kept = _held_out(len(large))
    return _crops(dict(large[:-kept]), CROPS, key), _crops(dict(large[-kept:]), CROPS // 16, key)


def _mixed(pictures: Tensor | dict[str, Tensor], key: Key) -> Tensor | dict[str, Tensor]:
    order = torch.randperm(len(pictures), generator=generator(key))
    if isinstance(pictures, Tensor):
        return pictures[order]
    names = list(pictures)
    return {names[i]: pictures[names[i]] for i in order.tolist()}


def _held_out(count: int) -> int:
    if count < 10:
        raise ValueError(f"data: expected at least 10 pictures, got {count}")
    return min(HELD_OUT, count // 10)


def _crops(pictures: dict[str, Tensor], count: int, key: Key) -> Tensor:
    crops = RandomCrops(pictures, CROP, 16, key)
    return torch.cat([crops.batch(i)[0] for i in range(-(-count // 16))])

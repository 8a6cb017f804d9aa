# SPDX-License-Identifier: Apache-2.0
"""A small latent diffusion model of CIFAR-10, the paper's system around it, and what it does beside digital transmission.

python -m studies.cifar10_latent_diffusion train RUN trains the model and saves RUN/pipeline, a diffusers `LDMPipeline`: an
AutoencoderTiny with 16 channels at a quarter of the resolution, a UNet2DModel with v-prediction, and the paper's schedule. Then it trains
the two ends around it, as `semdiff train ends` does, and saves RUN/ends/model. It goes on where it was interrupted.
python -m studies.cifar10_latent_diffusion report RUN evaluates that on test images, with the three matches beside each other, and writes
docs/results/cifar10_latent_diffusion.{csv,md}. An ADJSCC of `semdiff.training.recipes.jscc` joins with --adjscc.
CIFAR-10 is that of $SEMDIFF_CIFAR10.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderTiny, LDMPipeline, UNet2DModel
from torch import Tensor

from semdiff import Key, NoiseSchedule, add_noise
from semdiff.data import cifar10
from semdiff.evaluation import sweep
from semdiff.evaluation.plots import receiver_label
from semdiff.metrics import psnr
from semdiff.models.store import saved
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.engine import Plan
from semdiff.training.recipes import ends
from semdiff.training.recipes.common import Course, scheduler
from semdiff.training.stages.autoencoder import AutoencoderStage, encode_in_batches, fold_statistics
from semdiff.training.stages.diffusion import DiffusionStage, denoised
from studies.writing import fill, table, write_csv, write_lines

RESULTS = Path(__file__).parents[1] / "docs" / "results"
COLUMNS = ("system", "realism", "steps", "cbr_used", "uses", "snr_db", "images", "psnr", "lpips_alex", "milliseconds")
CBRS = (1 / 12, 1 / 24)
MATCHES = ("calibrated", "exact", "paper")
HELD_OUT = 1000
LATENT_CHANNELS = 16
LATENTS = 20_000  # images whose latents the denoiser and the ends learn
AUTOENCODER = Plan(steps=4000, batch_size=32, learning_rate=2e-3)
DIFFUSION = Plan(steps=2000, batch_size=64, learning_rate=1.5e-3)


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


def train(run: Path, budget: float, seed: int) -> None:
    """Train the model and the ends, and save both."""
    images = cifar10("train").images.float() / 255
    images, held_out = images[:-HELD_OUT], images[-HELD_OUT:]
    vae, unet = build(seed)
    course = Course(run / "checkpoints", Key(seed), prepare_accelerator("auto"))
    stage = AutoencoderStage(vae, block=1)
    course.run(1, "autoencoder", stage, [images], AUTOENCODER.scaled(budget))
    print(f"autoencoder: {psnr(stage.reconstruct(held_out), held_out).mean():.2f} dB", flush=True)
    fold_statistics(vae, images[:4096], 64, block=1)
    latents = encode_in_batches(vae, images[:LATENTS], 64, block=1)
    schedule = NoiseSchedule.from_diffusers(scheduler())
    course.run(2, "diffusion", DiffusionStage(unet, schedule), [latents], DIFFUSION.scaled(budget))
    z = encode_in_batches(vae, held_out, 64, block=1)
    for snr_db in (0.0, 10.0):
        error = denoising_error(unet, z, schedule, snr_db)
        print(f"denoiser, {snr_db:.0f} dB: error {error:.4f} of {float(z.square().mean()):.3f}", flush=True)
    with saved(run / "pipeline") as folder:
        LDMPipeline(vqvae=vae, unet=unet, scheduler=scheduler()).save_pretrained(folder)
    ends.train(run / "ends", run / "pipeline", images[:LATENTS], CBRS, budget, seed)


def configuration(run: Path, adjscc: Path | None, images: int) -> dict[str, Any]:
    """Return what is compared: the link with each match and without its denoiser, and baselines."""
    model = str(run / "ends" / "model")
    systems: list[dict[str, Any]] = [{"name": "link", "path": model, "label": f"link, {m}", "options": {"match": m}} for m in MATCHES]
    systems.append({"name": "upsampler-mean", "path": model, "label": "link without its denoiser"})
    systems += [{"name": "adjscc", "path": str(adjscc)}] if adjscc else []
    systems += [{"name": name, "options": {"outage": 0.473}} for name in ("digital", "capacity")]  # the grey of the training set's mean
    return {
        "systems": systems,
        "data": "cifar10",
        "images": images,
        "snr_db": [0, 5, 10, 15],
        "cbr": list(CBRS),
        "steps": 4,
        "realism": [0.0, 1.0],
        "metrics": ["psnr", "lpips_alex"],
        "batch": 50,
    }


def report(run: Path, adjscc: Path | None, images: int) -> None:
    """Evaluate, and write the CSV file and the page's tables."""
    found = sweep(configuration(run, adjscc, images), run / "results", progress=True)
    if not found.complete:  # of several processes the last one writes
        return
    rows = found.summary()
    write_csv(RESULTS / "cifar10_latent_diffusion.csv", [{name: row[name] for name in COLUMNS} for row in rows])
    snrs = sorted({row["snr_db"] for row in rows})
    lines = []
    for uses in sorted({row["uses"] for row in rows}, reverse=True):
        numbers: dict[str, list[str]] = {}
        for row in sorted(rows, key=lambda row: row["snr_db"]):
            if row["uses"] == uses:
                numbers.setdefault(receiver_label(row), []).append(f"{row['psnr']:.2f} / {row['lpips_alex']:.3f}")
        body = ([label, *values] for label, values in numbers.items())
        lines += ["", f"CBR 1/{3072 / uses:.0f}, {uses} channel uses:", "", *table(["system", *(f"{s:g} dB" for s in snrs)], body)]
    text = (RESULTS / "cifar10_latent_diffusion.md").read_text(encoding="utf-8")
    write_lines(RESULTS / "cifar10_latent_diffusion.md", [fill("cifar10_latent_diffusion.md", text, {"table": lines[1:]}).rstrip("\n")])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m studies.cifar10_latent_diffusion", description=__doc__)
    parser.add_argument("what", choices=("train", "report"))
    parser.add_argument("run", type=Path, help="folder for checkpoints/, pipeline/ and results/")
    parser.add_argument("--budget", type=float, default=1.0, help="train: factor on the steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adjscc", type=Path, help="report: folder of an ADJSCC for CIFAR-10")
    parser.add_argument("--images", type=int, default=500, help="report: of the test split")
    options = parser.parse_args()
    if options.what == "train":
        train(options.run, options.budget, options.seed)
    else:
        report(options.run, options.adjscc, options.images)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Is it depth, or is it sampling? One network behind one front, trained five ways on as many images each.

python -m studies.depth_or_sampling MODEL --out RUN trains what is not finished in RUN and writes docs/results/depth_or_sampling.{csv,md}.
MODEL is the folder of a `PixelLink` for Fashion-MNIST; its transmitter, up-sampler and perceptual decoder are used as they are. The
denoiser's network begins anew in each:

    (a) regression once, squared error          (b) regression once, squared error and LPIPS
    (c) regression unrolled STEPS times, both   (d) the flow without fresh noise         (e) the flow, as the link has it

(c), (d) and (e) take STEPS evaluations, so they have the same depth. What (e) has beyond (c) is sampling.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from semdiff import Key, NoiseSchedule
from semdiff.evaluation import sweep
from semdiff.link import PixelLink
from semdiff.models.pixels import PixelDenoiser
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.engine import Plan, Stage, fit
from semdiff.training.recipes.common import read_images, scheduler
from semdiff.training.recipes.pixels import CONDITIONS, HELD_OUT
from semdiff.training.stages.pixels import FlowStage, Front
from semdiff.training.stages.regression import RegressionStage
from studies.diffusion import ALTERED_DB as SNRS_DB
from studies.diffusion import FD, METRICS, Altered
from studies.writing import table, write_csv, write_lines

STEPS, BATCH = 4, 80
VARIANTS = {
    "a": "(a) regression, once",
    "b": "(b) regression with LPIPS, once",
    "c": f"(c) regression with LPIPS, unrolled {STEPS} times",
    "d": f"(d) flow without fresh noise, {STEPS} steps",
    "e": f"(e) flow, {STEPS} steps",
}


def front_of(link: PixelLink) -> Front:
    return Front(link.transmitter, link.upsampler, link.decoder, link.scale, tuple(link.config.rates), CONDITIONS)


def stage(variant: str, link: PixelLink, denoiser: PixelDenoiser) -> Stage:
    front, schedule = front_of(link), NoiseSchedule.from_diffusers(link.scheduler)
    if variant in "abc":
        return RegressionStage(front, denoiser, schedule, STEPS if variant == "c" else 1, perceptual=variant != "a")
    return FlowStage(front, denoiser, schedule, link.config.renoise if variant == "e" else 0.0)


def trained(variant: str, model: Path, out: Path, images: int) -> PixelLink:
    """The link with the denoiser of this variant."""
    link = PixelLink.from_pretrained(model)
    denoiser = PixelDenoiser.from_config(link.unet.config)
    plan = Plan(steps=images // BATCH, batch_size=BATCH, learning_rate=1e-3, average=0.9995)
    fit(
        stage(variant, link, denoiser), [read_images("fashion-mnist")[:-HELD_OUT]], plan, name=variant, key=Key(0),
        folder=out / "checkpoints", accelerator=prepare_accelerator("auto"),
    )  # fmt: skip
    renoise = link.config.renoise if variant == "e" else 0.0
    return PixelLink(
        link.transmitter, link.upsampler, link.decoder, denoiser, scheduler(), link.config.image_shape, link.config.rates, *link.scale,
        renoise, snr_db_range=link.config.snr_db_range,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.depth_or_sampling", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=300_000, help="that each variant is trained on")
    parser.add_argument("--tested", type=int, default=1000, help="test images")
    parser.add_argument("--variants", default="abcde")
    options = parser.parse_args()
    links = {v: trained(v, options.model, options.out, options.images) for v in options.variants}
    systems = {VARIANTS[v]: Altered(link, STEPS if v in "cde" else 1) for v, link in links.items()}
    found = sweep(
        None, options.out / "cells", systems=systems, data="fashion-mnist", images=options.tested, batch=250, snr_db=list(SNRS_DB),
        cbr=[64 / 784], metrics=METRICS, progress=True,
    )  # fmt: skip
    kept = ("system", "snr_db", "cbr", "images", "t", "evaluations", "milliseconds", *METRICS)
    write_csv(Path("docs/results/depth_or_sampling.csv"), [{name: row[name] for name in kept} for row in found.rows])
    cells = {(r["system"], r["snr_db"]): f"{r['psnr']:.2f} / {r['lpips_alex']:.3f} / {r['accuracy']:.3f} / {r[FD]:.2f}" for r in found.rows}
    floor = found.header["references"]["originals"][FD]
    text = [
        "# Depth or sampling?",
        "",
        f"{options.tested} Fashion-MNIST test images over AWGN at CBR 1/12, one seed: PSNR in dB / LPIPS (AlexNet) / accuracy of a",
        f"classifier / FD to images that were not sent (the originals themselves: {floor:.2f}). Every network is the link's denoiser,",
        f"trained anew on {options.images:,} images behind the same transmitter. Made by `python -m studies.depth_or_sampling`.",
        "",
        *table(["receiver", *(f"{snr:g} dB" for snr in SNRS_DB)], [[name, *(cells[name, snr] for snr in SNRS_DB)] for name in systems]),
        "",
        "(c), (d) and (e) take as many evaluations of the network. What (e) has beyond (c) is sampling. (b) and (c) alone were trained on",
        "LPIPS.",
    ]
    write_lines(Path("docs/results/depth_or_sampling.md"), text)


if __name__ == "__main__":
    main()

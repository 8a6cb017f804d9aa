# SPDX-License-Identifier: Apache-2.0
"""Is it depth, or is it sampling? One network behind one front, trained five ways on as many images each.

python -m studies.depth_or_sampling MODEL --out RUN trains what is not finished in RUN and writes docs/results/depth_or_sampling.{csv,md} of
a `PixelLink` for Fashion-MNIST, depth_or_sampling_cifar10.{csv,md} of one for CIFAR-10. MODEL is its name in the package or a folder; its
transmitter, up-sampler and perceptual decoder are used as they are. The denoiser's network begins anew in each:

    (a) regression once, squared error          (b) regression once, squared error and LPIPS
    (c) regression unrolled STEPS times, both   (d) the flow without fresh noise         (e) the flow, as the link has it

(c), (d) and (e) take STEPS evaluations, so they have the same depth. What (e) has beyond (c) is sampling.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

from semdiff import Key, NoiseSchedule
from semdiff.evaluation import sweep
from semdiff.link import PixelLink
from semdiff.models.pixels import PixelDenoiser
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.engine import Stage, fit
from semdiff.training.recipes.common import read_images, scheduler
from semdiff.training.recipes.pixels import HELD_OUT, RECIPES
from semdiff.training.stages.pixels import FlowStage, Front
from semdiff.training.stages.regression import RegressionStage
from studies.diffusion import ALTERED_DB as SNRS_DB
from studies.diffusion import FD, METRICS, Altered, quality
from studies.pixel_data import PixelData, data_of
from studies.writing import table, write_csv, write_lines

RESULTS = Path("docs/results")
STEPS = 4
VARIANTS = {
    "a": "(a) regression, once",
    "b": "(b) regression with LPIPS, once",
    "c": f"(c) regression with LPIPS, unrolled {STEPS} times",
    "d": f"(d) flow without fresh noise, {STEPS} steps",
    "e": f"(e) flow, {STEPS} steps",
}


def stage(variant: str, link: PixelLink, denoiser: PixelDenoiser, data: PixelData) -> Stage:
    conditions = RECIPES[data.name].conditions
    front = Front(link.transmitter, link.upsampler, link.decoder, link.scale, tuple(link.config.rates), conditions)
    schedule = NoiseSchedule.from_diffusers(link.scheduler)
    if variant in "abc":
        return RegressionStage(front, denoiser, schedule, STEPS if variant == "c" else 1, perceptual=variant != "a")
    return FlowStage(front, denoiser, schedule, link.config.renoise if variant == "e" else 0.0)


def trained(variant: str, model: str, out: Path, images: int) -> PixelLink:
    """The link with the denoiser of this variant, trained as the recipe's flow is, for so many images."""
    link = PixelLink.from_pretrained(model)
    data = data_of(link)
    denoiser = PixelDenoiser.from_config(link.unet.config)
    plan = RECIPES[data.name].plans["flow"]
    fit(
        stage(variant, link, denoiser, data), [read_images(data.name)[:-HELD_OUT]], replace(plan, steps=images // plan.batch_size),
        name=variant, key=Key(0), folder=out / "checkpoints", accelerator=prepare_accelerator("auto"),
    )  # fmt: skip
    renoise = link.config.renoise if variant == "e" else 0.0
    return PixelLink(
        link.transmitter, link.upsampler, link.decoder, denoiser, scheduler(), link.config.image_shape, link.config.rates, *link.scale,
        renoise, snr_db_range=link.config.snr_db_range,
    )  # fmt: skip


def measured(file: Path, name: str) -> list[dict[str, Any]]:
    """The rows of one system that an earlier run left in a table."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [row | {m: float(row[m]) for m in METRICS} for row in csv.DictReader(lines) if row["system"] == name]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.depth_or_sampling", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=300_000, help="that each variant is trained on")
    parser.add_argument("--tested", type=int, default=1000, help="test images")
    parser.add_argument("--variants", default="abcde")
    options = parser.parse_args()
    links = {v: trained(v, options.model, options.out, options.images) for v in options.variants}
    data = data_of(next(iter(links.values())))
    systems = {VARIANTS[v]: Altered(link, STEPS if v in "cde" else 1) for v, link in links.items()}
    found = sweep(
        None, options.out / "cells", systems=systems, data=data.name, images=options.tested, batch=250, snr_db=list(SNRS_DB),
        cbr=[data.cbr(data.uses[0])], metrics=METRICS, progress=True,
    )  # fmt: skip
    kept = ("system", "snr_db", "cbr", "images", "t", "evaluations", "milliseconds", *METRICS)
    table_file = RESULTS / f"depth_or_sampling{data.suffix}.csv"
    rows = {name: [row for row in found.rows if row["system"] == name] for name in systems}
    rows = {name: rows.get(name) or measured(table_file, name) for name in VARIANTS.values()}
    write_csv(table_file, [{name: row[name] for name in kept} for every in rows.values() for row in every])
    floor = found.header["references"]["originals"][FD]
    text = [
        "# Depth or sampling?",
        "",
        f"{options.tested} {data.title} test images over AWGN at CBR 1/{1 / data.cbr(data.uses[0]):.3g}, one seed: PSNR in dB / LPIPS",
        f"(AlexNet) / accuracy of a classifier / FD to images that were not sent (the originals themselves: {floor:.2f}). Every network",
        f"is the link's denoiser, trained anew on {options.images:,} images behind the same transmitter. Made by",
        "`python -m studies.depth_or_sampling`.",
        "",
        *table(["receiver", *(f"{snr:g} dB" for snr in SNRS_DB)], [[name, *map(quality, every)] for name, every in rows.items() if every]),
        "",
        "(c), (d) and (e) take as many evaluations of the network. What (e) has beyond (c) is sampling. (b) and (c) alone were trained on",
        "LPIPS.",
    ]
    write_lines(table_file.with_suffix(".md"), text)


if __name__ == "__main__":
    main()

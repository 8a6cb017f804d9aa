# SPDX-License-Identifier: Apache-2.0
"""Is it depth, or is it sampling? One network behind one front, trained five ways.

python -m studies.depth_or_sampling MODEL --out RUN --images N trains what is not finished in RUN and adds its rows to
docs/results/depth_or_sampling.{csv,md} of a `PixelLink` for Fashion-MNIST, depth_or_sampling_cifar10.{csv,md} of one for CIFAR-10. MODEL is
its name in the package or a folder; its transmitter, up-sampler and perceptual decoder are used as they are. The denoiser's network begins
anew in each:

    (a) regression once, squared error          (b) regression once, squared error and LPIPS
    (c) regression unrolled STEPS times, both   (d) the flow without fresh noise         (e) the flow, as the link has it

(c), (d) and (e) take STEPS evaluations, so they have the same depth. What (e) has beyond (c) is sampling. In training (c) takes STEPS
evaluations for each image, the others one: rows are to be compared at equal images and at equal evaluations. The last row is the link's own
denoiser, which is (e) with LPIPS in its last stage.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from semdiff import Key, NoiseSchedule
from semdiff.evaluation import sweep
from semdiff.link import PixelLink
from semdiff.models.pixels import PixelDenoiser
from semdiff.models.store import find_model
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.engine import Stage, fit
from semdiff.training.recipes.common import read_images, scheduler
from semdiff.training.recipes.pixels import HELD_OUT, RECIPES
from semdiff.training.saving import images_seen
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
OWN = f"the link's own denoiser, {STEPS} steps"
AXES = ("system", "trained_on", "trained_evaluations", "snr_db", "cbr", "images", "t", "evaluations", "milliseconds")


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


def written(file: Path) -> list[dict[str, Any]]:
    """The rows that earlier runs left in a table."""
    if not file.exists():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [{name: value if name == "system" else float(value) for name, value in row.items()} for row in csv.DictReader(lines)]
    return [row | {name: int(row[name]) for name in AXES[1:3]} for row in rows]  # which the table writes with all digits


def order(row: dict[str, Any]) -> tuple[bool, float, str, float]:
    return row["system"] == OWN, row["trained_on"], row["system"], row["snr_db"]


def body(rows: Iterable[dict[str, Any]]) -> list[list[str]]:
    """The table's lines: a receiver, what it was trained with, and its numbers at each SNR."""
    found: dict[tuple[str, int, int], list[str]] = {}
    for row in rows:
        found.setdefault((row["system"], row["trained_on"], row["trained_evaluations"]), []).append(quality(row))
    return [[name, f"{images:,}", f"{evaluations:,}", *numbers] for (name, images, evaluations), numbers in found.items()]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.depth_or_sampling", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=300_000, help="that each variant is trained on")
    parser.add_argument("--tested", type=int, default=1000, help="test images")
    parser.add_argument("--variants", default="abcde")
    options = parser.parse_args()
    own = PixelLink.from_pretrained(options.model)
    data = data_of(own)
    systems = {OWN: Altered(own, STEPS)}
    count = sum(n for name, n in images_seen(find_model(options.model)).items() if name != "upsampler")
    training = {OWN: (count, count)}
    batch = RECIPES[data.name].plans["flow"].batch_size
    images = options.images // batch * batch
    for v in options.variants:
        systems[VARIANTS[v]] = Altered(trained(v, options.model, options.out, images), STEPS if v in "cde" else 1)
        training[VARIANTS[v]] = images, images * (STEPS if v == "c" else 1)
    found = sweep(
        None, options.out / "cells", systems=systems, data=data.name, images=options.tested, batch=250, snr_db=list(SNRS_DB),
        cbr=[data.cbr(data.uses[-2])], metrics=METRICS, progress=True,
    )  # fmt: skip
    table_file = RESULTS / f"depth_or_sampling{data.suffix}.csv"
    measured = [row | dict(zip(AXES[1:3], training[row["system"]], strict=True)) for row in found.rows]
    rows = {order(row): row for row in (*written(table_file), *measured)}
    ordered = [rows[place] for place in sorted(rows)]
    write_csv(table_file, [{name: row[name] for name in (*AXES, *METRICS)} for row in ordered])
    floor = found.header["references"]["originals"][FD]
    text = [
        "# Depth or sampling?",
        "",
        f"{options.tested:,} {data.title} test images over AWGN at CBR 1/{1 / data.cbr(data.uses[-2]):.3g}, one seed: PSNR in dB / LPIPS",
        f"(AlexNet) / accuracy of a classifier / FD to images that were not sent (the originals themselves: {floor:.2f}). Every network",
        "is the link's denoiser, trained anew behind the same transmitter. Made by `python -m studies.depth_or_sampling`.",
        "",
        *table(["receiver", "trained on images", "evaluations for that", *(f"{snr:g} dB" for snr in SNRS_DB)], body(ordered)),
        "",
        f"(c), (d), (e) and the link's own take {STEPS} evaluations to receive an image. What (e) has beyond (c) is sampling. (b), (c) and",
        "the last stage of the link's own were trained on LPIPS.",
    ]
    write_lines(table_file.with_suffix(".md"), text)


if __name__ == "__main__":
    main()

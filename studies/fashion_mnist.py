# SPDX-License-Identifier: Apache-2.0
"""Measures a trained link on Fashion-MNIST's test images: python -m studies.fashion_mnist --help

Writes one CSV with a row for each setting, a Markdown summary, and a picture. The same key at every setting, so that rows differ by what
they name and not by the noise's draw.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff._util.atomic import write_atomically
from semdiff._util.csv_files import to_csv
from semdiff.data import fashion_mnist
from semdiff.data.fashion_mnist import CLASSES
from semdiff.diffusion.matching import match
from semdiff.link import SemanticLink
from semdiff.link.starting_state import starting_state
from semdiff.metrics import psnr
from semdiff.models.store import find_model
from semdiff.phy.channel import AWGN
from semdiff.rng import Key, normal
from studies.fashion_mnist_report import write_markdown, write_picture
from studies.models import LATENT_LINK

SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0)
STEPS = (1, 2, 4, 8, 16, 50)
PICTURES = 12  # in the sheet
MODES = ("calibrated", "exact", "paper")
Row = dict[str, Any]


def detail(images: Tensor) -> Tensor:
    """Mean square of the Laplacian of each image, (B,): how much fine structure it holds. Blur lowers it; noise and grain raise it."""
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]], device=images.device).view(1, 1, 3, 3)
    return F.conv2d(images.mean(1, keepdim=True), kernel).square().flatten(1).mean(1)


class _Mean:
    """Means over batches of PSNR, squared error and detail, and the time taken."""

    def __init__(self) -> None:
        self.psnr: list[Tensor] = []
        self.error = self.detail = self.original = self.seconds = 0.0

    def add(self, images: Tensor, originals: Tensor, seconds: float) -> None:
        self.psnr.append(psnr(images, originals))
        self.error += float((images - originals).square().mean((1, 2, 3)).sum())
        self.detail += float(detail(images).sum())
        self.original += float(detail(originals).sum())
        self.seconds += seconds

    def row(self) -> Row:
        found = torch.cat(self.psnr)
        n = len(found)
        return {
            "images": n,
            "psnr_db": round(float(found.mean()), 3),
            "psnr_standard_error": round(float(found.std()) / n**0.5, 3),
            "mse": round(self.error / n, 6),
            "detail_ratio": round(self.detail / self.original, 3),
            "milliseconds": round(1000 * self.seconds / n, 3),
        }


@torch.no_grad()
def receptions(
    link: SemanticLink, images: Tensor, cbr: float, snr_db: float, settings: Iterable[Row], key: Key, batch: int = 500
) -> list[Row]:
    """One row for each setting (arguments of `SemanticLink.denoise_and_decode`), all from the same received symbols."""
    settings = list(settings)
    means = [_Mean() for _ in settings]
    t = [0.0] * len(settings)
    ratio = 0.0
    for i, part in enumerate(images.split(batch)):
        here = key.fold_in(i)
        symbols = link.send(part, cbr=cbr, snr_db=snr_db)
        ratio = symbols.shape[1] / part[0].numel()
        received = AWGN()(symbols, snr_db, here.fold_in(0))
        heard = link.equalize_and_upsample(link.received(received.y, received.noise_var), key=here)
        for n, setting in enumerate(settings):
            begun = time.perf_counter()
            out, start, _ = link.denoise_and_decode(heard, **setting, key=here)
            means[n].add(out, part, time.perf_counter() - begun)
            t[n] += float(start.sum())
    common = {"cbr": round(ratio, 5), "snr_db": snr_db}
    return [common | s | {"t": round(t[n] / len(images), 1)} | means[n].row() for n, s in enumerate(settings)]


@torch.no_grad()
def states(link: SemanticLink, images: Tensor, cbr: float, snr_db: float, key: Key) -> list[Row]:
    """How near the states are to the forward process: moments of (x_t - sqrt(alpha_bar) z) / sqrt(1 - alpha_bar), 0, 1 and 3 there.

    `latent` is the whole latent over AWGN without the down- and up-sampler, matched exactly: there it must hold.
    """
    z = link.encode(images)
    variance = 10 ** (-0.1 * snr_db)
    noisy = z + variance**0.5 * normal(z.shape, key)
    received = AWGN()(link.send(images, cbr=cbr, snr_db=snr_db), snr_db, key.fold_in(0))
    heard = link.equalize_and_upsample(link.received(received.y, received.noise_var), key=key)
    found = {
        "latent": match(noisy, variance, link.schedule),
        "calibrated mean": starting_state(*heard, link.schedule, "calibrated", 0.0, key),
        "calibrated sample": starting_state(*heard, link.schedule, "calibrated", link.config.renoise, key),
        "exact mean": starting_state(*heard, link.schedule, "exact", 0.0, key),
        "paper": starting_state(*heard, link.schedule, "paper", 0.0, key),
    }
    rows = []
    for name, (x, t) in found.items():
        a = link.schedule.alpha_bar(t).to(x)[:, None, None, None]
        residual = ((x - a.sqrt() * z) / (1 - a).sqrt()).double()
        centred = residual - residual.mean()
        rows.append(
            {
                "cbr": round(cbr, 5),
                "snr_db": snr_db,
                "state": name,
                "t": round(float(t.mean()), 1),
                "images": len(images),
                "mean": round(float(residual.mean()), 4),
                "variance_ratio": round(float(centred.square().mean()), 4),
                "kurtosis": round(float(centred.pow(4).mean() / centred.square().mean() ** 2), 3),
            }
        )
    return rows


def measure(link: SemanticLink, images: Tensor, few: int = 2000, key: Key | None = None, log: bool = True) -> list[Row]:
    """All studies. The main one uses all images, the comparisons of modes and of step counts the first `few`."""
    key = key or Key(2024)
    rows: list[Row] = []

    def add(study: str, new: list[Row]) -> None:
        rows.extend({"study": study} | row for row in new)
        if log:
            for row in new:
                print(study, row, file=sys.stderr, flush=True)

    main: list[Row] = [{"diffusion": False}, {"realism": 0.0}, {"realism": 1.0, "steps": 8}]
    modes: list[Row] = [{"match": m, "realism": r, "steps": 8} for m in MODES for r in (0.0, 1.0)]
    for cbr in link.cbrs.values():
        for snr_db in SNRS_DB:
            add("main", receptions(link, images, cbr, snr_db, main, key))
            add("match", receptions(link, images[:few], cbr, snr_db, modes, key))
            add("state", states(link, images[:few], cbr, snr_db, key))
    cbr = max(link.cbrs.values())
    for snr_db in (0.0, 10.0):
        add("steps", receptions(link, images[:few], cbr, snr_db, [{"steps": s} for s in STEPS], key))
    add("realism", receptions(link, images[:few], cbr, 5.0, [{"realism": r / 4} for r in range(5)], key))
    return rows


def write_csv(rows: list[Row], path: Path) -> None:
    """One table; a column is empty where a study has no such thing."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    write_atomically(path, to_csv(names, rows))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m studies.fashion_mnist", description=__doc__)
    parser.add_argument("--model", default=LATENT_LINK, help="folder of a link; the one on latents if left out")
    parser.add_argument("--data", type=Path, help="folder of Fashion-MNIST's files; Debian's if left out")
    parser.add_argument("--images", type=int, default=10_000, help="how many test images the main study uses")
    parser.add_argument("--few", type=int, default=2000, help="how many the others use")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder for fashion_mnist.csv, .md and .png")
    options = parser.parse_args(arguments)
    link = SemanticLink.from_pretrained(find_model(options.model))
    data = fashion_mnist("test", options.data)
    images = data.images[: options.images]
    rows = measure(link, images, options.few)
    write_csv(rows, options.out / "fashion_mnist.csv")
    write_markdown(rows, options.out / "fashion_mnist.md")
    names = [CLASSES[label] for label in data.labels[:PICTURES].tolist()]
    write_picture(link, images[:PICTURES], names[: len(images)], options.out / "fashion_mnist.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

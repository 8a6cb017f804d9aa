# SPDX-License-Identifier: Apache-2.0
"""FID, KID and LPIPS-VGG of the link's samples by steps, beside its mean and the learned codes.

python -m studies.inception_distances MODEL writes docs/results/inception.{csv,md} of a `PixelLink` for Fashion-MNIST,
inception_cifar10.{csv,md} of one for CIFAR-10. FID and KID are to as many training images, which are not sent. Inception takes about
0.2 s an image on one core; its features are kept in the user's cache folder, so that an interrupted study goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from semdiff import Key
from semdiff.link import PixelLink
from semdiff.metrics import fid, kid, lpips
from semdiff.training.recipes.common import read_images
from studies.pixel_data import PixelData, data_of
from studies.writing import table, write_csv, write_lines

BATCH = 250
STEPS = (1, 4)
Receiver = Callable[..., Any]


def receivers(link: PixelLink, data: PixelData) -> dict[str, Receiver]:
    found: dict[str, Receiver] = {name: code.transmit for name, code in data.codes().items() if name.endswith("LPIPS")}
    return found | {f"sample, {n} step{'s' * (n > 1)}": partial(link.transmit, steps=n, realism=1.0) for n in STEPS}


@torch.no_grad()
def received(receiver: Receiver, images: Tensor, snr_db: float, cbr: float, name: str) -> Tensor:
    """The images as they arrive, batch n with key n."""
    parts = tqdm(images.split(BATCH), desc=f"{name}, {snr_db:g} dB")
    return torch.cat([receiver(part, snr_db, cbr=cbr, key=Key(n)).images for n, part in enumerate(parts)])


def distances(images: Tensor, others: Tensor) -> dict[str, float]:
    distance, _, error = kid(images, others)
    return {"fid": fid(images, others).value, "kid": distance, "kid_error": error or 0.0}


def row(name: str, snr_db: float, images: Tensor, sent: Tensor, others: Tensor) -> dict[str, Any]:
    pairs = zip(images.split(BATCH), sent.split(BATCH), strict=True)
    vgg = float(torch.cat([lpips(x, y, net="vgg") for x, y in pairs]).mean())
    return {"system": name, "snr_db": snr_db, "images": len(sent), **distances(images, others), "lpips_vgg": vgg}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.inception_distances", description=__doc__)
    parser.add_argument("model", nargs="?", default="cifar10", help="name or folder of a PixelLink")
    parser.add_argument("--images", type=int, default=5000, help="that are sent, and as many that are not")
    parser.add_argument("--snr", type=float, nargs="+", default=[0.0, 5.0], help="in dB")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    link = PixelLink.from_pretrained(options.model)
    data = data_of(link)
    cbr = data.cbr(data.uses[-2])
    sent, _ = data.test_images(options.images)
    others = read_images(data.name)[: options.images]
    floor = distances(sent, others)
    rows = [
        row(name, snr_db, received(receiver, sent, snr_db, cbr, name), sent, others)
        for snr_db in options.snr
        for name, receiver in receivers(link, data).items()
    ]
    write_csv(options.out / f"inception{data.suffix}.csv", rows)
    text = [
        f"# FID and KID, {data.title}",
        "",
        f"{options.images:,} test images over AWGN at CBR 1/{1 / cbr:.3g}, one seed: FID / 1000 KID with its standard error / LPIPS",
        f"(VGG). FID and KID are to {len(others):,} training images, which were not sent; the originals themselves have",
        f"{floor['fid']:.2f} / {1000 * floor['kid']:.2f}. LPIPS (VGG) is from the image that was sent; nothing here was trained on it.",
        f"Made by `python -m studies.inception_distances {data.name}`.",
        "",
        *table(["receiver", *(f"{snr:g} dB" for snr in options.snr)], body(rows)),
    ]
    write_lines(options.out / f"inception{data.suffix}.md", text)


def body(rows: list[dict[str, Any]]) -> list[list[str]]:
    found: dict[str, list[str]] = {}
    for r in rows:
        numbers = f"{r['fid']:.1f} / {1000 * r['kid']:.1f} ± {1000 * r['kid_error']:.1f} / {r['lpips_vgg']:.3f}"
        found.setdefault(r["system"], []).append(numbers)
    return [[name, *numbers] for name, numbers in found.items()]


if __name__ == "__main__":
    main()

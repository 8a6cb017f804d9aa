# SPDX-License-Identifier: Apache-2.0
"""How photographs that are not learned from fare in the networks as they are: their scores, and a picture of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.atomic import write_atomically
from semdiff.baselines.jscc import DeepJSCC
from semdiff.data.pictures import middle, to_picture
from semdiff.link import SemanticLink
from semdiff.metrics import lpips, psnr
from semdiff.rng import Key
from semdiff.training.curve import Score

SNRS_DB = (10.0, 0.0)
STEPS = 4  # of the sampler
MOST = 24  # pictures
DRAWN = 8  # of them
ASIDE = 10  # of one's own pictures every so-manieth is not learned from


class Shown(NamedTuple):
    """What becomes of the held-out pictures one way."""

    picture: str
    images: Tensor
    snr_db: float | None = None
    cbr: float | None = None


def middles(pictures: Mapping[str, Tensor], size: int) -> Tensor:
    """The middle square of each of the first MOST pictures, uint8 (3, H, W) of at least `size`: float (N, 3, size, size) in [0, 1]."""
    return torch.stack([middle(picture, size, size) for picture in list(pictures.values())[:MOST]]).float() / 255


def put_aside(pictures: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Those to learn from, and every tenth, beginning with the first, to look at; a single one is both."""
    names = list(pictures)
    aside = set(names[::ASIDE])
    return {n: pictures[n] for n in names if n not in aside or len(names) == 1}, {n: pictures[n] for n in names if n in aside}


def over_the_link(link: SemanticLink | DeepJSCC, images: Tensor, sample: bool) -> list[Shown]:
    """At each SNR, at the link's largest and smallest CBR: the mean and, with `sample`, a sample. The noise is always the same."""
    shown = []
    for cbr in (max(link.cbrs.values()), min(link.cbrs.values())):
        for snr_db in SNRS_DB:
            for picture, realism in (("mean", 0.0), ("sample", 1.0))[: 2 if sample else 1]:
                sent = link.transmit(images, snr_db, cbr, steps=STEPS, realism=realism, key=Key(0))
                shown.append(Shown(picture, sent.images.cpu(), snr_db, cbr))
    return shown


def score(shown: Sequence[Shown], originals: Tensor) -> list[Score]:
    """PSNR and LPIPS (AlexNet), means over the pictures."""
    scores = []
    for s in shown:
        for name, metric in (("psnr", psnr), ("lpips", lpips)):
            scores.append(Score(name, float(metric(s.images, originals).mean()), s.picture, s.snr_db, s.cbr))
    return scores


def draw(shown: Sequence[Shown], originals: Tensor, path: Path) -> None:
    """A PNG: the originals in the first column, beside them what was received, in the order of `shown`."""
    columns = [torch.cat(list(images[:DRAWN]), 1) for images in (originals, *(s.images for s in shown))]
    sheet = to_picture(torch.cat(columns, 2))
    write_atomically(path, lambda file: sheet.save(file, "PNG"))

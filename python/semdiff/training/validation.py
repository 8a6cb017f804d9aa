# SPDX-License-Identifier: Apache-2.0
"""Measure photographs that are held out of a training with the networks as they are: scores, and a picture of them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from semdiff._util.atomic import write_atomically
from semdiff.baselines.jscc import DeepJSCC
from semdiff.data.pictures import middle, to_picture
from semdiff.link import SemanticLink
from semdiff.metrics import lpips, psnr
from semdiff.rng import Key
from semdiff.training.curve import HeldOutScore

SNRS_DB = (10.0, 0.0)
STEPS = 4  # of the sampler
MOST = 24  # pictures
DRAWN = 8  # of them
SHARE = 0.1  # of a training's time at most, for looks at them after each stage
FONT_SIZE, MARGIN = 12, 4
ASIDE = 10  # of one's own pictures every so-manieth is not learned from


class Shown(NamedTuple):
    """Hold the held-out pictures after one way through the link.

    Attributes:
        picture: which of those that a receiver can make.
        images: (N, 3, H, W).
        snr_db, cbr: where they were sent; None where they were not.
    """

    picture: str
    images: Tensor
    snr_db: float | None = None
    cbr: float | None = None


def middles(pictures: Mapping[str, Tensor], size: int) -> Tensor:
    """Crop the middle square of each of the first MOST pictures.

    Args:
        pictures: uint8 (3, H, W) by name, of at least `size`.
        size: pixels on the side.

    Returns:
        float (N, 3, size, size) in [0, 1].
    """
    return torch.stack([middle(picture, size, size) for picture in list(pictures.values())[:MOST]]).float() / 255


def put_aside(pictures: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split pictures into those to train on, and every tenth, beginning with the first, to validate with; a single one is both.

    Args:
        pictures: by name.
    """
    names = list(pictures)
    aside = set(names[::ASIDE])
    return {n: pictures[n] for n in names if n not in aside or len(names) == 1}, {n: pictures[n] for n in names if n in aside}


def over_the_link(link: SemanticLink | DeepJSCC, images: Tensor, sample: bool) -> list[Shown]:
    """Send images at each SNR, at the link's largest and smallest CBR. The noise is always the same.

    Args:
        link: sends them.
        images: float (N, 3, H, W) in [0, 1].
        sample: whether to make samples besides means.
    """
    shown = []
    for cbr in (max(link.cbrs.values()), min(link.cbrs.values())):
        for snr_db in SNRS_DB:
            for picture, realism in (("mean", 0.0), ("sample", 1.0))[: 2 if sample else 1]:
                sent = link.transmit(images, snr_db, cbr=cbr, steps=STEPS, realism=realism, key=Key(0))
                shown.append(Shown(picture, sent.images.cpu(), snr_db, cbr))
    return shown


def score(shown: Sequence[Shown], originals: Tensor) -> list[HeldOutScore]:
    """Compute PSNR and LPIPS (AlexNet), means over the pictures.

    Args:
        shown: pictures by way.
        originals: of them.
    """
    scores = []
    for s in shown:
        for name, metric in (("psnr", psnr), ("lpips", lpips)):
            scores.append(HeldOutScore(name, float(metric(s.images, originals).mean()), s.picture, s.snr_db, s.cbr))
    return scores


def validation_costs(stages: Mapping[str, Any], look: Callable[[], object], count: int = 2) -> dict[str, float]:
    """Measure about how many seconds the validation of one held-out picture takes at the end of each stage.

    Args:
        stages: by name.
        look: validates `count` pictures, means alone.
        count: of pictures.
    """
    look()  # the first time also allocates
    begun = time.perf_counter()
    look()
    each = (time.perf_counter() - begun) / count
    return {name: (2 if name == "detail" else 1) * each for name in stages}


def choose_count(seconds: float, costs: Mapping[str, float], most: int) -> int:
    """Choose how many held-out pictures to validate with: as many as take SHARE of a training's time; two at least, where there are.

    Args:
        seconds: of the training.
        costs: seconds that each stage takes for one picture.
        most: number of held-out pictures.
    """
    return max(min(2, most), min(most, int(SHARE * seconds / sum(costs.values()))))


def draw_validation(shown: Sequence[Shown], originals: Tensor, names: Sequence[str], path: Path) -> None:
    """Draw a PNG with a row for each of the first pictures and a column for the originals and each way in `shown`.

    Args:
        shown: pictures by way.
        originals: of them.
        names: of the pictures.
        path: of the PNG.
    """
    from PIL import Image, ImageDraw, ImageFont

    font, count = ImageFont.load_default(FONT_SIZE), min(DRAWN, len(originals))
    height, width = originals.shape[2:]
    captions = ["original", *(caption(s) for s in shown)]
    line = FONT_SIZE * 5 // 4
    top = MARGIN + line * max(text.count("\n") + 1 for text in captions)
    left = 2 * MARGIN + max(math.ceil(font.getlength(name)) for name in names[:count])
    sheet = Image.new("RGB", (left + width * len(captions), top + height * count), "white")
    pen = ImageDraw.Draw(sheet)
    for column, (text, images) in enumerate(zip(captions, (originals, *(s.images for s in shown)), strict=True)):
        pen.multiline_text((left + width * column + 2, 2), text, "black", font, spacing=line - FONT_SIZE)
        for row in range(count):
            sheet.paste(to_picture(images[row]), (left + width * column, top + height * row))
    for row, name in enumerate(names[:count]):
        pen.text((MARGIN, top + height * row + height // 2), name, "black", font, anchor="lm")
    write_atomically(path, lambda file: sheet.save(file, "PNG"))


def caption(shown: Shown) -> str:
    """Write what a column shows: which picture, the SNR, the CBR.

    Args:
        shown: the pictures.
    """
    where = () if shown.snr_db is None or shown.cbr is None else (f"{shown.snr_db:g} dB", f"CBR 1/{1 / shown.cbr:.3g}")
    return "\n".join((shown.picture, *where))

# SPDX-License-Identifier: Apache-2.0
"""Do the photograph training's crops look like the pictures that are sent? Energy by octave of 16x16 cells, and how many are smooth.

python -m studies.photo_spectra writes docs/results/photo_spectra.{csv,md}: of crops as `semdiff train photos` draws them from
semdiff-photos, and from the folders that `--data` names (once for each), of Kodak, of the 24 held-out photographs, and of the 20 large ones
at full size.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from semdiff import Key
from semdiff.baselines.residual import CELL, analyze
from semdiff.data import kodak, photos, read_folders
from semdiff.training.batches import RandomCrops
from semdiff.training.recipes.photos import usable
from studies.photos_bandwidth import large_pictures
from studies.writing import table, write_csv, write_lines

OUT = Path(__file__).parents[1] / "docs" / "results"
CROP, CROPS = 96, 1024
OCTAVES = (1, 2, 4, 8, CELL)  # orders from one to below the next
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
TEXT = """
# Are training crops like the pictures that are sent?

Cells of 16x16 pixels, grey, their mean taken away: the mean energy of a cosine coefficient by octave, in dB (white of variance 1 has 0 dB),
and the standard deviation of a cell's pixels, in 255 levels, that a share of the cells does not reach. Smooth cells have 1 or 2. Crops are
as the photograph recipe draws them, {crops} of {crop}x{crop} pixels. `python -m studies.photo_spectra` computes.
"""
AFTER = """
Half of the cells of large photographs are below 3.9 levels, where not a quarter of the cells of the crops of semdiff-photos are. In the
lowest octave these have 3 to 5 dB more energy than Kodak and large photographs, in the highest 2 dB less than Kodak.
"""


def crops(pictures: dict[str, Tensor]) -> Iterable[Tensor]:
    """Crops as the recipe's first stage draws them."""
    drawn = RandomCrops(usable(pictures, CROP), CROP, CROPS // 16, Key(0))
    return (crop for step in range(16) for crop in drawn.batch(step)[0])


def describe(name: str, pictures: Iterable[Tensor]) -> dict[str, object]:
    """One line of the table."""
    order = torch.arange(CELL)
    octave = torch.maximum(order[:, None], order)
    energies, deviations = [], []
    for picture in pictures:
        values = picture if picture.is_floating_point() else picture.float() / 255
        whole = values[:, : values.shape[1] // CELL * CELL, : values.shape[2] // CELL * CELL]
        energy = analyze(whole)[:, 0].square() / len(whole)  # of the colours' mean: `analyze` sums them, at unit norm
        energies.append(torch.stack([energy[:, (octave >= a) & (octave < b)].mean(1) for a, b in pairwise(OCTAVES)], 1))
        deviations.append((energy.sum((1, 2)) - energy[:, 0, 0]).div(CELL**2).clamp_min(0).sqrt() * 255)
    bands = 10 * torch.cat(energies).double().mean(0).log10()
    spread = torch.cat(deviations)
    points = spread.sort().values[[int(share * (len(spread) - 1)) for share in SHARES]]
    row: dict[str, object] = {"pictures": name, "cells": len(spread)}
    row |= {
        f"{'order 1' if b == 2 else f'orders {a} to {b - 1}'}, dB": float(v) for (a, b), v in zip(pairwise(OCTAVES), bands, strict=True)
    }
    return row | {f"{share:.0%} below": float(v) for share, v in zip(SHARES, points, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, action="append", default=[])
    options = parser.parse_args()
    rows = [describe("crops of semdiff-photos", crops(photos("train")))]
    if options.data:
        more = read_folders(options.data)
        rows.append(describe(f"crops of {len(more)} more photographs", crops(more)))
    rows.append(describe("Kodak", kodak().values()))
    rows.append(describe("24 held-out photographs", photos("test").values()))
    rows.append(describe("20 large photographs", (read() for _, read in large_pictures())))
    write_csv(OUT / "photo_spectra.csv", rows)
    head, first = list(rows[0]), ("pictures", "cells")
    body = [[str(row["pictures"]), f"{row['cells']:,}", *(f"{row[k]:.1f}" for k in head if k not in first)] for row in rows]
    write_lines(
        OUT / "photo_spectra.md",
        [*TEXT.format(crops=f"{CROPS:,}", crop=CROP).strip().splitlines(), "", *table(head, body), *AFTER.rstrip().splitlines()],
    )


if __name__ == "__main__":
    main()

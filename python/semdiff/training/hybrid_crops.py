# SPDX-License-Identifier: Apache-2.0
"""Prepare and draw what a hybrid code's receiver learns from: coded pictures, whose residual arrives with fresh noise in every batch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from semdiff._util.child_keys import BATCHES
from semdiff._util.tensor_files import load_tensors, save_tensors
from semdiff.baselines.hybrid import Hybrid
from semdiff.baselines.hybrid_reception import HybridReception, receive_hybrid
from semdiff.baselines.residual import CELL, Plan, analyze, classify
from semdiff.baselines.schemes import choose_scheme
from semdiff.rng import Key, normal
from semdiff.training.batches import RandomCrops, generator

SNR_DB, CBR = (-2.0, 21.0), (1 / 100, 1 / 5)  # uniform in dB, and in the logarithm
BETTER_DB, BETTER_SHARE = 10.0, 0.25  # a share of the crops is heard up to so much better than the code was made for
CRC_BITS = 24
PART = 50  # pictures of one file
SYMMETRIES = 8  # of a square


class CodedPicture(NamedTuple):
    """Hold one picture and what a sender made of it.

    Attributes:
        image, base: uint8 (3, size, size).
        variances, factors: of the coefficients of each class of cells, (CLASSES, 3, CELL, CELL).
        classes: int64 (rows, columns).
        scale: of the numbers sent.
        snr_db: that the code was made for.
    """

    image: Tensor
    base: Tensor
    variances: Tensor
    factors: Tensor
    classes: Tensor
    scale: Tensor
    snr_db: Tensor

    def crop(self, top: int, left: int, side: int, symmetry: int = 0) -> tuple[Tensor, Tensor, Plan]:
        """Cut out image and base in [0, 1] and the plan of their cells, as if the code had seen the picture mirrored or turned.

        Args:
            top, left, side: in cells.
            symmetry: one of the SYMMETRIES of a square, see `mirrored`; 0 leaves it as it is.
        """
        place = (slice(None), slice(top * CELL, (top + side) * CELL), slice(left * CELL, (left + side) * CELL))
        image, base = (mirrored(x[place].float() / 255, symmetry) for x in (self.image, self.base))
        classes = mirrored(self.classes[top : top + side, left : left + side], symmetry).flatten()
        # A mirrored cell has the same coefficients, but for the signs of the odd ones; a transposed one has them transposed.
        variances, factors = (x.mT[classes] if symmetry & 4 else x[classes] for x in (self.variances, self.factors))
        return image, base, Plan(variances, factors, int((factors > 0).sum()))


def mirrored(x: Tensor, symmetry: int) -> Tensor:
    """Mirror the rows of x (..., n, n) where bit 0 of `symmetry` is set, its columns for bit 1, and then transpose it for bit 2."""
    x = x.flip([dim for bit, dim in ((1, -2), (2, -1)) if symmetry & bit])
    return x.mT if symmetry & 4 else x


def code_pictures(
    pictures: Mapping[str, Tensor], count: int, size: int, folder: Path, hybrid: Hybrid, key: Key, progress: bool = False
) -> list[CodedPicture]:
    """Code crops of pictures at random SNRs and bandwidth ratios, PART by PART: files that are there are read.

    Args:
        pictures: uint8 (3, H, W) by name.
        count: how many, rounded up to PARTs.
        size: pixels on the side of a crop, a multiple of CELL.
        folder: of the files.
        hybrid: the code.
        key: of the draws.
        progress: show a bar.
    """
    crops, found = RandomCrops(pictures, size, 1, key), []
    for part in tqdm(range(math.ceil(count / PART)), desc="coding pictures", disable=not progress):
        path = folder / f"{part:03}.safetensors"
        if not path.exists():
            coded = [_code(crops.batch(n)[0][0], hybrid, key.fold_in(n)) for n in range(part * PART, (part + 1) * PART)]
            folder.mkdir(parents=True, exist_ok=True)
            columns = zip(CodedPicture._fields, zip(*coded, strict=True), strict=True)
            save_tensors(path, {name: torch.stack(values) for name, values in columns}, {})
        tensors = load_tensors(path)[0]
        found += [CodedPicture(*row) for row in zip(*(tensors[name] for name in CodedPicture._fields), strict=True)]
    return found


def _code(image: Tensor, hybrid: Hybrid, key: Key) -> CodedPicture:
    draws = torch.rand(2, generator=generator(key), dtype=torch.float64)
    snr_db = SNR_DB[0] + (SNR_DB[1] - SNR_DB[0]) * float(draws[0])
    uses = round(image.numel() * CBR[0] * (CBR[1] / CBR[0]) ** float(draws[1]))
    packet_uses = round(hybrid.share * uses)
    scheme = choose_scheme(packet_uses, snr_db, hybrid.target_bler)
    bits = int(packet_uses * scheme.efficiency) - CRC_BITS * scheme.blocks(packet_uses)
    image = (image * 255).round() / 255
    coded = hybrid.code(image, bits, 2 * (uses - packet_uses), snr_db)
    classes = classify(analyze(coded.base))
    # Of each class its first cell's row of the plan: all its cells have the same.
    first = torch.stack([(classes == c).nonzero()[0, 0] for c in range(int(classes.max()) + 1)])
    whole, base = ((x * 255).round().to(torch.uint8) for x in (image, coded.base))
    classes, scale = classes.view(image.shape[1] // CELL, -1), torch.tensor(coded.scale)
    return CodedPicture(whole, base, coded.plan.variances[first], coded.plan.factors[first], classes, scale, torch.tensor(snr_db))


class HybridCrops:
    """Draw crops of coded pictures, mirrored and turned, received over AWGN.

    A batch has images, bases, linear estimates (B, 3, size, size) and error maps.

    Args:
        pictures: coded.
        size: pixels on the side of a crop, a multiple of CELL.
        batch_size: over all processes.
        key: of the draws.
    """

    def __init__(self, pictures: list[CodedPicture], size: int, batch_size: int, key: Key) -> None:
        self.pictures, self.side, self.batch_size, self.key = pictures, size // CELL, batch_size, key.fold_in(BATCHES)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, ...]:
        """Return the part of batch `step` that process `rank` of `world` works on."""
        key = self.key.fold_in(step)
        draws = torch.rand(self.batch_size, 6, generator=generator(key), dtype=torch.float64)
        crops = [self._crop(draws[n].tolist(), key.fold_in(n)) for n in range(rank, self.batch_size, world)]
        images, receptions = zip(*crops, strict=True)
        bases, estimates = (torch.cat([getattr(one, part) for one in receptions]) for part in ("base", "picture"))
        return torch.stack(images), bases, estimates, torch.cat([one.error_maps() for one in receptions])

    def _crop(self, draws: list[float], key: Key) -> tuple[Tensor, HybridReception]:
        which, down, right, better, by, turn = draws
        coded = self.pictures[int(which * len(self.pictures))]
        rows, columns = coded.classes.shape
        place = int(down * (rows - self.side + 1)), int(right * (columns - self.side + 1))
        image, base, plan = coded.crop(*place, self.side, int(turn * SYMMETRIES))
        snr_db = float(coded.snr_db) + (BETTER_DB * by if better < BETTER_SHARE else 0.0)
        noise_var, scale = torch.tensor(10 ** (-snr_db / 10)).expand(plan.slots), float(coded.scale)
        numbers = plan.send(analyze(image - base)) * scale + noise_var.sqrt() * normal((plan.slots,), key)
        return image, receive_hybrid(base, plan, numbers, scale, noise_var)

    def identity(self) -> Any:
        """Return the crops' settings and the coded pictures' number."""
        return {"crops": self.side * CELL, "coded": len(self.pictures), "better": [BETTER_DB, BETTER_SHARE], "symmetries": SYMMETRIES}

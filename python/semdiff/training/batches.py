# SPDX-License-Identifier: Apache-2.0
"""Draw the batches of a training. Step n gets a function of (key, n), so a resumed run gets the same batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff._util.child_keys import BATCHES
from semdiff.rng import Key

# Widths of the ranges of log2 of the power that values are raised to: of a crop, and of each channel besides. Chosen by hand; five more
# minutes of training cost 0.07 dB on held-out pictures without any change of crops, and brought 0.13 dB with all of these.
EXPOSURE, BALANCE = 1.0, 0.3
# Side of the square that is scaled to a crop, over the crop's: crops then have the spectrum of held-out photographs to within 3.5 dB up to
# a third of a cycle a pixel.
NEAREST, FARTHEST = 1 / 3, 2.0


class Batches(Protocol):
    """Describe what `fit` takes its batches from.

    Attributes:
        batch_size: over all processes.
    """

    batch_size: int  # over all processes

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, ...]:
        """Return the part of batch `step` that process `rank` of `world` works on."""
        ...

    def identity(self) -> Any:
        """Return what must be equal for a checkpoint to be continued, as JSON has it."""
        ...


class Rows:
    """Draw rows of tensors of one length: a fresh permutation in every epoch.

    Args:
        data: the tensors.
        batch_size: over all processes.
        key: of the permutations.
    """

    def __init__(self, data: Sequence[Tensor], batch_size: int, key: Key) -> None:
        self.data, self.batch_size = data, min(batch_size, len(data[0]))
        self.per_epoch = len(data[0]) // self.batch_size
        self.key = key.fold_in(BATCHES)
        self.epoch, self.permutation = -1, torch.empty(0, dtype=torch.int64)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, ...]:
        """Return the part of batch `step` that process `rank` of `world` works on."""
        epoch, place = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            self.permutation = torch.randperm(len(self.data[0]), generator=generator(self.key.fold_in(epoch)))
            self.epoch = epoch
        rows = self.permutation[place * self.batch_size : (place + 1) * self.batch_size][rank::world]
        return tuple(d[rows] for d in self.data)

    def identity(self) -> Any:
        """Return shapes, dtypes and means of the data."""
        return [[list(d.shape), str(d.dtype), round(float(d.double().mean()), 4)] for d in self.data]


class RandomCrops:
    """Draw square crops of pictures: float32 (B, C, size, size) in [0, 1].

    They lie at random places, are turned by quarters and mirrored, and are scaled from squares of a third to twice the side, uniformly in
    its logarithm: small pictures are sharp to the last pixel, large photographs smooth, and networks that saw only the first invent
    sharpness for the second. Exposure and white balance differ too: each channel to a power of its own. A few hundred photographs without
    these changes would be memorised. A picture is drawn in proportion to the square root of its area: a large one shows more, but a small
    one is another scene.

    Args:
        pictures: uint8 (C, H, W) by name, of any sizes not below `size`.
        size: pixels on the side of a crop.
        batch_size: over all processes.
        key: of the draws.

    Raises:
        ValueError: for a picture smaller than a crop.
    """

    def __init__(self, pictures: Mapping[str, Tensor], size: int, batch_size: int, key: Key) -> None:
        for name, picture in pictures.items():
            if min(picture.shape[1:]) < size:
                raise ValueError(f"pictures: expected at least {size}x{size} pixels, got {tuple(picture.shape[1:])} in {name}")
        self.pictures, self.size, self.batch_size, self.key = list(pictures.values()), size, batch_size, key.fold_in(BATCHES)
        self.weights = torch.tensor([float(p.shape[1] * p.shape[2]) for p in self.pictures], dtype=torch.float64).sqrt()
        self.names = list(pictures)

    def batch(self, step: int, rank: int = 0, world: int = 1) -> tuple[Tensor, ...]:
        """Return the part of batch `step` that process `rank` of `world` works on."""
        draws = generator(self.key.fold_in(step))
        which = torch.multinomial(self.weights, self.batch_size, replacement=True, generator=draws)
        views = torch.rand(self.batch_size, 5, generator=draws, dtype=torch.float64)
        exposures = torch.rand(self.batch_size, 1, generator=draws) - 0.5
        balances = torch.rand(self.batch_size, len(self.pictures[0]), generator=draws) - 0.5
        powers = 2 ** (EXPOSURE * exposures + BALANCE * balances)
        crops = [self._crop(int(i), *view.tolist()) for i, view in zip(which[rank::world], views[rank::world], strict=True)]
        return (torch.stack(crops) ** powers[rank::world, :, None, None],)

    def _crop(self, which: int, down: float, right: float, mirror: float, turn: float, farther: float) -> Tensor:
        picture = self.pictures[which]
        side = min(round(self.size * NEAREST * (FARTHEST / NEAREST) ** farther), *picture.shape[1:])
        top, left = (int(share * (n - side + 1)) for share, n in zip((down, right), picture.shape[1:], strict=True))
        crop = picture[:, top : top + side, left : left + side].float() / 255
        if side != self.size:
            crop = F.interpolate(crop[None], size=(self.size, self.size), mode="bicubic", antialias=True)[0].clamp(0, 1)
        return torch.rot90(crop.flip(2) if mirror < 0.5 else crop, int(4 * turn), (1, 2))

    def identity(self) -> Any:
        """Return the crops' settings, and the pictures' names and shapes."""
        pictures = [[name, list(p.shape)] for name, p in zip(self.names, self.pictures, strict=True)]
        return {"crops": self.size, "views": [NEAREST, FARTHEST, EXPOSURE, BALANCE], "pictures": pictures}


def generator(key: Key) -> torch.Generator:
    """Make a torch.Generator seeded by a key, for draws of integers."""
    return torch.Generator().manual_seed(int(key.tensor[0].item()) % 2**63)

# SPDX-License-Identifier: Apache-2.0
"""Send what a base picture lacks without quantising it: block cosine transform, as many coefficients of each cell as pay, linear estimate.

Cells of 16x16 pixels fall into classes by how much detail the base picture, which both ends have, shows in them. A `Profile` of a few
hundred bits says how large the residual's coefficients are in each class and band. From it both ends compute which coefficients are sent,
and how strongly. The error of independent coefficients of variance v, each sent as g times itself over noise of variance n, is least under
a total power where g^2 v / n = sqrt(v) / c - 1, and nothing is sent where that is negative (Lee and Petersen, "Optimal linear coding for
vector channels", IEEE Trans. Commun. 1976). So a cell gets no symbol or several times the average, their sum is fixed, and no map is sent.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 16  # pixels on the side of a cell
CLASSES = 8
LEVEL_BITS = 4  # of a level of a profile, in steps of 3 dB
LOWEST_SHAPE, LOWEST_GAIN = -18, -8  # log2 of a variance, and of a factor on it. Chosen by hand, for pixels in [0, 1]
ORDERS = 5  # octaves of a cosine's order: 0, 1, 2-3, 4-7, 8-15


class Profile(NamedTuple):
    """Hold the levels, 0 to 15, that say how large a residual's coefficients are: log2 variance = shape + gain.

    Attributes:
        shape: int64 (kinds, ORDERS, ORDERS), by band; kinds are luma and chroma, or luma alone.
        gain: int64 (kinds, CLASSES), by class.
    """

    shape: Tensor
    gain: Tensor

    def variances(self, colours: int) -> Tensor:
        """Compute the variance of each coefficient.

        Args:
            colours: 1 or 3.

        Returns:
            float64 (CLASSES, colours, CELL, CELL).
        """
        kinds = torch.tensor([0, 1, 1][:colours], device="cpu")
        shape = (self.shape + LOWEST_SHAPE)[:, octaves()[:, None], octaves()]
        return torch.exp2((shape[None] + (self.gain + LOWEST_GAIN).T[:, :, None, None]).double())[:, kinds]

    def to_bits(self) -> Tensor:
        """Write the levels as bits: uint8 (`profile_bits`,)."""
        return to_bits(torch.cat([self.shape.flatten(), self.gain.flatten()]), LEVEL_BITS)


def profile_bits(colours: int) -> int:
    """Count the bits of a `Profile`.

    Args:
        colours: 1 or 3.
    """
    return LEVEL_BITS * (ORDERS**2 + CLASSES) * (2 if colours == 3 else 1)


def read_profile(bits: Tensor, colours: int) -> Profile:
    """Read the bits of a `Profile`.

    Args:
        bits: (`profile_bits`,) of 0 and 1.
        colours: 1 or 3.
    """
    kinds, levels = (2 if colours == 3 else 1), from_bits(bits, LEVEL_BITS)
    bands = kinds * ORDERS**2
    return Profile(levels[:bands].view(kinds, ORDERS, ORDERS), levels[bands:].view(kinds, CLASSES))


def to_bits(numbers: Tensor, width: int) -> Tensor:
    """Write numbers as bits, the highest first.

    Args:
        numbers: int64 (n,), from 0 to 2^width - 1.
        width: bits of each.

    Returns:
        uint8 (n * width,).
    """
    return (numbers[:, None] >> torch.arange(width - 1, -1, -1, device="cpu") & 1).flatten().to(torch.uint8)


def from_bits(bits: Tensor, width: int) -> Tensor:
    """Read numbers of so many bits each: the inverse of `to_bits`.

    Args:
        bits: (n * width,) of 0 and 1.
        width: bits of each.
    """
    return (bits.long().view(-1, width) << torch.arange(width - 1, -1, -1, device="cpu")).sum(1)


def analyze(image: Tensor) -> Tensor:
    """Transform a picture: colours to luma and two differences, cells to cosines; orthonormal, so squared errors are those of pixels.

    Args:
        image: float (C, H, W), C 1 or 3; its edges are repeated to whole cells.

    Returns:
        Coefficients (cells, C, CELL, CELL), the cells row by row.
    """
    colours, height, width = image.shape
    padded = F.pad(image[None], (0, -width % CELL, 0, -height % CELL), mode="replicate")[0]
    turned = torch.einsum("dc,chw->dhw", _colours(colours), padded)
    cells = turned.unflatten(2, (-1, CELL)).unflatten(1, (-1, CELL)).permute(1, 3, 0, 2, 4).flatten(0, 1)
    coefficients: Tensor = _cosines() @ cells @ _cosines().T
    return coefficients


def synthesize(coefficients: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Invert `analyze`.

    Args:
        coefficients: (cells, C, CELL, CELL).
        shape: (C, H, W) of the picture.
    """
    colours, height, width = shape
    cells = (_cosines().T @ coefficients @ _cosines()).unflatten(0, (-(-height // CELL), -1))
    turned = cells.permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)
    image: Tensor = torch.einsum("dc,dhw->chw", _colours(colours), turned)
    return image[:, :height, :width]


def classify(base: Tensor) -> Tensor:
    """Sort the cells of a base picture into classes of equal size by their detail: where a codec left some it also lost some.

    Args:
        base: coefficients of the base picture, (cells, C, CELL, CELL).

    Returns:
        int64 (cells,), 0 for the smoothest.
    """
    order = torch.arange(CELL, dtype=base.dtype, device="cpu")
    energy = (base * (order[:, None] + order)).square().sum((1, 2, 3))
    rank = energy.argsort(stable=True).argsort()
    return rank * CLASSES // len(rank)


def describe(residual: Tensor, classes: Tensor) -> Profile:
    """Measure a residual.

    Args:
        residual: its coefficients, (cells, C, CELL, CELL).
        classes: of the cells, from `classify`.
    """
    counts = torch.bincount(classes, minlength=CLASSES).clamp_min(1)[:, None, None, None]
    energy = residual.new_zeros(CLASSES, *residual.shape[1:]).index_add_(0, classes, residual.square()).double() / counts
    kinds = energy if energy.shape[1] == 1 else torch.stack([energy[:, 0], energy[:, 1:].mean(1)], 1)
    octave = F.one_hot(octaves(), ORDERS).double()
    octave = octave / octave.sum(0)
    log = torch.einsum("kcij,ia,jb->kcab", kinds, octave, octave).clamp_min(2.0 ** (LOWEST_SHAPE + LOWEST_GAIN)).log2()
    shape = _level(log.mean(0), LOWEST_SHAPE)
    gain = _level((log - (shape + LOWEST_SHAPE)).mean((2, 3)).T, LOWEST_GAIN)
    return Profile(shape, gain)


def _level(log: Tensor, lowest: int) -> Tensor:
    return (log.round().long() - lowest).clamp(0, 2**LEVEL_BITS - 1)


def allocate(variances: Tensor, counts: Tensor, slots: int, noise_var: float) -> Tensor:
    """Compute the factors of least total error for coefficients that are sent over noise.

    Args:
        variances: float64, of groups of coefficients.
        counts: float64, of the same shape, how many coefficients each group has.
        slots: how many real numbers are sent, of unit power on average.
        noise_var: of each.

    Returns:
        Factors like variances, 0 for what is not sent: at most `slots` coefficients are, and count * factor^2 * variance sums to slots.
    """
    order = variances.flatten().argsort(descending=True, stable=True)
    v, n = variances.flatten()[order], counts.flatten()[order]
    sent = int((n.cumsum(0) <= slots).sum())
    while sent:
        deviation, number = v[:sent].sqrt(), n[:sent]
        level = noise_var * (number * deviation).sum() / (slots + noise_var * number.sum())
        fewer = int((deviation > level).sum())
        if fewer == sent:
            break
        sent = fewer
    factors = torch.zeros_like(v)
    if sent:
        factors[order[:sent]] = (noise_var * (deviation / level - 1)).sqrt() / deviation
    return factors.view_as(variances)


class Plan(NamedTuple):
    """Say what both ends know before a residual is sent.

    Attributes:
        variances: of each coefficient, (cells, C, CELL, CELL).
        factors: by which each is multiplied, 0 where it is not sent, of that shape.
        slots: how many real numbers are sent.
    """

    variances: Tensor
    factors: Tensor
    slots: int

    def send(self, residual: Tensor) -> Tensor:
        """Return the numbers to send, (slots,): of unit power on average where the profile is exact.

        Args:
            residual: coefficients, (cells, C, CELL, CELL).
        """
        sent = (residual * self.factors)[self.factors > 0]
        return F.pad(sent, (0, self.slots - len(sent)))

    def receive(self, numbers: Tensor, scale: float, noise_var: Tensor) -> Tensor:
        """Estimate the residual with least squared error.

        Args:
            numbers: as received, (slots,).
            scale: by which the sender multiplied what `send` returned.
            noise_var: of each number, (slots,).

        Returns:
            Coefficients (cells, C, CELL, CELL).
        """
        there = self.factors > 0
        count = int(there.sum())
        variance, gain = self.variances[there], self.factors[there] * scale
        estimate = torch.zeros_like(self.variances)
        estimate[there] = numbers[:count] * gain * variance / (gain.square() * variance + noise_var[:count].to(gain))
        return estimate

    def error_variances(self, scale: float, noise_var: Tensor) -> Tensor:
        """Compute the variance of the error of what `receive` returns, by the profile: (cells, C, CELL, CELL).

        Args:
            scale, noise_var: as in `receive`.
        """
        there = self.factors > 0
        gain, variances = self.factors[there] * scale, self.variances.clone()
        noise = noise_var[: len(gain)].to(gain)
        variances[there] *= noise / (gain.square() * variances[there] + noise)
        return variances


def make_plan(profile: Profile, classes: Tensor, colours: int, slots: int, noise_var: float) -> Plan:
    """Choose what is sent of a residual.

    Args:
        profile: of the residual.
        classes: of the cells.
        colours: 1 or 3.
        slots: how many real numbers are sent.
        noise_var: the noise that is expected in each.
    """
    variances = profile.variances(colours)
    counts = torch.bincount(classes, minlength=CLASSES).double()[:, None, None, None].expand_as(variances)
    return Plan(variances.float()[classes], allocate(variances, counts, slots, noise_var).float()[classes], slots)


@cache
def _cosines() -> Tensor:
    """The orthonormal DCT-II (CELL, CELL)."""
    order = torch.arange(CELL, dtype=torch.float64, device="cpu")
    matrix = torch.cos(math.pi / CELL * order[:, None] * (order + 0.5)) * math.sqrt(2 / CELL)
    matrix[0] *= math.sqrt(0.5)
    return matrix.float()


@cache
def _colours(colours: int) -> Tensor:
    if colours == 1:
        return torch.ones(1, 1, device="cpu")
    rows = torch.tensor([[1.0, 1.0, 1.0], [1.0, 0.0, -1.0], [1.0, -2.0, 1.0]], device="cpu")
    unit: Tensor = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return unit


@cache
def octaves() -> Tensor:
    """Return the octave of each order, (CELL,): 0, 1, 2, 2, 3, 3, 3, 3, 4 ..."""
    return torch.tensor([order.bit_length() for order in range(CELL)], device="cpu")

# SPDX-License-Identifier: Apache-2.0
"""Say what the receiver of a hybrid code knows: the base, the linear estimate, and how wrong that is, cell by cell."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff.baselines.residual import CELL, ORDERS, Plan, octaves, synthesize

LEAST = 1e-6  # of a variance of pixels in [0, 1]


class HybridReception(NamedTuple):
    """Hold what a receiver knows of one picture.

    Attributes:
        base: the coded picture, (1, C, H, W) in [0, 1].
        picture: the linear estimate, of the same shape, not clamped.
        plan, scale, noise_var: of its residual, as in `Plan.error_variances`.
    """

    base: Tensor
    picture: Tensor
    plan: Plan
    scale: float
    noise_var: Tensor

    def error_maps(self) -> Tensor:
        """Describe the error of a colour picture, see `error_maps`: (1, 2 ORDERS + 1, rows, columns)."""
        return error_maps(self.plan.error_variances(self.scale, self.noise_var), -(-self.base.shape[2] // CELL))[None]


def receive_hybrid(base: Tensor, plan: Plan, numbers: Tensor, scale: float, noise_var: Tensor) -> HybridReception:
    """Receive one picture.

    Args:
        base: the coded picture, (C, H, W) in [0, 1].
        plan: of its residual.
        numbers, scale, noise_var: as in `Plan.receive`.
    """
    shape = (base.shape[0], base.shape[1], base.shape[2])
    picture = base + synthesize(plan.receive(numbers, scale, noise_var), shape)
    return HybridReception(base[None], picture[None], plan, scale, noise_var)


def error_maps(variances: Tensor, rows: int) -> Tensor:
    """Describe the variances of coefficients by a few numbers a cell.

    Args:
        variances: (cells, 3, CELL, CELL).
        rows: of cells.

    Returns:
        ln of the variances, (2 ORDERS + 1, rows, columns): of luma by octave of the larger order of its cosine, of both chroma so, and of
        a pixel.
    """
    ring = torch.maximum(octaves()[:, None], octaves()).flatten()
    mask = F.one_hot(ring, ORDERS).to(variances)
    flat = variances.flatten(2)
    kinds = torch.stack([flat[:, 0], flat[:, 1:].mean(1)], 1) @ (mask / mask.sum(0))
    pixel = flat.mean((1, 2))[:, None]
    maps: Tensor = torch.cat([kinds.flatten(1), pixel], 1).clamp_min(LEAST).log()
    return maps.T.reshape(maps.shape[1], rows, -1)

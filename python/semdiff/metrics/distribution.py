# SPDX-License-Identifier: Apache-2.0
"""Compute distances between two sets of feature vectors, in float64: Frechet's of Gaussians fitted to them, and a kernel's.

FD = |m_x - m_y|^2 + tr S_x + tr S_y - 2 tr (S_x S_y)^(1/2)                       Heusel et al., arXiv 1706.08500
MMD^2 = mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean k(x_i, y_j),  k(a, b) = (a . b / d + 1)^3
                                                                                  Binkowski et al., arXiv 1801.01401
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class Score(NamedTuple):
    """Hold a number that belongs to two sets of images.

    Attributes:
        value: the number.
        n: images in the smaller set; the value's bias and spread depend on it.
        standard_error: of the value; None where there is no cheap estimate.
    """

    value: float
    n: int
    standard_error: float | None = None


def frechet_distance(x: Tensor, y: Tensor) -> float:
    """Compute the Frechet distance of feature vectors. With few vectors it is far too large: compare at equal N only.

    With centred rows X'X = S_x and Y'Y = S_y, the trace is the sum of the singular values of X Y', or of R_x R_y' of X = Q_x R_x: no
    square root of a rounded matrix, and no eigenvalue that rounding makes negative.

    Args:
        x, y: (N, d) and (M, d).
    """
    x, y = x.double(), y.double()
    mean_x, mean_y = x.mean(0), y.mean(0)
    a, b = _factor(x - mean_x), _factor(y - mean_y)
    shared = torch.linalg.svdvals(a @ b.mT).sum()
    return max(0.0, float((mean_x - mean_y).square().sum() + a.square().sum() + b.square().sum() - 2 * shared))


def _factor(centred: Tensor) -> Tensor:
    """A with A'A = covariance, and no more rows than needed."""
    n, d = centred.shape
    rows: Tensor = torch.linalg.qr(centred, mode="r").R if n > d else centred
    return rows / math.sqrt(n - 1)


def kernel_distance(x: Tensor, y: Tensor) -> tuple[float, float]:
    """Compute the unbiased MMD^2 of feature vectors over all pairs. It can be negative.

    Args:
        x, y: (N, d) and (M, d), N, M >= 3.

    Returns:
        MMD^2, and the jackknife's standard error for two independent sets. Between sets of one distribution the error is 1.4 times too
        large: there the pairs' terms have no part that a single vector explains.
    """
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    xx, _ = _kernel_sums(x, x)
    yy, _ = _kernel_sums(y, y)
    xy, yx = _kernel_sums(x, y)  # of each x over all y; of each y over all x
    xx, yy = xx - _kernel(x.square().sum(1), x.shape[1]), yy - _kernel(y.square().sum(1), y.shape[1])

    def value(sum_xx: Tensor, n: int, sum_yy: Tensor, m: int, sum_xy: Tensor) -> Tensor:
        return sum_xx / (n * (n - 1)) + sum_yy / (m * (m - 1)) - 2 * sum_xy / (n * m)

    without_x = value(xx.sum() - 2 * xx, n - 1, yy.sum(), m, xy.sum() - xy)
    without_y = value(xx.sum(), n, yy.sum() - 2 * yy, m - 1, xy.sum() - yx)
    variance = sum(float((v - v.mean()).square().sum()) * (len(v) - 1) / len(v) for v in (without_x, without_y))
    return float(value(xx.sum(), n, yy.sum(), m, xy.sum())), variance**0.5


def _kernel(products: Tensor, d: int) -> Tensor:
    return (products / d + 1) ** 3


def _kernel_sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column sums of the kernel's matrix, which is never whole in memory."""
    rows, columns = [], torch.zeros(len(y), dtype=y.dtype, device=y.device)
    for part in x.split(1024):
        k = _kernel(part @ y.mT, x.shape[1])
        rows.append(k.sum(1))
        columns += k.sum(0)
    return torch.cat(rows), columns

# SPDX-License-Identifier: Apache-2.0
"""Estimate a latent from its noisy copy without a denoiser: by the best linear estimate, and by the best one element by element.

y = z + n, n ~ N(0, w) in every element. Linear MMSE: m + C (C + w I)^-1 (y - m) with the data's mean m and covariance C (Kay, Estimation
Theory, 1993, ch. 12); optimal if z is Gaussian. Element by element: E[z_i | y_i] for the distribution that all elements share; optimal if
the elements are independent and alike.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

BINS = 1024


class Covariance(NamedTuple):
    """Hold a mean m, and a covariance C = (1 - shrink) S + shrink mu I by eigenvectors.

    Attributes:
        mean: (D,).
        vectors: (r, D), orthonormal rows, those of the sample covariance S.
        values: (r,), their eigenvalues in C.
        floor: the eigenvalue of all other directions.
    """

    mean: Tensor
    vectors: Tensor
    values: Tensor
    floor: float


def ledoit_wolf(z: Tensor) -> Covariance:
    """Estimate the covariance of rows, shrunk towards mu I by as much as N samples leave it uncertain.

    Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004: sensible for N < D too, where the
    sample covariance S has no inverse. It goes through the singular values of z, so no D x D matrix is made.

    Args:
        z: float64 (N, D).
    """
    n, d = z.shape
    mean = z.mean(0)
    centred = z - mean
    _, singular, vectors = torch.linalg.svd(centred, full_matrices=False)
    values = singular.square() / n
    mu = float(values.sum()) / d
    square = float(values.square().sum())  # ||S||_F^2
    distance = square - d * mu * mu
    scatter = (float(centred.square().sum(1).square().sum()) / n - square) / n  # of the samples' x x^T about S, over n
    shrink = min(1.0, max(0.0, scatter) / distance) if distance > 1e-12 * square else 1.0
    return Covariance(mean, vectors, (1 - shrink) * values + shrink * mu, shrink * mu)


def linear_mmse(y: Tensor, noise_var: float, c: Covariance) -> Tensor:
    """Compute m + C (C + w I)^-1 (y - m) for each row.

    Args:
        y: float64 (N, D).
        noise_var: w.
        c: mean and covariance.
    """
    centred = y - c.mean
    outside = c.floor / (c.floor + noise_var)
    gains = c.values / (c.values + noise_var) - outside
    return c.mean + outside * centred + ((centred @ c.vectors.T) * gains) @ c.vectors


def elementwise_mmse(y: Tensor, noise_var: float, z: Tensor) -> Tensor:
    """Compute E[z_i | y_i] for each element, where p(z_i) is the histogram of all elements of z.

    Args:
        y: float64 (N, D).
        noise_var: of each element.
        z: float64, samples of the data.
    """
    low, high = z.aminmax()
    if float(high - low) == 0:
        return torch.full_like(y, float(low))
    width = float(high - low) / BINS
    which = ((z.reshape(-1) - low) / width).long().clamp(0, BINS - 1)
    counts = torch.bincount(which, minlength=BINS).double()
    held = counts > 0
    # The mean of what fell into a bin stands for it: exact for data that takes few values.
    points = (torch.zeros(BINS, dtype=torch.float64, device=z.device).scatter_add_(0, which, z.reshape(-1)) / counts.clamp_min(1))[held]
    # E[z | y] on a grid of y that resolves the noise, then between its points by straight lines.
    reach = 6 * math.sqrt(noise_var)
    start, stop = min(float(low) - reach, float(y.min())), max(float(high) + reach, float(y.max()))
    steps = min(1 << 16, 2 + int((stop - start) / (math.sqrt(noise_var) / 16)))
    grid = torch.linspace(start, stop, steps, dtype=torch.float64, device=z.device)
    table = torch.cat([_posterior(part, points, counts[held].log(), noise_var) for part in grid.split(1024)])
    place = (y - start) / (stop - start) * (steps - 1)
    left = place.floor().long().clamp(0, steps - 2)
    return torch.lerp(table[left], table[left + 1], place - left)


def _posterior(y: Tensor, points: Tensor, log_weights: Tensor, noise_var: float) -> Tensor:
    return (log_weights - (y[:, None] - points).square() / (2 * noise_var)).softmax(1) @ points

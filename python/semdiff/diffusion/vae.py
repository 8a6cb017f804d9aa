# SPDX-License-Identifier: Apache-2.0
"""The variational up-sampler's two operations: the reparameterised draw, and the same with sub-pixel up-sampling in one pass."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import check_tensor, to_count
from semdiff.rng import KeyLike, key_tensor


class GaussianSample(NamedTuple):
    """A draw and the Gaussian that it comes from, each (B, C, h*scale, w*scale)."""

    sample: Tensor
    mean: Tensor
    logvar: Tensor


def reparameterize(mu: Tensor, logvar: Tensor, key: KeyLike = None) -> Tensor:
    """mu + exp(logvar / 2) * n, n standard normal: differentiable in mu and logvar (Kingma and Welling, 2013).

    mu, logvar: the same shape and floating-point dtype. ValueError or TypeError otherwise.
    """
    check_tensor(mu, "mu")
    check_tensor(logvar, "logvar")
    return ops.reparameterize.default(mu, logvar, key_tensor(key))  # type: ignore[no-any-return]


def gaussian_upsample(features: Tensor, scale: int, key: KeyLike = None) -> GaussianSample:
    """Sub-pixel up-sampling, split into mean and log-variance, and the reparameterised draw, in one pass.

    features (B, 2*C*scale^2, h, w), floating-point. Equal to pixel_shuffle(features, scale) split in two along the channels, with the
    log-variance bounded softly, 10 * tanh(raw / 10), so that no network output makes exp overflow. ValueError if the channels do not fit.
    """
    check_tensor(features, "features")
    scale = to_count(scale, "scale", 1)
    if scale >= 1 << 31:
        raise ValueError(f"scale: expected a number whose square divides the channels, got {scale}")
    return GaussianSample(*ops.gaussian_upsample.default(features, scale, key_tensor(key)))

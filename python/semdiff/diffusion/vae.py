# SPDX-License-Identifier: Apache-2.0
"""The variational up-sampler's two operations: the reparameterised draw, and the same with sub-pixel up-sampling in one pass."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import check_tensor, to_count
from semdiff._util.named_tuples import shown_by_shape
from semdiff.rng import KeyLike, key_tensor


@shown_by_shape
class GaussianSample(NamedTuple):
    """Hold a draw and the Gaussian that it comes from, each (B, C, h * scale, w * scale).

    Attributes:
        sample: The draw, mean + exp(logvar / 2) n.
        mean: Of the Gaussian.
        logvar: The natural logarithm of its variance.

    Example:
        >>> import torch, semdiff
        >>> semdiff.gaussian_upsample(torch.zeros(2, 24, 4, 4), 2, semdiff.Key(0))
        GaussianSample(sample=float32 (2, 3, 8, 8), mean=float32 (2, 3, 8, 8), logvar=float32 (2, 3, 8, 8))
    """

    sample: Tensor
    mean: Tensor
    logvar: Tensor


def reparameterize(mu: Tensor, logvar: Tensor, key: KeyLike = None) -> Tensor:
    """Draw from N(mu, exp(logvar)) differentiably: mu + exp(logvar / 2) n, n standard normal (Kingma and Welling, 2013).

    Args:
        mu: The mean, any shape, floating-point.
        logvar: The logarithm of the variance, of mu's shape and dtype.
        key: Of n.

    Returns:
        The draw, of mu's shape and dtype. Differentiable in mu and logvar.

    Raises:
        TypeError: mu or logvar is no floating-point tensor, or their dtypes differ.
        ValueError: Their shapes or devices differ.

    Example:
        >>> import torch, semdiff
        >>> mu, logvar = torch.zeros(2, 3), torch.zeros(2, 3)
        >>> torch.equal(semdiff.reparameterize(mu, logvar, semdiff.Key(0)), semdiff.normal((2, 3), semdiff.Key(0)))
        True
    """
    check_tensor(mu, "mu")
    check_tensor(logvar, "logvar")
    return ops.reparameterize.default(mu, logvar, key_tensor(key))  # type: ignore[no-any-return]


def gaussian_upsample(features: Tensor, scale: int, key: KeyLike = None) -> GaussianSample:
    """Up-sample features into a Gaussian and draw from it, in one pass.

    Equal to pixel_shuffle(features, scale) (Shi et al., 2016) split in two along the channels, mean and log-variance, and `reparameterize`.
    The log-variance is bounded softly, 10 tanh(raw / 10), so that no network output makes exp overflow.

    Args:
        features: (B, 2 C scale^2, h, w), floating-point.
        scale: The factor of height and width, >= 1.
        key: Of the draw.

    Returns:
        `GaussianSample` (sample, mean, logvar), each (B, C, h * scale, w * scale) in the dtype of features. Differentiable.

    Raises:
        TypeError: features is no floating-point tensor, or scale no integer.
        ValueError: The channels do not fit, or scale is below 1.

    Example:
        >>> import torch, semdiff
        >>> semdiff.gaussian_upsample(torch.zeros(2, 24, 4, 4), 2, semdiff.Key(0)).mean.shape
        torch.Size([2, 3, 8, 8])
    """
    check_tensor(features, "features")
    scale = to_count(scale, "scale", 1)
    if scale >= 1 << 31:
        raise ValueError(f"scale: expected a number whose square divides the channels, got {scale}")
    return GaussianSample(*ops.gaussian_upsample.default(features, scale, key_tensor(key)))

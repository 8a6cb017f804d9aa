# SPDX-License-Identifier: Apache-2.0
"""The loss that trains the down- and up-sampler, its three terms and both gradients in one pass over the data."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import check_tensor, to_number, to_tensor
from semdiff._util.named_tuples import with_field_docs
from semdiff.rng import KeyLike, key_tensor


@with_field_docs
class UpsamplerLoss(NamedTuple):
    """Hold the loss and its terms: scalars, means over all elements. Only `total` carries a gradient; the terms are for reading.

    Attributes:
        total: reconstruction + lambda_prior * prior + lambda_match * match.
        reconstruction: The mean of (mu - x_t)^2.
        prior: KL(N(mu, e^logvar) || N(0, 1)).
        match: KL(N(sqrt(alpha_bar) z, 1 - alpha_bar) || N(mu, e^logvar)).

    Example:
        >>> import torch, semdiff
        >>> zeros = torch.zeros(2, 4)
        >>> semdiff.upsampler_loss(zeros, zeros, zeros, 0.5, key=semdiff.Key(0)).prior
        tensor(0.)
    """

    total: Tensor
    reconstruction: Tensor
    prior: Tensor
    match: Tensor


def upsampler_loss(
    mu: Tensor,
    logvar: Tensor,
    z: Tensor,
    alpha_bar: float | Tensor,
    lambda_prior: float = 0.0,
    lambda_match: float = 0.1,
    key: KeyLike = None,
) -> UpsamplerLoss:
    """Compute how far the up-sampler's N(mu, exp(logvar)) is from q(x_t | z) = N(sqrt(alpha_bar) z, 1 - alpha_bar).

    The terms (see `UpsamplerLoss`) are those of the official implementation of arXiv 2407.18468, whose weights are 0.1 and 0.1. A positive
    lambda_prior inflates the variance and shrinks the mean even where transmission is perfect (it contradicts `match` unless alpha_bar is
    0), so its default here is 0: then exp(logvar) is drawn to 1 - alpha_bar plus the error variance of mu.

    Args:
        mu: The mean, (B, ...), floating-point.
        logvar: The logarithm of the variance, of mu's shape and dtype; clamped to +-80 before it enters exponentials.
        z: The target, of mu's shape and dtype. It must not require a gradient.
        alpha_bar: A number or (B,), in (0, 1): 1 / (1 + noise_var) for a latent of unit variance that was received with that noise.
        lambda_prior: The weight of `prior`, >= 0.
        lambda_match: The weight of `match`, >= 0.
        key: Of x_t, which `reconstruction` draws from q(x_t | z).

    Returns:
        `UpsamplerLoss`: scalars of float64 for float64, else float32. total is differentiable in mu and logvar.

    Raises:
        TypeError: An argument of another type or dtype.
        ValueError: An argument of another shape or out of its range, an empty batch, or a z or alpha_bar that requires a gradient.

    Example:
        >>> import torch, semdiff
        >>> z = semdiff.normal((2, 4, 8, 8), semdiff.Key(0))
        >>> mu = (0.5**0.5 * z).requires_grad_()
        >>> loss = semdiff.upsampler_loss(mu, torch.full_like(z, 0.5).log(), z, alpha_bar=0.5, key=semdiff.Key(1))
        >>> loss.total.backward()
        >>> mu.grad.shape, round(float(loss.match), 6)
        (torch.Size([2, 4, 8, 8]), 0.0)
    """
    for name, value in (("mu", mu), ("logvar", logvar), ("z", z)):
        check_tensor(value, name)
    a = to_tensor(alpha_bar, "alpha_bar")
    lambda_prior, lambda_match = to_number(lambda_prior, "lambda_prior", "a number"), to_number(lambda_match, "lambda_match", "a number")
    for name, value in (("z", z), ("alpha_bar", a)):
        if value.requires_grad and torch.is_grad_enabled():
            raise ValueError(f"{name}: upsampler_loss has no gradient for it; expected a tensor that does not require one, detach it first")
    k = key_tensor(key)
    if torch.is_grad_enabled() and (mu.requires_grad or logvar.requires_grad):
        return UpsamplerLoss(*ops.upsampler_loss_with_gradients.default(mu, logvar, z, a, lambda_prior, lambda_match, k)[:4])
    return UpsamplerLoss(*ops.upsampler_loss.default(mu, logvar, z, a, lambda_prior, lambda_match, k))

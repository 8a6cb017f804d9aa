# SPDX-License-Identifier: Apache-2.0
"""The loss that trains the down- and up-sampler, its three terms and both gradients in one pass over the data."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import check_tensor, to_number, to_tensor
from semdiff.rng import KeyLike, key_tensor


class UpsamplerLoss(NamedTuple):
    """Scalars, means over all elements. Only `total` carries a gradient; the terms are for reading."""

    total: Tensor  # reconstruction + lambda_prior * prior + lambda_match * match
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
    """How far the up-sampler's N(mu, exp(logvar)) is from q(x_t | z) = N(sqrt(alpha_bar) z, 1 - alpha_bar).

    reconstruction  (mu - x_t)^2, x_t drawn from q(x_t | z) with key
    prior           KL(N(mu, e^logvar) || N(0, 1))
    match           KL(N(sqrt(alpha_bar) z, 1 - alpha_bar) || N(mu, e^logvar))

    The terms are those of the official implementation of arXiv 2407.18468, whose weights are 0.1 and 0.1. A positive lambda_prior
    inflates the variance and shrinks the mean even where transmission is perfect (it contradicts `match` unless alpha_bar is 0), so its
    default here is 0: then exp(logvar) is drawn to 1 - alpha_bar plus the error variance of mu.

    mu, logvar, z: one shape and floating-point dtype; z is a target and must not require a gradient. alpha_bar: () or (B,), in (0, 1).
    logvar enters exponentials clamped to +-80. ValueError or TypeError for anything else, and for an empty batch.
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

# SPDX-License-Identifier: Apache-2.0
"""Describe z, a mixture of K Gaussians with independent elements, given x = c z + sqrt(w) n.

For z of component k, N(m_k, v_k), Bayes' rule for Gaussians gives

    x ~ N(c m_k, c^2 v_k + w)      E[z | x, k] = m_k + v_k c (x - c m_k) / (c^2 v_k + w)      Var[z | x, k] = v_k w / (c^2 v_k + w)

and p(k | x) is the softmax of ln(weight_k) + ln N(x; c m_k, c^2 v_k + w). The channel is c = 1, w = noise_var; diffusion is
c = sqrt(alpha_bar), w = 1 - alpha_bar.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.rng import Key, normal


class Components(NamedTuple):
    """Hold what is known of z once x is: per component, all float64."""

    log_weights: Tensor  # (B, K), ln p(k | x)
    evidence: Tensor  # (B,), ln p(x)
    residual: Tensor  # (B, K, D), (x - c m_k) / (c^2 v_k + w)
    mean: Tensor  # (B, K, D), E[z | x, k]
    variance: Tensor  # (B, K, D), Var[z | x, k]


def condition(means: Tensor, variances: Tensor, weights: Tensor, x: Tensor, c: Tensor, w: Tensor) -> Components:
    """Apply the formulas at the top of this file. means, variances (K, D); weights (K,); x (B, D); c, w: (B, 1), (B, D) or ()."""
    c, w = (v.unsqueeze(1) if v.dim() else v for v in (c, w))
    spread = c * c * variances + w  # (B, K, D) or (1, K, D)
    difference = x.unsqueeze(1) - c * means
    residual = difference / spread
    # ln N summed over D, joined by logsumexp: no probability is ever formed that could underflow.
    joint = weights.log() - 0.5 * (difference * residual + spread.log() + math.log(2 * math.pi)).sum(-1)
    evidence = joint.logsumexp(-1)
    mean = means + variances * c * residual
    variance = (variances * w / spread).expand(mean.shape)
    return Components(joint - evidence.unsqueeze(-1), evidence, residual, mean, variance)


def mix(g: Components, values: Tensor) -> Tensor:
    """Return the mean over the components, weighted by p(k | x): (B, K, D) to (B, D)."""
    mixed: Tensor = g.log_weights.exp().unsqueeze(1) @ values
    return mixed.squeeze(1)


def choose(log_weights: Tensor, key: Key) -> Tensor:
    """Choose one component for each row, by inverting the distribution function at a uniform number, Phi(normal)."""
    uniform: Tensor = torch.special.ndtr(normal(log_weights.shape[:1], key, torch.float64))
    steps: Tensor = log_weights.exp().cumsum(-1)
    return (steps < uniform.unsqueeze(-1)).sum(-1).clamp_max(log_weights.shape[1] - 1)

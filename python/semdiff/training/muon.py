# SPDX-License-Identifier: Apache-2.0
"""Train matrices by orthogonalised steps (Muon, Jordan et al., 2024, https://kellerjordan.github.io/posts/muon/), all else by Adam.

torch.optim.Muon takes matrices alone and multiplies in bfloat16, which is slow on processors that do not compute with it. This one takes
every parameter of a stage, reads a convolution's kernel (out, in, h, w) as a matrix (out, in h w), and multiplies in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
SMALLEST_SIDE = 32  # of a matrix: what makes pixels or symbols, or has few inputs, is Adam's
ADAM_SHARE = 0.2  # root mean square of Adam's steps in parts of its learning rate (Liu et al., arXiv 2502.16982, section 2.2)
# Newton-Schulz iteration X <- a X + (b A + c A^2) X with A = X X^T. Five take singular values from 0.01 to 1 to between 0.65 and 1.25.
NEWTON_SCHULZ, ITERATIONS = (3.4445, -4.7750, 2.0315), 5


def orthogonalized(matrix: Tensor) -> Tensor:
    """Compute a matrix of the same singular vectors whose singular values are about 1.

    Args:
        matrix: (m, n).
    """
    a, b, c = NEWTON_SCHULZ
    x: Tensor = matrix / (torch.linalg.matrix_norm(matrix) + 1e-7)
    high = x.shape[0] > x.shape[1]
    x = x.T if high else x
    # Each iteration multiplies X by a polynomial of A from the left, so all of them are one small square matrix, and X is multiplied once.
    gram = x @ x.T
    product = one = torch.eye(len(gram), dtype=x.dtype, device=x.device)
    for _ in range(ITERATIONS):
        factor = torch.addmm(b * gram + a * one, gram, gram, alpha=c)
        product, gram = factor @ product, factor @ gram @ factor
    x = product @ x
    return x.T if high else x


def is_matrix(parameter: Tensor) -> bool:
    """Tell whether Muon trains a parameter."""
    return parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= SMALLEST_SIDE


class Muon(torch.optim.Adam):
    """Optimise matrices by Muon and the other parameters by Adam, at one learning rate.

    Args:
        parameters: to train.
        lr: of Adam. A step of Muon has the root mean square that Adam's has at this rate.
        betas: of Adam.

    Example:
        >>> import torch
        >>> from semdiff.training.muon import Muon
        >>> layer = torch.nn.Linear(64, 32)
        >>> optimizer = Muon(layer.parameters(), lr=1e-3)
        >>> layer(torch.ones(1, 64)).sum().backward()
        >>> optimizer.step()
    """

    def __init__(self, parameters: Iterable[Tensor], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        super().__init__(parameters, lr=lr, betas=betas, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step.

        Args:
            closure: see `torch.optim.Optimizer.step`.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        matrices = [(p, group["lr"]) for group in self.param_groups for p in group["params"] if p.grad is not None and is_matrix(p)]
        gradients = [p.grad for p, _ in matrices]
        for (parameter, rate), gradient in zip(matrices, gradients, strict=True):
            state = self.state[parameter]
            if not state:
                state["step"], state["momentum"] = torch.zeros(()), torch.zeros_like(parameter)
            state["step"] += 1
            momentum = state["momentum"].lerp_(gradient, 1 - MOMENTUM)
            step = orthogonalized(torch.lerp(gradient, momentum, MOMENTUM).flatten(1))
            parameter.sub_(step.view(parameter.shape), alpha=rate * ADAM_SHARE * math.sqrt(max(step.shape)))
            parameter.grad = None  # Adam passes over it
        super().step()
        for (parameter, _), gradient in zip(matrices, gradients, strict=True):
            parameter.grad = gradient
        return loss

# SPDX-License-Identifier: Apache-2.0
"""Complex arithmetic made of real operations.

torch's own complex product rounds differently in a vector unit and beside it, so that an element's last bit depends on its place, and a
sample's on the batch it is in. These do not.
"""

from __future__ import annotations

import torch
from torch import Tensor


def times(a: Tensor, b: Tensor) -> Tensor:
    """Return a b."""
    return torch.complex(a.real * b.real - a.imag * b.imag, a.real * b.imag + a.imag * b.real)


def power(x: Tensor) -> Tensor:
    """Return |x|^2."""
    return x.real.square() + x.imag.square()


def product(a: Tensor, b: Tensor) -> Tensor:
    """Multiply a (..., m, k) by b (..., k, n) for a small k: a sum of k outer products."""
    out = times(a[..., :, :1], b[..., :1, :])
    for j in range(1, a.shape[-1]):
        out = out + times(a[..., :, j : j + 1], b[..., j : j + 1, :])
    return out

# SPDX-License-Identifier: Apache-2.0
"""From complex symbols to the real elements that they carry, two each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from semdiff._util.arguments import REAL, check_tensor, to_shape


def unpack_per_symbol(values: Tensor, shape: Sequence[int]) -> Tensor:
    """Repeat what is known of each symbol for the real elements that `unpack(s, shape)` makes of them.

    An `Equalized`'s noise_var and gain become those of a latent's elements. (`match` of an `Equalized` does all of this.)

    Args:
        values: Real, (B, uses), or (B, 1) for one number a sample; B may be 1 there.
        shape: That of the latent, (B, ...).

    Returns:
        values for each element, in `shape`; (B, 1, ...) where there is one number a sample. The dtype is that of values.

    Raises:
        TypeError: values is not a tensor, or shape holds other things than integers.
        ValueError: The counts do not fit, or values are complex.

    Example:
        >>> import torch, semdiff
        >>> semdiff.unpack_per_symbol(torch.tensor([[0.1, 0.2]]), (1, 2, 2)).flatten()
        tensor([0.1000, 0.1000, 0.2000, 0.2000])
    """
    check_tensor(values, "values")
    shape = to_shape(shape, "shape")
    if not shape or any(n < 0 for n in shape):
        raise ValueError(f"shape: expected (B, ...) of numbers >= 0, got {tuple(shape)}")
    if values.is_complex() or (values.is_floating_point() and values.dtype not in REAL) or values.dim() != 2:
        raise ValueError(f"values: expected real numbers of shape (B, uses), got {values.dtype} of shape {tuple(values.shape)}")
    batch, count = shape[0], math.prod(shape[1:])
    uses = (count + 1) // 2
    if values.shape[0] not in (1, batch) or values.shape[1] not in (1, uses):
        raise ValueError(f"values: expected shape ({batch}, {uses}) or ({batch}, 1) for {tuple(shape)}, got {tuple(values.shape)}")
    values = values.expand(batch, -1)
    if values.shape[1] != uses:
        return values.reshape(batch, *(1,) * (len(shape) - 1))
    return values.repeat_interleave(2, 1)[:, :count].reshape(tuple(shape))

# SPDX-License-Identifier: Apache-2.0
"""Compute what no code exceeds: Shannon's capacity, and the distortion of a Gaussian source sent at it (OPTA)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semdiff._util.arguments import to_tensor


def capacity_bits(uses: int, snr_db: float | Tensor, h: Tensor | None = None) -> Tensor:
    """Compute Shannon's capacity of complex channel uses in bits: uses * log2(1 + snr) (Shannon, 1948). There is no factor 1/2.

    Args:
        uses: complex channel uses.
        snr_db: signal-to-noise ratio in dB, a number or a tensor; with h a number or (B,).
        h: complex gains (B, uses) or (B, 1), known to both ends. The capacity is then the sum of log2(1 + |h|^2 snr) over the uses.

    Returns:
        float64 of snr_db's shape, with h (B,).

    Raises:
        TypeError, ValueError: naming the argument.

    Example:
        >>> from semdiff.baselines import capacity_bits
        >>> capacity_bits(64, 10.0)
        tensor(221.4036, dtype=torch.float64)
    """
    if isinstance(uses, bool) or not isinstance(uses, int):
        raise TypeError(f"uses: expected an integer, got {type(uses).__name__}")
    if uses < 0:
        raise ValueError(f"uses: expected an integer >= 0, got {uses}")
    if isinstance(snr_db, Tensor) and not snr_db.is_floating_point():
        raise TypeError(f"snr_db: expected a number or a floating-point tensor, got {snr_db.dtype}")
    decibels = to_tensor(snr_db, "snr_db").double()
    if not bool(decibels.isfinite().all()):
        raise ValueError(f"snr_db: expected finite numbers, got {decibels.tolist()}")
    snr = 10 ** (decibels / 10)
    if h is None:
        return uses * torch.log1p(snr) / math.log(2)
    if h.dim() != 2 or h.shape[1] not in (1, uses):
        raise ValueError(f"h: expected shape (B, {uses}) or (B, 1), got {tuple(h.shape)}")
    if snr.dim() and snr.shape != h.shape[:1]:
        raise ValueError(f"snr_db: expected a number or shape ({h.shape[0]},), as h has, got {tuple(snr.shape)}")
    return (torch.log1p(h.abs().square().double() * snr.to(h.device).reshape(-1, 1)) / math.log(2)).expand(-1, uses).sum(1)


def opta_psnr_db(uses: int, snr_db: float | Tensor, values: int, variance: float) -> Tensor:
    """Compute the best PSNR (peak 1) of independent Gaussian numbers sent over complex channel uses.

    Rate distortion D = variance * 2^(-2 R), with R = capacity / values bits a number, gives D = variance * (1 + snr)^(-2 uses / values)
    (Cover and Thomas, Elements of Information Theory, theorems 10.3.2 and 10.4.1). Pixels are neither independent nor Gaussian: with their
    variance this is the PSNR of a code that knows nothing else about images, and one that knows more may exceed it.

    Args:
        uses: complex channel uses.
        snr_db: signal-to-noise ratio in dB.
        values: how many real numbers are sent.
        variance: of the numbers.

    Returns:
        PSNR in dB, float64 of snr_db's shape.

    Raises:
        TypeError, ValueError: naming the argument.

    Example:
        >>> from semdiff.baselines import opta_psnr_db
        >>> opta_psnr_db(64, 10.0, values=784, variance=0.125)
        tensor(10.7311, dtype=torch.float64)
    """
    if values < 1:
        raise ValueError(f"values: expected at least 1, got {values}")
    if not variance > 0:
        raise ValueError(f"variance: expected a number above zero, got {variance}")
    bits_per_value = capacity_bits(uses, snr_db) / values
    return -10 * math.log10(variance) + 20 * math.log10(2) * bits_per_value

# SPDX-License-Identifier: Apache-2.0
"""What no code exceeds: Shannon's capacity, and the distortion of a Gaussian source that is sent at it (OPTA)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semdiff._util.arguments import to_tensor


def capacity_bits(uses: int, snr_db: float | Tensor, h: Tensor | None = None) -> Tensor:
    """uses * log2(1 + snr) bits for complex channel uses, float64 of snr_db's shape (Shannon, 1948). There is no factor 1/2.

    h: complex gains (B, uses) or (B, 1), known to both ends: the sum of log2(1 + |h|^2 snr) over the
    uses, shape (B,). snr_db is then a number or (B,).
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
    """The best PSNR (peak 1) of `values` independent real Gaussian numbers of this variance over `uses` complex uses.

    Rate distortion D = variance * 2^(-2 R), with R = capacity / values bits a number, gives D = variance * (1 + snr)^(-2 uses / values)
    (Cover and Thomas, Elements of Information Theory, theorems 10.3.2 and 10.4.1). Pixels are neither independent nor Gaussian: with their
    variance this is what a code gets that knows nothing else about pictures, and one that knows more may exceed it.
    """
    if values < 1:
        raise ValueError(f"values: expected at least 1, got {values}")
    if not variance > 0:
        raise ValueError(f"variance: expected a number above zero, got {variance}")
    rate = capacity_bits(uses, snr_db) / values
    return -10 * math.log10(variance) + 20 * math.log10(2) * rate

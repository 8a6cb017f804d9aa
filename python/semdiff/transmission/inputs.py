# SPDX-License-Identifier: Apache-2.0
"""Checks of what users hand to a link: every message names the argument, what was expected, and what came."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semdiff._util.arguments import fits
from semdiff.transmission.layout import Layout
from semdiff.transmission.warnings import warn_of_rate


def check_images(images: Tensor, shape: tuple[int, int | None, int | None]) -> None:
    """images: floating-point (B, *shape) in [0, 1], B >= 1, where None is any number above 0. TypeError or ValueError otherwise."""
    named = (n or letter for n, letter in zip(shape, "CHW", strict=True))
    wanted = f"a float tensor of shape (B, {', '.join(map(str, named))}) in [0, 1]"
    if not isinstance(images, Tensor):
        raise TypeError(f"images: expected {wanted}, got {type(images).__name__}")
    if not images.is_floating_point():
        hint = "; images.float() / 255 makes one of bytes" if images.dtype == torch.uint8 else ""
        raise TypeError(f"images: expected {wanted}, got {images.dtype}{hint}")
    if images.dim() != 4 or not fits(images.shape[1:], shape):
        raise ValueError(f"images: expected {wanted}, which is what this model was trained on, got shape {tuple(images.shape)}")
    if images.shape[0] == 0:
        raise ValueError(f"images: expected {wanted} with B >= 1, got an empty batch")
    low, high = images.aminmax()
    if not (bool(low >= 0) and bool(high <= 1)):  # also false for NaN
        raise ValueError(f"images: expected values in [0, 1], got values from {low.item():.4g} to {high.item():.4g}")


def check_share(value: float, name: str) -> float:
    """A number in [0, 1]."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: expected a number in [0, 1], got {type(value).__name__}") from None
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1], got {number}")
    return number


def check_gains(h: Tensor, symbols: Tensor) -> Tensor:
    """Gains for symbols (B, uses) as they are multiplied: finite, (B,) as (B, 1), the rest broadcastable. TypeError or ValueError else."""
    if not isinstance(h, Tensor):
        raise TypeError(f"h: expected a tensor, got {type(h).__name__}")
    gains = h[:, None] if h.dim() == 1 else h
    if gains.dim() > 2 or any(n not in (1, m) for n, m in zip(reversed(gains.shape), reversed(symbols.shape), strict=False)):
        wanted = f"shape ({symbols.shape[0]},) or one that broadcasts to the symbols' {tuple(symbols.shape)}"
        raise ValueError(f"h: expected {wanted}, got {tuple(h.shape)}")
    if not bool(gains.isfinite().all()):
        raise ValueError("h: expected finite numbers, got NaN or infinity")
    return gains.to(symbols)


def per_sample(value: float | Tensor, name: str, batch: int, positive: bool = False) -> Tensor:
    """A number or a tensor () or (B,) as float64 (B,) on the CPU; finite, and above zero where `positive`."""
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            raise TypeError(f"{name}: expected a number or a floating-point tensor, got {value.dtype}")
        if value.shape not in ((), (batch,)):
            raise ValueError(f"{name}: expected a number or shape ({batch},), got shape {tuple(value.shape)}")
        numbers = value.detach().double().cpu().expand(batch)
    else:
        try:
            numbers = torch.full((batch,), float(value), dtype=torch.float64, device="cpu")
        except (TypeError, ValueError):
            raise TypeError(f"{name}: expected a number or a floating-point tensor, got {type(value).__name__}") from None
    if not bool(numbers.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers, got {numbers.tolist()}")
    if positive and not bool((numbers > 0).all()):
        raise ValueError(f"{name}: expected numbers above zero, got {numbers.tolist()}")
    return numbers


def choose_rate(cbr: float | None, layout: Layout) -> int:
    """The symbol channels whose ratio is within 5 % of `cbr`: of the rates that were trained, else of what lies between them, with a
    UserWarning. None is the most there are."""
    if cbr is None:
        return max(layout.rates)
    try:
        wanted = float(cbr)
    except (TypeError, ValueError):
        raise TypeError(f"cbr: expected a number or None, got {type(cbr).__name__}") from None
    offers = ", ".join(f"{ratio:.4f} (1/{1 / ratio:.1f})" for ratio in layout.cbrs.values())
    if not (math.isfinite(wanted) and wanted > 0):
        raise ValueError(f"cbr: expected a ratio that this model offers ({offers}), got {wanted}")
    for counts in (layout.rates, layout.counts):
        channels = min(counts, key=lambda c: abs(math.log(layout.cbr(c) / wanted)))
        if abs(layout.cbr(channels) / wanted - 1) <= 0.05:
            if channels not in layout.rates:
                warn_of_rate(layout.cbr(channels), list(layout.cbrs.values()))
            return channels
    raise ValueError(f"cbr: expected a ratio within 5 % of one that this model offers ({offers}), got {wanted:.4g}")

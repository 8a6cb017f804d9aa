# SPDX-License-Identifier: Apache-2.0
"""What users hand in, as numbers and tensors: every message names the argument, what was expected, and what came."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def to_tensor(value: float | Tensor, name: str) -> Tensor:
    """Numbers as a float64 tensor, floating-point tensors as they are. TypeError for anything else."""
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            raise TypeError(f"{name}: expected a floating-point tensor or a number, got {value.dtype}")
        return value
    return torch.tensor(to_number(value, name), dtype=torch.float64, device="cpu")


def to_times(t: float | Tensor, name: str) -> Tensor:
    """Times as a floating-point tensor without a gradient; integer tensors are exact table indices."""
    if isinstance(t, Tensor) and t.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8):
        t = t.to(torch.float64)
    return to_tensor(t, name).detach()


def to_number(value: Any, name: str, wanted: str = "a number or a floating-point tensor") -> float:
    """What float() takes, except text and truth values. TypeError for anything else."""
    if not isinstance(value, (str, bytes, bytearray, bool)):
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")


def to_finite(value: Any, name: str, least: float = -math.inf) -> float:
    """A finite number, at least `least`. TypeError or ValueError for anything else."""
    number = to_number(value, name, "a number")
    if not (math.isfinite(number) and number >= least):
        raise ValueError(f"{name}: expected a finite number{'' if least == -math.inf else f' >= {least:g}'}, got {value}")
    return number


def to_count(value: Any, name: str, least: int | None = None) -> int:
    """An integer, at least `least`. TypeError or ValueError for anything else."""
    try:
        count = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        count = None
    if count is None:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}")
    if least is not None and count < least:
        raise ValueError(f"{name}: expected at least {least}, got {count}")
    return count


def fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether a shape is the wanted one, where None is any number above 0."""
    return len(shape) == len(wanted) and all(n > 0 if m is None else n == m for n, m in zip(shape, wanted, strict=True))


def to_coherence(value: Any, unit: str, names: tuple[str, ...] = ("block", "fast")) -> str | int:
    """For how long one draw of a channel lasts: one of `names`, or a number of `unit`, at least 1. TypeError or ValueError otherwise."""
    if not isinstance(value, str):
        return to_count(value, "coherence", 1)
    if value not in names:
        raise ValueError(f"coherence: expected {', '.join(names)} or a number of {unit}, got {value!r}")
    return value

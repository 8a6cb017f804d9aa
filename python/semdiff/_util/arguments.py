# SPDX-License-Identifier: Apache-2.0
"""What users hand in, as numbers and tensors: every message names the argument, what was expected, and what came."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

REAL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)  # what the operators compute with: torch has narrower types
PREDICTIONS = ("eps", "x0", "v")


def as_tensor(value: Any) -> Any:
    """Return a copy of a NumPy array of numbers as a tensor; anything else as it is."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        return torch.from_numpy(np.array(value, value.dtype.newbyteorder("="), order="C"))
    return value


def check_tensor(value: Any, name: str) -> None:
    """TypeError unless it is a tensor."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(value).__name__}")


def check_beside(value: Tensor, name: str, x: Tensor, x_name: str) -> None:
    """ValueError for a tensor on meta, which has no values, where x has some."""
    if value.is_meta and not x.is_meta:
        raise ValueError(f"{name}: expected a tensor with values beside {x_name} on {x.device}, got one on meta")


def check_prediction(prediction: Any) -> None:
    """ValueError unless it is the name of what a denoiser predicts."""
    if prediction not in PREDICTIONS:
        raise ValueError(f"prediction: expected eps, x0 or v, got {prediction!r}")


def to_tensor(value: float | Tensor, name: str) -> Tensor:
    """Return numbers as a float64 tensor, floating-point tensors as they are. TypeError for anything else."""
    if isinstance(value, Tensor):
        if value.dtype not in REAL:
            raise TypeError(f"{name}: expected a floating-point tensor or a number, got {value.dtype}")
        return value
    return torch.tensor(to_number(value, name), dtype=torch.float64, device="cpu")


def to_times(t: float | Tensor, name: str) -> Tensor:
    """Return times as a floating-point tensor without a gradient; integer tensors are exact table indices."""
    if isinstance(t, Tensor) and t.dtype in (torch.int64, torch.int32, torch.int16, torch.uint8):
        t = t.to(torch.float64)
    times = to_tensor(t, name)
    return times.detach() if times.requires_grad else times  # a detached one costs a third of a small step


def to_number(value: Any, name: str, wanted: str = "a number or a floating-point tensor") -> float:
    """Return what float() makes of all that it takes, except text and truth values. TypeError for anything else."""
    if not isinstance(value, (str, bytes, bytearray, bool)):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    raise TypeError(f"{name}: expected {wanted}, got {type(value).__name__}")


def to_finite(value: Any, name: str, least: float = -math.inf) -> float:
    """Return a finite number, at least `least`. TypeError or ValueError for anything else."""
    number = to_number(value, name, "a number")
    if not (math.isfinite(number) and number >= least):
        raise ValueError(f"{name}: expected a finite number{'' if least == -math.inf else f' >= {least:g}'}, got {value}")
    return number


def to_count(value: Any, name: str, least: int | None = None, most: int | None = None) -> int:
    """Return an integer, at least `least` and at most `most`. TypeError or ValueError for anything else."""
    try:
        count = None if isinstance(value, bool) else operator.index(value)
    except (TypeError, ValueError):  # an array of several numbers
        count = None
    if count is None:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}")
    if least is not None and count < least:
        raise ValueError(f"{name}: expected at least {least}, got {count}")
    if most is not None and count > most:
        raise ValueError(f"{name}: expected at most {most}, got {count}")
    return count


def to_shape(value: Any, name: str) -> list[int]:
    """Return a shape: integers of 64 bits. TypeError or ValueError for anything else. (SymInts of torch.compile pass.)"""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{name}: expected a sequence of integers, got {type(value).__name__}")
    shape = list(value)
    for n in shape:
        if isinstance(n, torch.SymInt):
            continue
        if to_count(n, name) >= 1 << 63 or n < -(1 << 63):
            raise ValueError(f"{name}: expected integers of 64 bits, got {shape}")
    return shape


def fits(shape: Sequence[int], wanted: Sequence[int | None]) -> bool:
    """Whether a shape is the wanted one, where None is any number above 0."""
    return len(shape) == len(wanted) and all(n > 0 if m is None else n == m for n, m in zip(shape, wanted, strict=True))


def to_coherence(value: Any, unit: str, names: tuple[str, ...] = ("block", "fast")) -> str | int:
    """Return for how long one draw of a channel lasts: one of `names`, or a number of `unit`, at least 1.

    TypeError or ValueError for anything else.
    """
    if not isinstance(value, str):
        return to_count(value, "coherence", 1)
    if value not in names:
        raise ValueError(f"coherence: expected {', '.join(names)} or a number of {unit}, got {value!r}")
    return value

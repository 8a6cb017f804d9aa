# SPDX-License-Identifier: Apache-2.0
"""Wrong values for an argument, one of each kind that there is for the type of a right one. test_mutations.py hands them to everything."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from semdiff import Key

HUGE = 2**62


def mutants(value: Any) -> Iterator[tuple[str, Any]]:
    """(kind, value) for an argument whose right value is `value`. A keyed tensor (uint64) has no NaN."""
    if isinstance(value, Tensor):
        yield from _tensors(value)
    elif isinstance(value, np.ndarray):
        yield from ((kind, m.numpy()) for kind, m in _tensors(torch.from_numpy(value), numpy=True) if isinstance(m, Tensor))
        yield from (("type", None), ("type", "nonsense"))
    elif isinstance(value, bool):
        yield "type", "yes"
    elif isinstance(value, int):
        yield from (("huge", HUGE), ("huge", -HUGE), ("type", "7"), ("type", 2.5), ("type", None))
    elif isinstance(value, float):
        yield from (("nan", math.nan), ("infinite", math.inf), ("infinite", -math.inf), ("type", "7"), ("type", [1.0]))
    elif isinstance(value, str):
        yield from (("text", "nonsense"), ("type", 7))
    elif isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        yield from (("huge", [*value[:-1], HUGE]), ("huge", [HUGE, HUGE]), ("huge", [*value[:-1], -1]), ("type", 7), ("type", ["a"]))
    elif isinstance(value, Key):  # an integer is a seed
        yield from (("type", None), ("type", "nonsense"), ("type", 2.5), ("type", True))
    elif value is not None:
        yield from (("type", None), ("type", "nonsense"), ("type", 7))


def _tensors(x: Tensor, numpy: bool = False) -> Iterator[tuple[str, Any]]:
    yield "shape", x.new_ones((7, 5, 3, 2, 2))
    yield "rank", x.new_ones(())
    yield "rank", x.new_ones((1,) * 9)
    yield "empty", x.new_ones((0, *x.shape[1:])) if x.dim() else x.new_ones((0,))
    yield "dtype", torch.ones(x.shape, dtype=torch.int32)
    yield "dtype", torch.ones(x.shape, dtype=torch.bool)
    if not numpy:
        yield from (("device", x.to("meta")), ("type", None), ("type", "nonsense"))
    if x.is_floating_point() or x.is_complex():
        yield "nan", torch.full_like(x, math.nan)
        yield "infinite", torch.full_like(x, math.inf)
        yield "negative", -torch.ones_like(x)
        yield "dtype", torch.ones(x.shape, dtype=torch.float64 if x.is_complex() else torch.complex64)
        if not numpy:
            yield "dtype", torch.ones(x.shape).to(torch.float8_e5m2)

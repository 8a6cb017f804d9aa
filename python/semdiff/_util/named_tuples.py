# SPDX-License-Identifier: Apache-2.0
"""Named tuples that are told by their fields' documentation and shown by shapes."""

from __future__ import annotations

import inspect
import re
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

T = TypeVar("T")


def with_field_docs(cls: type[T]) -> type[T]:
    """Give each field of a named tuple, as its own documentation, what the class says of it under "Attributes:"."""
    section = re.search(r"^Attributes:\n(.*?)(?:\n\S|\Z)", inspect.cleandoc(cls.__doc__ or ""), re.M | re.S)
    for name, text in re.findall(r"^    (\w+): (.*?)(?=\n    \w+: |\Z)", section[1] if section else "", re.M | re.S):
        getattr(cls, name).__doc__ = " ".join(text.split())
    return cls


def shown_by_shape(cls: type[T]) -> type[T]:
    """Let a named tuple's text say the dtype, shape and device of its tensors in place of their values; with `with_field_docs`."""
    cls.__repr__ = _repr  # type: ignore[method-assign]
    return with_field_docs(cls)


def _repr(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={describe(value)}' for name, value in zip(self._fields, self, strict=True))})"


def describe(value: Any) -> str:
    """Return the dtype, shape and device (if not the CPU) of a tensor or an array, and the repr of anything else."""
    if isinstance(value, Tensor):
        device = "" if value.device.type == "cpu" else f" on {value.device}"
        return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}{device}"
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else repr(value)

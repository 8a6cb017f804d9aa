# SPDX-License-Identifier: Apache-2.0
"""Explicit random keys. The same key gives the same numbers on any machine, for any number of threads.

Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller: element i of a draw uses counter offset + i // 4, lane i % 4, so a shorter draw is
the beginning of a longer one.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import check_tensor, to_count, to_shape


class Key:
    """A random key: Key(seed), seed an integer in [0, 2**64).

    Functions that take a key give the same result for the same key: use one key for one purpose, and `split` or `fold_in` for more.
    """

    __slots__ = ("tensor",)

    tensor: Tensor  # (seed, offset), uint64, shape (2,), on the CPU

    def __init__(self, seed: int) -> None:
        try:
            seed = operator.index(seed)
        except TypeError:
            raise TypeError(f"seed: expected an integer, got {type(seed).__name__}") from None
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed: expected an integer in [0, 2**64), got {seed}")
        self.tensor = torch.tensor([seed, 0], dtype=torch.uint64, device="cpu")

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> Key:
        """The key that a uint64 tensor (seed, offset) of shape (2,) holds."""
        check_tensor(tensor, "tensor")
        if tensor.dtype != torch.uint64 or tensor.shape != (2,):
            raise ValueError(f"tensor: expected uint64 of shape (2,), got {tensor.dtype} of shape {tuple(tensor.shape)}")
        if tensor.device.type != "cpu":
            raise ValueError(f"tensor: expected one on the CPU (it is read on the host), got one on {tensor.device}")
        key = cls.__new__(cls)
        key.tensor = tensor
        return key

    def split(self, n: int = 2) -> list[Key]:
        """n independent keys. ValueError unless 1 <= n <= 2**24."""
        return [Key.from_tensor(row) for row in ops.key_split.default(self.tensor, to_count(n, "n", most=2**24)).unbind()]

    def fold_in(self, index: int) -> Key:
        """The child number `index` >= 0, for loops: key.fold_in(step)."""
        return Key.from_tensor(ops.key_fold_in.default(self.tensor, to_count(index, "index", most=2**63 - 1)))

    def __reduce__(self) -> tuple[Callable[[int, int], Key], tuple[int, int]]:
        # By its numbers: torch has no typed storage for uint64, which its tensors are pickled by.
        seed, offset = self.tensor.tolist()
        return _key_of, (seed, offset)

    def __repr__(self) -> str:
        seed, offset = self.tensor.tolist()
        return f"Key({seed})" if offset == 0 else f"Key.from_tensor(({seed}, {offset}))"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and bool(torch.equal(self.tensor, other.tensor))

    def __hash__(self) -> int:
        return hash(tuple(self.tensor.tolist()))


def _key_of(seed: int, offset: int) -> Key:
    return Key.from_tensor(torch.tensor([seed, offset], dtype=torch.uint64, device="cpu"))


KeyLike: TypeAlias = Key | Tensor | None


def key_tensor(key: KeyLike) -> Tensor:
    """The tensor that the operators take. None draws a fresh seed from torch's global generator, so torch.manual_seed governs it."""
    if isinstance(key, Key):
        return key.tensor
    if isinstance(key, Tensor):
        return key
    if key is not None:
        raise TypeError(f"key: expected a Key, a uint64 tensor of shape (2,) or None, got {type(key).__name__}")
    seed = torch.randint(0, 2**63 - 1, (1,), dtype=torch.int64, device="cpu")  # whatever the default device is
    return torch.cat([seed, torch.zeros_like(seed)]).view(torch.uint64)


def normal(size: Sequence[int], key: KeyLike = None, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
    """Standard normal numbers of the given size.

    float64 numbers are the float32 ones at more digits; float16 and bfloat16 are rounded float32. |n| is at most 6.76 (32-bit uniforms).
    TypeError for another dtype.
    """
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype: expected a floating-point type, got {type(dtype).__name__}")
    return ops.normal.default(to_shape(size, "size"), key_tensor(key), dtype, _device(device))  # type: ignore[no-any-return]


def _device(device: torch.device | str) -> torch.device:
    try:
        return torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(f"device: expected one of torch's devices, such as cpu or cuda, got {device!r}") from None


def complex_normal(
    size: Sequence[int], key: KeyLike = None, dtype: torch.dtype = torch.complex64, device: torch.device | str = "cpu"
) -> Tensor:
    """Circularly symmetric complex normal numbers of unit power, CN(0, 1): element i is of elements 2i and 2i + 1 of `normal`."""
    real = torch.float64 if dtype == torch.complex128 else torch.float32  # torch.compile does not know to_real()
    return torch.view_as_complex(normal((*size, 2), key, real, device) * math.sqrt(0.5))

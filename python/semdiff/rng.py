# SPDX-License-Identifier: Apache-2.0
"""Explicit random keys. The same key gives the same numbers on any machine, for any number of threads.

Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller: element i of a draw uses counter offset + i // 4, lane i % 4, so a shorter draw is
the beginning of a longer one.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import check_tensor, to_count, to_shape


class Key:
    """Name one draw of random numbers: the same key gives the same numbers.

    `Key.stream_version` numbers what keys mean, their draws and their children: it changes where any of them does.

    Use one key for one purpose, and `split` or `fold_in` to make more. Keys are values: they compare, hash, print and pickle by their two
    numbers. An integer seed and a `torch.Generator` are accepted wherever a key is (`Key.of` says how).

    Args:
        seed: An integer in [0, 2**64).
        offset: An integer in [0, 2**64), 0 for a key of one's own: the keys that `split` and `fold_in` make have others.

    Raises:
        TypeError: seed or offset is not an integer.
        ValueError: seed or offset is out of range.

    Example:
        >>> key = Key(7)
        >>> noise_key, channel_key = key.split()
        >>> noise_key == channel_key, key.fold_in(3) == Key(7).fold_in(3)
        (False, True)
        >>> key
        Key(7)
    """

    __slots__ = ("tensor",)

    stream_version: ClassVar[int] = 1
    tensor: Tensor  # (seed, offset), uint64, shape (2,), on the CPU

    def __init__(self, seed: int, offset: int = 0) -> None:
        self.tensor = torch.tensor([_word(seed, "seed"), _word(offset, "offset")], dtype=torch.uint64, device="cpu")

    @classmethod
    def of(cls, key: KeyLike) -> Key:
        """Return the key that an argument `key` means, for functions that use it more than once.

        Args:
            key: A `Key` (returned as it is), an integer seed n, which is Key(n), a uint64 tensor of shape (2,), a `torch.Generator`, or
                None. A generator gives a key of 63 fresh random bits, so its state advances by one number with every call. None takes
                those bits from torch's global generator, so `torch.manual_seed` governs them. A generator on an accelerator is read on
                the host, which waits for it.

        Returns:
            The key.

        Raises:
            TypeError: key is something else.
            ValueError: key is a tensor of another dtype, shape or device, or an integer outside [0, 2**64).

        Example:
            >>> import torch
            >>> generator = torch.Generator().manual_seed(1)
            >>> Key.of(generator) == Key.of(generator), Key.of(Key(3)), Key.of(3)
            (False, Key(3), Key(3))
        """
        return key if isinstance(key, cls) else cls._wrap(key_tensor(key), "key")

    @classmethod
    def from_tensor(cls, tensor: Tensor) -> Key:
        """Wrap a tensor that holds a key, without a copy.

        Args:
            tensor: (seed, offset), uint64, shape (2,), on the CPU.

        Returns:
            The key.

        Raises:
            TypeError: tensor is not a tensor.
            ValueError: tensor has another dtype, shape or device.

        Example:
            >>> Key.from_tensor(Key(3).tensor)
            Key(3)
        """
        return cls._wrap(tensor, "tensor")

    @classmethod
    def _wrap(cls, tensor: Tensor, name: str) -> Key:
        check_tensor(tensor, name)
        if tensor.dtype != torch.uint64 or tensor.shape != (2,):
            raise ValueError(f"{name}: expected uint64 of shape (2,), got {tensor.dtype} of shape {tuple(tensor.shape)}")
        if tensor.device.type != "cpu":
            raise ValueError(f"{name}: expected one on the CPU (it is read on the host), got one on {tensor.device}")
        key = cls.__new__(cls)
        key.tensor = tensor
        return key

    def split(self, n: int = 2) -> list[Key]:
        """Make independent keys.

        Args:
            n: How many, 1 to 2^24.

        Returns:
            The keys; the first of them are those of a smaller n.

        Raises:
            TypeError: n is no integer.
            ValueError: n is out of range.

        Example:
            >>> first, second = Key(1).split()
            >>> first == Key(1).split(3)[0], first == second
            (True, False)
        """
        return [Key.from_tensor(row) for row in ops.key_split.default(self.tensor, to_count(n, "n", most=2**24)).unbind()]

    def fold_in(self, index: int) -> Key:
        """Make one child key by its number, for loops and for purposes that have numbers.

        Args:
            index: An integer in [0, 2^63).

        Returns:
            The child, independent of this key, of its other children and of `split`'s.

        Raises:
            TypeError: index is no integer.
            ValueError: index is out of range.

        Example:
            >>> Key(1).fold_in(5) == Key(1).fold_in(5), Key(1).fold_in(5) == Key(1).fold_in(6)
            (True, False)
        """
        return Key.from_tensor(ops.key_fold_in.default(self.tensor, to_count(index, "index", most=2**63 - 1)))

    def __reduce__(self) -> tuple[type[Key], tuple[int, int]]:
        # By its numbers: torch has no typed storage for uint64, which its tensors are pickled by.
        seed, offset = self.tensor.tolist()
        return Key, (seed, offset)

    def __repr__(self) -> str:
        seed, offset = self.tensor.tolist()
        return f"Key({seed})" if offset == 0 else f"Key({seed}, {offset})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Key) and bool(torch.equal(self.tensor, other.tensor))

    def __hash__(self) -> int:
        return hash(tuple(self.tensor.tolist()))


KeyLike: TypeAlias = Key | int | Tensor | torch.Generator | None


def key_tensor(key: KeyLike) -> Tensor:
    """Return the tensor that the operators take, and check, for what an argument `key` may be.

    Args:
        key: As in `Key.of`.

    Returns:
        (seed, offset), uint64, (2,), on the CPU.

    Raises:
        TypeError: key is something else.

    Example:
        >>> key_tensor(Key(3)).tolist()
        [3, 0]
    """
    if isinstance(key, Key):
        return key.tensor
    if isinstance(key, Tensor):
        return key
    if isinstance(key, Integral) and not isinstance(key, bool):  # also NumPy's integers
        return Key(_word(key, "key")).tensor
    if key is None:
        seed = torch.randint(0, 2**63 - 1, (1,), dtype=torch.int64, device="cpu")  # whatever the default device is
    elif isinstance(key, torch.Generator):
        seed = torch.randint(0, 2**63 - 1, (1,), dtype=torch.int64, device=key.device, generator=key).cpu()
    else:
        expected = "a Key, a uint64 tensor of shape (2,), a torch.Generator, an integer seed or None"
        raise TypeError(f"key: expected {expected}, got {type(key).__name__}")
    return torch.cat([seed, torch.zeros_like(seed)]).view(torch.uint64)


def _word(value: Any, name: str) -> int:
    try:
        word = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__}") from None
    if not 0 <= word < 2**64:
        raise ValueError(f"{name}: expected an integer in [0, 2**64), got {word}")
    return word


def normal(size: Sequence[int], key: KeyLike = None, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Tensor:
    """Draw standard normal numbers: the same for the same key on any machine and for any number of threads.

    Philox4x32-10 (Salmon et al., SC 2011) and Box-Muller. A shorter draw is the beginning of a longer one. float64 numbers are the float32
    ones at more digits; float16 and bfloat16 are rounded float32. |n| is at most 6.76 (32-bit uniforms).

    Args:
        size: The shape.
        key: A `Key`, an integer seed, its tensor, a `torch.Generator`, or None for fresh numbers.
        dtype: float64, float32, float16 or bfloat16.
        device: Where the numbers are made. On an accelerator they differ from the CPU's by rounding.

    Returns:
        The numbers.

    Raises:
        TypeError: size holds other things than integers, dtype is another, or key is none.
        ValueError: A negative size, or no such device.

    Example:
        >>> import torch
        >>> torch.equal(normal((2, 3), Key(0)).flatten(), normal((8,), Key(0))[:6])
        True
    """
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"dtype: expected a floating-point type, got {type(dtype).__name__}")
    return ops.normal.default(to_shape(size, "size"), key_tensor(key), dtype, _device(device))  # type: ignore[no-any-return]


_CPU = torch.device("cpu")


def _device(device: torch.device | str) -> torch.device:
    if isinstance(device, str) and device == "cpu":
        return _CPU
    try:
        found = torch.device(device)
        if found.type not in ("cpu", "meta"):
            torch.empty(0, device=found)  # is it there? A torch that knows a kind of device may find no driver or fewer of them
    except (RuntimeError, TypeError, AssertionError):
        raise ValueError(f"device: expected one of torch's devices that is there, such as cpu or cuda, got {device!r}") from None
    return found


def complex_normal(
    size: Sequence[int], key: KeyLike = None, dtype: torch.dtype = torch.complex64, device: torch.device | str = "cpu"
) -> Tensor:
    """Draw circularly symmetric complex normal numbers of unit power, CN(0, 1): element i is of elements 2i and 2i + 1 of `normal`.

    Args:
        size: The shape.
        key: As in `normal`.
        dtype: complex64 or complex128.
        device: As in `normal`.

    Returns:
        The numbers.

    Raises:
        TypeError: As `normal`.
        ValueError: As `normal`.

    Example:
        >>> complex_normal((2, 3), Key(0)).dtype
        torch.complex64
    """
    real = torch.float64 if dtype == torch.complex128 else torch.float32  # torch.compile does not know to_real()
    return torch.view_as_complex(normal((*size, 2), key, real, device) * math.sqrt(0.5))


def uniform(count: int, key: KeyLike = None, low: float = 0.0, high: float = 1.0) -> Tensor:
    """Draw uniform numbers: the normal distribution function of normal ones, so that they belong to the key like all others.

    Args:
        count: How many.
        key: Of the draw.
        low: The least.
        high: The most.

    Returns:
        float32, (count,).

    Example:
        >>> from semdiff.rng import Key, uniform
        >>> u = uniform(1000, Key(0), 2.0, 3.0)
        >>> bool((u >= 2).all()), bool((u <= 3).all())
        (True, True)
    """
    share: Tensor = torch.special.ndtr(normal((count,), key))
    return low + (high - low) * share

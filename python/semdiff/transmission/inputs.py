# SPDX-License-Identifier: Apache-2.0
"""Check the arguments of transmitters and receivers. Each message names the argument, what was expected, and what was given."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from semdiff._util.arguments import fits, to_number
from semdiff.phy.channel import Received
from semdiff.transmission.layout import Layout
from semdiff.transmission.warnings import warn_of_rate

TOLERANCE = 0.05  # of a bandwidth ratio. Chosen by hand: padding and a header move an image's ratio by a few per cent.


def check_images(images: Tensor, shape: tuple[int, int | None, int | None]) -> None:
    """Check a batch of images.

    Args:
        images: expected floating-point (B, *shape) in [0, 1] with B >= 1.
        shape: (C, H, W), where None stands for any size above 0.

    Raises:
        TypeError: for another type or dtype.
        ValueError: for another shape, an empty batch, or values outside [0, 1].
    """
    named = (n or letter for n, letter in zip(shape, "CHW", strict=True))
    expected = f"a float tensor of shape (B, {', '.join(map(str, named))}) in [0, 1]"
    if not isinstance(images, Tensor):
        raise TypeError(f"images: expected {expected}, got {type(images).__name__}")
    if not images.is_floating_point():
        hint = "; images.float() / 255 makes one of bytes" if images.dtype == torch.uint8 else ""
        raise TypeError(f"images: expected {expected}, got {images.dtype}{hint}")
    if images.layout != torch.strided or images.is_meta:
        raise ValueError(f"images: expected {expected}, got {'one on meta, which has no values' if images.is_meta else images.layout}")
    if images.dim() != 4 or not fits(images.shape[1:], shape):
        raise ValueError(f"images: expected {expected}, which is what this model was trained on, got shape {tuple(images.shape)}")
    if images.shape[0] == 0:
        raise ValueError(f"images: expected {expected} with B >= 1, got an empty batch")
    low, high = images.aminmax()
    if not (bool(low >= 0) and bool(high <= 1)):  # also false for NaN
        raise ValueError(f"images: expected values in [0, 1], got values from {low.item():.4g} to {high.item():.4g}")


def check_share(value: float, name: str) -> float:
    """Check a number in [0, 1].

    Args:
        value: the number.
        name: of the argument, for the message.

    Returns:
        The number as a float.

    Raises:
        TypeError, ValueError: naming the argument, for anything else.
    """
    number = to_number(value, name, "a number in [0, 1]")
    if not 0.0 <= number <= 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1], got {number}")
    return number


def describe(value: Any) -> str:
    """Name a wrong value in a message: a tensor by its dtype, a class by its name, others by their class.

    Args:
        value: what was given.
    """
    if isinstance(value, Tensor):
        return f"a tensor of {value.dtype}"
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def describe_wrong(received: Any) -> str:
    """Say what a channel returned in place of a `Received` of tensors; nothing is wrong where the text is empty.

    Args:
        received: what it returned.
    """
    if not isinstance(received, Received):
        return describe(received)
    wrong = {name: type(part).__name__ for name, part in received._asdict().items() if not isinstance(part, Tensor)}
    return ", ".join(f"{kind} for {name}" for name, kind in wrong.items())


def check_gains(h: Tensor, symbols: Tensor) -> Tensor:
    """Check channel gains and give them the symbols' dtype, device, and a shape that broadcasts to them.

    Args:
        h: finite gains, (B,) or broadcastable to the symbols.
        symbols: complex (B, uses).

    Returns:
        The gains; (B,) becomes (B, 1).

    Raises:
        TypeError, ValueError: for anything else.
    """
    if not isinstance(h, Tensor):
        raise TypeError(f"h: expected a tensor, got {type(h).__name__}")
    gains = h[:, None] if h.dim() == 1 else h
    if gains.dim() > 2 or any(n not in (1, m) for n, m in zip(reversed(gains.shape), reversed(symbols.shape), strict=False)):
        expected = f"shape ({symbols.shape[0]},) or one that broadcasts to the symbols' {tuple(symbols.shape)}"
        raise ValueError(f"h: expected {expected}, got {tuple(h.shape)}")
    if not bool(gains.isfinite().all()):
        raise ValueError("h: expected finite numbers, got NaN or infinity")
    return gains.to(symbols)


def per_sample(value: float | Tensor, name: str, batch: int, positive: bool = False) -> Tensor:
    """Expand a number to one float64 number for each sample, on the CPU.

    Args:
        value: a number or a floating-point tensor, () or (B,), finite.
        name: of the argument, for the message.
        batch: B.
        positive: whether the numbers must be above zero.

    Returns:
        float64 (B,).

    Raises:
        TypeError, ValueError: naming the argument, for anything else.
    """
    if isinstance(value, Tensor):
        if not value.is_floating_point():
            raise TypeError(f"{name}: expected a number or a floating-point tensor, got {value.dtype}")
        if value.shape not in ((), (batch,)):
            raise ValueError(f"{name}: expected a number or shape ({batch},), got shape {tuple(value.shape)}")
        numbers = value.detach().double().cpu().expand(batch)
    else:
        numbers = torch.full((batch,), to_number(value, name), dtype=torch.float64, device="cpu")
    if not bool(numbers.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers, got {numbers.tolist()}")
    if positive and not bool((numbers > 0).all()):
        raise ValueError(f"{name}: expected numbers above zero, got {numbers.tolist()}")
    return numbers


def choose_rate(cbr: float | None, layout: Layout) -> int:
    """Choose the number of symbol channels whose bandwidth ratio is within 5 % of the one asked for.

    Trained numbers are preferred. Numbers between them are taken with a UserWarning.

    Args:
        cbr: complex channel uses for each source value; None is the largest on offer.
        layout: the symbols of the model.

    Returns:
        Symbol channels.

    Raises:
        TypeError, ValueError: naming cbr, where no number of symbol channels comes near it.
    """
    if cbr is None:
        return max(layout.rates)
    try:
        asked = float(cbr)
    except (TypeError, ValueError):
        raise TypeError(f"cbr: expected a number or None, got {type(cbr).__name__}") from None
    offers = ", ".join(f"{ratio:.4f} (1/{1 / ratio:.1f})" for ratio in layout.cbrs.values())
    if not (math.isfinite(asked) and asked > 0):
        raise ValueError(f"cbr: expected a ratio that this model offers ({offers}), got {asked}")
    for counts in (layout.rates, layout.counts):
        channels = min(counts, key=lambda c: abs(math.log(layout.cbr(c) / asked)))
        if abs(layout.cbr(channels) / asked - 1) <= TOLERANCE:
            if channels not in layout.rates:
                warn_of_rate(layout.cbr(channels), list(layout.cbrs.values()))
            return channels
    raise ValueError(f"cbr: expected a ratio within 5 % of one that this model offers ({offers}), got {asked:.4g}")

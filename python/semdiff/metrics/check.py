# SPDX-License-Identifier: Apache-2.0
"""Check the arguments of metrics. Each message names the argument, what was expected, and what was given."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

WANTED = "a float tensor (B, C, H, W) in [0, 1]"
VALUES_AT_ONCE = 2**22  # per-image metrics work in parts of about so many values, so that a long batch takes no more memory


def need(module: str) -> Any:
    """Import a module that needs the extra [eval].

    Args:
        module: its name.

    Returns:
        The module.

    Raises:
        ImportError: that names the extra, where it is absent.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f"this metric needs {error.name}: pip install 'semdiff-torch[eval]'", name=error.name) from error


def check_image_batch(images: Tensor, name: str) -> None:
    """Check a batch of images.

    Args:
        images: expected floating-point (B, C, H, W) in [0, 1], B >= 1.
        name: of the argument, for the message.

    Raises:
        TypeError, ValueError: for anything else.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"{name}: expected {WANTED}, got {type(images).__name__}")
    if images.dtype not in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        hint = "; images.float() / 255 makes one of bytes" if images.dtype == torch.uint8 else ""
        raise TypeError(f"{name}: expected {WANTED}, got {images.dtype}{hint}")
    if images.dim() != 4 or images.numel() == 0:
        raise ValueError(f"{name}: expected {WANTED} with no size 0, got shape {tuple(images.shape)}")
    if images.is_meta:
        raise ValueError(f"{name}: expected {WANTED}, got one on meta, which has no values")
    low, high = images.detach().aminmax()
    if not (bool(low >= 0) and bool(high <= 1)):  # also false for NaN
        raise ValueError(f"{name}: expected values in [0, 1], got values from {low.item():.4g} to {high.item():.4g}")


def check_pair(x: Tensor, y: Tensor, smallest: int = 1, why: str = "") -> None:
    """Check two batches of images of one shape on one device.

    Args:
        x, y: the batches.
        smallest: least height and width in pixels.
        why: the reason for it, for the message.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    check_image_batch(x, "x")
    check_image_batch(y, "y")
    if x.shape != y.shape:
        raise ValueError(f"y: expected the shape of x, {tuple(x.shape)}, got {tuple(y.shape)}")
    if x.device != y.device:
        raise ValueError(f"y: expected the device of x, {x.device}, got {y.device}")
    if min(x.shape[2:]) < smallest:
        raise ValueError(f"x: expected images of at least {smallest} x {smallest} pixels{why}, got {x.shape[2]} x {x.shape[3]}")


def check_sets(x: Tensor, y: Tensor, fewest: int) -> None:
    """Check two sets of images; their numbers and sizes may differ.

    Args:
        x, y: the sets.
        fewest: least number of images in each.

    Raises:
        TypeError, ValueError: naming the argument.
    """
    for images, name in ((x, "x"), (y, "y")):
        check_image_batch(images, name)
        if len(images) < fewest:
            raise ValueError(f"{name}: expected at least {fewest} images, got {len(images)}")


def in_colour(images: Tensor, name: str) -> Tensor:
    """Repeat grey images to three channels.

    Args:
        images: (B, 1 or 3, H, W).
        name: of the argument, for the message.

    Raises:
        ValueError: for another number of channels.
    """
    if images.shape[1] not in (1, 3):
        raise ValueError(f"{name}: expected 1 or 3 channels, got {images.shape[1]}")
    return images.expand(-1, 3, -1, -1)


def by_parts(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, values: int = VALUES_AT_ONCE) -> Tensor:
    """Compute a metric a part of the batch at a time, in float32 or wider: a square in bfloat16 has two digits.

    Args:
        function: (x, y) -> (B,).
        x, y: images, (B, C, H, W).
        values: numbers in one part, about.

    Returns:
        (B,).
    """
    size = max(1, values // x[0].numel())
    wide = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    with in_full(x):
        return torch.cat([function(a.to(wide), b.to(wide)) for a, b in zip(x.split(size), y.split(size), strict=True)])


def at_least_float(x: Tensor) -> Tensor:
    """Convert x to float32 where its dtype is narrower; float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def in_full(x: Tensor) -> torch.autocast:
    """Make a context in which an autocast around it has no effect, on the device of x."""
    return torch.autocast(x.device.type, enabled=False)

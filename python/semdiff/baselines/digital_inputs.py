# SPDX-License-Identifier: Apache-2.0
"""Check the arguments that every digital baseline's `transmit` shares with SemanticLink's, in the same words."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

from semdiff.baselines.codecs import FORMATS, Format
from semdiff.transmission.inputs import check_images

DEFAULT_CBR = 1 / 12


def check_pictures(images: Tensor) -> tuple[int, int, int]:
    """Check images and return their shape.

    Args:
        images: expected float (B, C, H, W) in [0, 1], with C 1 or 3.

    Returns:
        (C, H, W).

    Raises:
        TypeError, ValueError: for anything else.
    """
    shape = tuple(images.shape[1:]) if isinstance(images, Tensor) and images.dim() == 4 else (1, 1, 1)
    if shape[0] not in (1, 3) or 0 in shape:
        raise ValueError(f"images: expected a float tensor of shape (B, 1 or 3, H, W) in [0, 1], got shape {tuple(images.shape)}")
    if isinstance(images, Tensor) and images.dim() != 4:
        raise ValueError(f"images: expected a float tensor of shape (B, 1 or 3, H, W) in [0, 1], got shape {tuple(images.shape)}")
    check_images(images, (shape[0], shape[1], shape[2]))
    return shape[0], shape[1], shape[2]


def choose_uses(cbr: float | None, values: int) -> int:
    """Compute the channel uses of one image, rounded to the nearest integer.

    Args:
        cbr: complex channel uses for each source value; None is 1/12.
        values: source values, C*H*W.

    Raises:
        TypeError, ValueError: for a cbr that is no number above zero, or gives no channel use.
    """
    try:
        ratio = DEFAULT_CBR if cbr is None else float(cbr)
    except (TypeError, ValueError):
        raise TypeError(f"cbr: expected a number or None, got {type(cbr).__name__}") from None
    if not (math.isfinite(ratio) and ratio > 0):
        raise ValueError(f"cbr: expected a number above zero, got {ratio}")
    if round(ratio * values) < 1:
        raise ValueError(f"cbr: expected at least one channel use for {values} source values, got {ratio}")
    return round(ratio * values)


def choose_formats(codec: str) -> Sequence[Format]:
    """List the image formats to try.

    Args:
        codec: the name of a format, or best for all.

    Raises:
        ValueError: for another name.
    """
    if codec == "best":
        return FORMATS
    found = [kind for kind in FORMATS if kind == codec]
    if not found:
        raise ValueError(f"codec: expected best or one of {', '.join(FORMATS)}, got {codec!r}")
    return found

# SPDX-License-Identifier: Apache-2.0
"""Parse the IDX format of the MNIST family: two zero bytes, a type, the number of dimensions, the sizes (big-endian), the bytes."""

from __future__ import annotations

import math
import struct

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08


def parse_idx(content: bytes, name: str = "content") -> NDArray[np.uint8]:
    """Parse an IDX file of unsigned bytes.

    Args:
        content: of the file, decompressed.
        name: for messages.

    Returns:
        uint8, read-only, of the shape in the file's header.

    Raises:
        ValueError: where the header is not that of such a file, or the size disagrees with it.
    """
    if len(content) < 4 or content[:2] != b"\0\0":
        raise ValueError(f"{name}: expected an IDX file, which begins with two zero bytes, got {content[:4]!r}")
    kind, dimensions = content[2], content[3]
    if kind != UNSIGNED_BYTE:
        raise ValueError(f"{name}: expected IDX type 0x08 (unsigned byte), got {kind:#04x}")
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise ValueError(f"{name}: expected a header of {start} bytes for {dimensions} dimensions, got {len(content)} bytes in all")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    expected = start + math.prod(shape)
    if len(content) != expected:
        raise ValueError(f"{name}: expected {expected} bytes for shape {shape}, got {len(content)}")
    try:
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    except ValueError as error:  # of no elements, but too many dimensions or too large ones
        raise ValueError(f"{name}: expected a shape that an array can have, got {shape} ({error})") from None

# SPDX-License-Identifier: Apache-2.0
"""Write an image as a packet of a given number of bits, and read it back.

    [format: 2 bits, only where there is a choice] [scale: 2 bits] [the codec's bytes] 1 0 0 0 ...

The 1 ends the bytes, so no length is sent. Scale s means that the image was made 2^s times smaller by averages before coding and is made
larger by cubic interpolation after it: at few bits a pixel a block transform needs that. The sender tries every format and scale, decodes
what it would send, and keeps the one of least squared error. It skips a scale that loses more before any coding than the best so far. A
packet of zeros says that nothing fitted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from semdiff.baselines.codecs import FORMATS, Format, compress, decompress

SCALE_BITS = 2
SCALES = tuple(2**i for i in range(2**SCALE_BITS))


def format_bits(formats: Sequence[Format]) -> int:
    """Count the bits that name the format: 2 where there is a choice among `formats`, else 0."""
    return 2 if len(formats) > 1 else 0


def write_packet(image: Tensor, bits: int, formats: Sequence[Format]) -> Tensor:
    """Write an image as a packet.

    Args:
        image: (C, H, W) in [0, 1], C 1 or 3.
        bits: the packet's length.
        formats: to choose from.

    Returns:
        uint8 (bits,) of 0 and 1.
    """
    packet = torch.zeros(bits, dtype=torch.uint8, device="cpu")
    head = format_bits(formats) + SCALE_BITS
    budget = (bits - head - 1) // 8
    least = float("inf")
    smaller = [_smaller(image, scale) for scale in SCALES] if budget > 0 else []
    lost = [_error(small, image) for small in smaller]
    for kind in formats:
        for step, small in enumerate(smaller):
            if lost[step] > least:
                continue
            content = compress(_picture(small), kind, budget)
            if content is None:
                continue
            error = _error(_pixels(decompress(content, kind, *_kind_of(small))), image)
            if error < least:
                least = error
                choice = [FORMATS.index(kind)] * bool(format_bits(formats))
                packet = _assemble([*choice, step], content, bits)
    return packet


def read_packet(packet: Tensor, shape: tuple[int, int, int], formats: Sequence[Format]) -> Tensor | None:
    """Read the image of a packet.

    Args:
        packet: from `write_packet`.
        shape: (C, H, W) of the image.
        formats: as in `write_packet`.

    Returns:
        The image, float (C, H, W), or None where nothing fitted or the packet is damaged.
    """
    bits = packet.to(torch.uint8).tolist()
    if 1 not in bits:
        return None
    end = len(bits) - 1 - bits[::-1].index(1)
    head = format_bits(formats)
    body = bits[head + SCALE_BITS : end]
    if not body or len(body) % 8:
        return None
    kind = FORMATS[2 * bits[0] + bits[1]] if head else formats[0]
    if kind not in formats:
        return None
    scale = SCALES[2 * bits[head] + bits[head + 1]]
    content = np.packbits(np.array(body, np.uint8)).tobytes()
    like = torch.empty(shape, device="cpu")
    try:
        return _larger(_pixels(decompress(content, kind, *_kind_of(_smaller(like, scale)))), like)
    except ValueError:
        return None


def _assemble(fields: Sequence[int], content: bytes, bits: int) -> Tensor:
    head = [field >> place & 1 for field in fields for place in (1, 0)]
    used = torch.tensor([*head, *np.unpackbits(np.frombuffer(content, np.uint8)).tolist(), 1], dtype=torch.uint8, device="cpu")
    return F.pad(used, (0, bits - used.numel()))


def _smaller(image: Tensor, scale: int) -> Tensor:
    size = (-(-image.shape[-2] // scale), -(-image.shape[-1] // scale))
    return F.adaptive_avg_pool2d(image, size) if scale > 1 else image


def _error(small: Tensor, image: Tensor) -> float:
    """Mean squared error of an image that was made smaller, at its full size."""
    return float((_larger(small, image) - image).square().mean())


def _larger(image: Tensor, like: Tensor) -> Tensor:
    if image.shape == like.shape:
        return image
    return F.interpolate(image[None], like.shape[-2:], mode="bicubic", align_corners=False)[0].clamp(0, 1)


def _picture(image: Tensor) -> Image.Image:
    levels = (image * 255).round().to(torch.uint8).numpy()
    return Image.fromarray(levels[0] if levels.shape[0] == 1 else np.ascontiguousarray(levels.transpose(1, 2, 0)))


def _pixels(picture: Image.Image) -> Tensor:
    levels = torch.from_numpy(np.array(picture)).float() / 255
    return levels[None] if levels.dim() == 2 else levels.permute(2, 0, 1)


def _kind_of(image: Tensor) -> tuple[str, tuple[int, int]]:
    """Pillow's mode and size."""
    return ("L" if image.shape[0] == 1 else "RGB"), (image.shape[-1], image.shape[-2])

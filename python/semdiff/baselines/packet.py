# SPDX-License-Identifier: Apache-2.0
"""One picture as a packet of so many bits, and back.

    [format: 2 bits, only where there is a choice] [scale: 2 bits] [the codec's bytes] 1 0 0 0 ...

The 1 ends the bytes, so no length is sent. Scale s means that the picture was made 2^s times smaller by averages before coding and is
made larger by cubic interpolation after it: at so few bits a pixel that is what keeps a block transform useful. The sender tries every
format and scale, decodes what it would send, and keeps the least squared error. A scale that loses more before any coding than what was
found already is not tried. A packet of zeros says that nothing fitted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from semdiff.baselines.codecs import FORMATS, Format, decode, encode

SCALE_BITS = 2
SCALES = tuple(2**i for i in range(2**SCALE_BITS))


def format_bits(formats: Sequence[Format]) -> int:
    return 2 if len(formats) > 1 else 0


def write(image: Tensor, bits: int, formats: Sequence[Format]) -> Tensor:
    """image (C, H, W) in [0, 1], C 1 or 3, as exactly `bits` bits: uint8 of 0 and 1."""
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
            content = encode(_picture(small), kind, budget)
            if content is None:
                continue
            error = _error(_pixels(decode(content, kind, *_kind_of(small))), image)
            if error < least:
                least = error
                choice = [FORMATS.index(kind)] * bool(format_bits(formats))
                packet = _assemble([*choice, step], content, bits)
    return packet


def read(packet: Tensor, shape: tuple[int, int, int], formats: Sequence[Format]) -> Tensor | None:
    """The image (C, H, W) that `write` made this packet of; None where nothing fitted, or the packet is damaged."""
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
        return _larger(_pixels(decode(content, kind, *_kind_of(_smaller(like, scale)))), like)
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

# SPDX-License-Identifier: Apache-2.0
"""Round images of more than eight bits a channel to eight. pillow gives grey ones unscaled, and of colours the upper bytes alone."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from semdiff.data.errors import PictureError

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112  # of EXIF
_BITS_PER_SAMPLE, _PHOTOMETRIC, _PLANES, _SAMPLE_FORMAT = 258, 262, 284, 339  # of TIFF
_WHITE_IS_ZERO, _SEPARATE, _UNSIGNED = 0, 2, 1
_DEEP = re.compile(r".*;(I;)?1[26][A-Z]*$")  # pillow's names for what a file holds; of 16 bits a pixel, BGR;16, are none
_COLOURS = re.compile(r"(RGBX?|RGBA);16([BLN])")
_KEY_SCALE = {"L;2": 85, "L;4": 17}  # of grey pixels, which pillow scales, and not the transparent one's value


def in_eight_bits(opened: Image, again: Callable[[], Image], name: str) -> Image:
    """Convert an image that is open but not decoded to eight bits a channel.

    Args:
        opened: the image.
        again: opens it once more.
        name: for messages.

    Raises:
        PictureError: where its range is not known, or where only the upper bits could be had.
    """
    kinds = raw_modes(opened)
    deep = is_deep(opened)
    signed = any(kind != _UNSIGNED for kind in _tag(opened, _SAMPLE_FORMAT, (_UNSIGNED,)))
    if opened.mode == "F" or (opened.mode == "I" and opened.format != "PPM") or signed:
        raise PictureError(f"{name}: expected 8 or 16 bits a channel, got pillow's mode {opened.mode}, whose range is not known")
    if not deep:
        for kind in kinds & set(_KEY_SCALE):
            if opened.format == "PNG" and "transparency" in opened.info:
                opened.info["transparency"] *= _KEY_SCALE[kind]
        return opened
    values, most = _grey(opened, name) if opened.mode.startswith("I") else (_colours(opened, again, kinds, name), 65535)
    pixels = np.rint(np.arange(65536) * (255 / most)).clip(0, 255).astype(np.uint8)[values]  # by a table: little memory
    key = opened.info.get("transparency")
    if key is not None:
        clear = (values.reshape(*values.shape[:2], -1) == np.asarray(key).reshape(-1)).all(2)
        alpha = np.where(clear, np.uint8(0), np.uint8(255))
        pixels = np.concatenate([pixels.reshape(*alpha.shape, -1), alpha[..., None]], 2)
    return _picture(pixels, opened.getexif().get(ORIENTATION))


def raw_modes(opened: Image) -> set[str]:
    """Return pillow's names for how an opened file holds its pixels; none once it is decoded."""
    found = [(codec, args if isinstance(args, str) else str(args[0])) for codec, _, _, args in getattr(opened, "tile", ()) if args]
    return {f"{kind};16B" if codec == "SGI16" else kind for codec, kind in found}  # the one that hides it in the decoder's name


def is_deep(opened: Image) -> bool:
    """Check whether an opened file, not decoded yet, has more than eight bits a channel that `in_eight_bits` would round."""
    if opened.mode == "I" and opened.format == "PPM":  # 16 bits, which pillow gives 32
        return True
    if opened.format == "JPEG2000":
        return _jpeg_2000_bits(opened) > 8
    if max(_tag(opened, _BITS_PER_SAMPLE, (1,))) > 8:
        return True
    return opened.mode.startswith("I;16") or any(kind.partition(";")[0] != "BGR" and _DEEP.match(kind) for kind in raw_modes(opened))


def _grey(opened: Image, name: str) -> tuple[NDArray[Any], int]:
    """Values (H, W) and the one that means white."""
    if opened.format == "JPEG2000":  # moved up to the top of 16 bits
        most = (1 << 16) - (1 << 16 - _jpeg_2000_bits(opened))
        return np.asarray(opened), most
    if opened.format == "TIFF":
        (bits, *_), white_is_zero = _tag(opened, _BITS_PER_SAMPLE, (16,)), _tag(opened, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO
        values, most = np.asarray(opened), (1 << bits) - 1
        return (most - values if white_is_zero else values), most
    if opened.format not in ("PNG", "PPM"):
        raise PictureError(f"{name}: expected 8 bits a channel of {opened.format}, got 16, whose range is not known")
    return np.asarray(opened), 65535


def _colours(opened: Image, again: Callable[[], Image], kinds: set[str], name: str) -> NDArray[Any]:
    """Values (H, W, 3 or 4) of 16 bits: the file is decoded twice, as if in either order of bytes."""
    (kind,) = kinds if len(kinds) == 1 else ("",)
    if kind == "LA;16B":
        return _decoded_as(again, "RGBA").view(">u2").astype(np.uint16)[..., [0, 0, 0, 1]]
    found = _COLOURS.fullmatch(kind) if opened.format in ("PNG", "TIFF") and _tag(opened, _PLANES, 1) != _SEPARATE else None
    if found is None:
        got = f"{opened.format} with more ({', '.join(sorted(kinds))}), of which only the upper bits could be read"
        raise PictureError(f"{name}: expected 8 bits a channel, or 16 of grey, RGB or RGBA, got {got}")
    order = found[2] if found[2] != "N" else "L" if sys.byteorder == "little" else "B"
    lower = _decoded_as(again, f"{found[1]};16{'L' if order == 'B' else 'B'}")
    return np.asarray(opened).astype(np.uint16) << 8 | lower


def _decoded_as(again: Callable[[], Image], kind: str) -> NDArray[np.uint8]:
    with again() as opened:
        tiles: Any = opened.tile  # type: ignore[attr-defined]
        opened.tile = [t._replace(args=kind if isinstance(t.args, str) else (kind, *t.args[1:])) for t in tiles]  # type: ignore[attr-defined]
        return np.asarray(opened)


def _tag(opened: Image, number: int, usual: Any) -> Any:
    """A field of a TIFF; what is usual where there is none, or for another kind of file."""
    return opened.tag_v2.get(number, usual) if opened.format == "TIFF" else usual  # type: ignore[attr-defined]


def _jpeg_2000_bits(opened: Image) -> int:
    """The most bits of a component, as the codestream's SIZ marker has them (ITU-T T.800, A.5.1)."""
    file: IO[bytes] = opened.fp  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(0)
    content = file.read()
    file.seek(place)
    begin = content.index(b"\xff\x4f\xff\x51")
    count = int.from_bytes(content[begin + 40 : begin + 42])
    return 1 + max(byte & 127 for byte in content[begin + 42 : begin + 42 + 3 * count : 3])


def _picture(pixels: NDArray[np.uint8], orientation: int | None) -> Image:
    from PIL import Image

    picture = Image.fromarray(pixels)
    if orientation is not None:
        picture.getexif()[ORIENTATION] = orientation
    return picture

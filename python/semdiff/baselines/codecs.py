# SPDX-License-Identifier: Apache-2.0
"""Compress images as JPEG, JPEG 2000, WebP and AVIF by Pillow, without the bytes that both ends know.

At 28x28 a file's headers take more bytes than the image. Both ends know the size, the colour model, the coder's settings, and every byte
that follows from them; `compress` takes these bytes away and `rebuild` puts them back. Each format sends:

jpeg    one byte of quality (the tables follow from it: Annex K's, scaled; standard Huffman tables) and the entropy-coded scan
jp2     the tile's packets; main header, tile header and end marker are shared (irreversible wavelet, one tile, one layer)
webp    the VP8 frame without start code and dimensions, and without the RIFF container
avif    the AV1 frame OBU; the container and the sequence header are shared
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Literal

try:
    from PIL import Image
except ImportError as error:
    raise ImportError("semdiff.baselines needs pillow: pip install 'semdiff-torch[models]'") from error

from semdiff.baselines.byte_cache import ByteCache

Format = Literal["jpeg", "jp2", "webp", "avif"]
FORMATS: tuple[Format, ...] = ("jpeg", "jp2", "webp", "avif")
SLACK = 4  # bytes by which a file of the lowest quality may exceed one of a higher. Chosen by hand
CACHE = ByteCache(2**26)  # an evaluation searches the same pictures again for every SNR and rate


def compress(picture: Image.Image, kind: Format, budget: int) -> bytes | None:
    """Compress an image at the highest quality that fits.

    Args:
        picture: in mode L or RGB.
        kind: the format.
        budget: the most bytes.

    Returns:
        The stripped bytes, or None where not even the lowest quality fits.
    """
    same = kind, picture.mode, picture.size, hashlib.sha256(picture.tobytes()).digest()
    if kind == "jp2":
        header = len(_jp2_header(picture.mode, picture.size, 0))
        most = min(budget, _raw(picture))
        return CACHE.get((*same, budget), lambda: _largest_below(lambda size: _jp2(picture, header + size), most, budget))
    code, low, high = {"jpeg": (_jpeg, 1, 100), "webp": (_webp, 0, 100), "avif": (_avif, 0, 99)}[kind]  # 100 is lossless AVIF

    def coded(quality: int) -> bytes | None:
        return CACHE.get((*same, quality), lambda: code(picture, quality))

    least = coded(low)
    if least is not None and len(least) > budget + SLACK:  # common on a poor channel; the search would take seven times as long
        return None
    return _largest(coded, low, high, budget)


def decompress(content: bytes, kind: Format, mode: str, size: tuple[int, int]) -> Image.Image:
    """Decompress an image that `compress` compressed.

    Args:
        content: the stripped bytes.
        kind: the format.
        mode: L or RGB.
        size: (width, height).

    Raises:
        ValueError: for damaged bytes.
    """
    # Pillow's plug-ins raise all of these for a stream that is not theirs.
    try:
        with Image.open(io.BytesIO(rebuild(content, kind, mode, size))) as picture:
            if picture.size != size:
                raise ValueError(f"expected size {size}, got {picture.size}")
            return picture.convert(mode)
    except (OSError, SyntaxError, ValueError, IndexError, RuntimeError) as error:
        raise ValueError(f"content: expected a {kind} stream, but it does not decode ({error})") from error


def rebuild(content: bytes, kind: Format, mode: str, size: tuple[int, int]) -> bytes:
    """Restore the whole file, byte for byte as Pillow wrote it.

    Args:
        content: the stripped bytes.
        kind, mode, size: as in `decompress`.
    """
    if kind == "jpeg":
        return _jpeg_header(mode, size, content[0]) + content[1:] + b"\xff\xd9"
    if kind == "jp2":
        return _jp2_header(mode, size, len(content)) + content + b"\xff\xd9"
    if kind == "webp":
        frame = content[:3] + b"\x9d\x01\x2a" + struct.pack("<HH", *size) + content[3:]
        padded = frame + b"\0" * (len(frame) % 2)
        return b"RIFF" + struct.pack("<I", 12 + len(padded)) + b"WEBPVP8 " + struct.pack("<I", len(frame)) + padded
    return _avif_file(content, *_avif_shared(mode, size))


def _largest(code: Callable[[int], bytes | None], low: int, high: int, budget: int) -> bytes | None:
    """code(q) of the largest q within the budget, by bisection: sizes grow with q, nearly always."""
    best = None
    while low <= high:
        middle = (low + high) // 2
        content = code(middle)
        if content is not None and len(content) <= budget:
            best, low = content, middle + 1
        else:
            high = middle - 1
    return best


def _largest_below(code: Callable[[int], bytes | None], most: int, budget: int) -> bytes | None:
    """code(size) of about the largest size up to `most` within the budget, to 1/256 of it: from above, since OpenJPEG exceeds the size that
    it is given by a little at most."""
    unit = max(1, most // 256)
    high, low = 0, 0  # units below `most`: what is too large, what is tried
    while most - low * unit >= 1:
        content = code(most - low * unit)
        if content is not None and len(content) <= budget:
            return _largest(lambda n: code(most + n * unit), 1 - low, -high - 1, budget) or content
        high, low = low, max(1, 2 * low)
    return _largest(code, 1, most - high * unit - 1, budget)


def _saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _raw(picture: Image.Image) -> int:
    return picture.width * picture.height * len(picture.getbands())


# JPEG (ITU-T T.81)


def _jpeg(picture: Image.Image, quality: int) -> bytes:
    file = _saved(picture, "JPEG", quality=quality)
    return bytes([quality]) + file[len(_jpeg_header(picture.mode, picture.size, quality)) : -2]


@lru_cache(maxsize=512)
def _jpeg_header(mode: str, size: tuple[int, int], quality: int) -> bytes:
    if not 1 <= quality <= 100:
        raise ValueError(f"content: expected a quality of 1 to 100 in the first byte, got {quality}")
    file = _saved(Image.new(mode, size), "JPEG", quality=quality)
    scan = file.index(b"\xff\xda")
    return file[: scan + 2 + int.from_bytes(file[scan + 2 : scan + 4], "big")]


# JPEG 2000 (ITU-T T.800)


def _jp2(picture: Image.Image, file_size: int) -> bytes | None:
    """At most `file_size` bytes with the headers, or None: OpenJPEG ignores a rate that it cannot meet."""
    options = {"quality_mode": "rates", "quality_layers": [_raw(picture) / file_size], "irreversible": True, "no_jp2": True}
    file = _saved(picture, "JPEG2000", **options)
    content = file[len(_jp2_header(picture.mode, picture.size, 0)) : -2]
    return content if rebuild(content, "jp2", picture.mode, picture.size) == file else None


@lru_cache(maxsize=64)
def _jp2_parts(mode: str, size: tuple[int, int]) -> tuple[bytes, int]:
    """Everything before the packets, and where in it the tile-part's length stands (Psot)."""
    file = _saved(Image.new(mode, size), "JPEG2000", irreversible=True, no_jp2=True)
    tile = file.index(b"\xff\x90\x00\x0a")
    return file[: file.index(b"\xff\x93", tile) + 2], tile


def _jp2_header(mode: str, size: tuple[int, int], content: int) -> bytes:
    header, tile = _jp2_parts(mode, size)
    return header[: tile + 6] + struct.pack(">I", len(header) - tile + content) + header[tile + 10 :]


# WebP (RFC 9649, RFC 6386)


def _webp(picture: Image.Image, quality: int) -> bytes:
    file = _saved(picture.convert("RGB"), "WEBP", quality=quality, method=6)
    frame = file[20 : 20 + int.from_bytes(file[16:20], "little")]
    return frame[:3] + frame[10:]


# AVIF (AOMedia AV1 Image File Format)


def _avif(picture: Image.Image, quality: int) -> bytes | None:
    """None where the file holds more than one frame behind the shared headers, which then do not give it back."""
    file = _avif_saved(picture, quality)
    content = _avif_split(file)[2]
    same = _avif_file(content, *_avif_shared(picture.mode, picture.size)) == file
    return content if same else None


def _avif_saved(picture: Image.Image, quality: int) -> bytes:
    return _saved(picture, "AVIF", quality=quality, speed=6, max_threads=1)


@lru_cache(maxsize=64)
def _avif_shared(mode: str, size: tuple[int, int]) -> tuple[bytes, bytes]:
    file = _avif_saved(Image.new(mode, size, 128 if mode == "L" else (128, 128, 128)), 50)
    container, sequence, _ = _avif_split(file)
    return container, sequence


def _avif_split(file: bytes) -> tuple[bytes, bytes, bytes]:
    """(container up to the media data, OBUs before the frame, the frame OBU's content)."""
    start = file.rindex(b"mdat", 0, file.index(b"mdat") + 4) + 4
    place = start
    while place < len(file):
        kind, size_at = file[place] >> 3 & 15, place + 1
        size, shift = 0, 0
        while True:  # leb128
            byte = file[size_at]
            size, shift, size_at = size | (byte & 127) << shift, shift + 7, size_at + 1
            if byte < 128:
                break
        if kind == 6:  # OBU_FRAME
            return file[:start], file[start:place], file[size_at : size_at + size]
        place = size_at + size
    raise ValueError("file: expected an AV1 frame OBU")


def _avif_file(content: bytes, container: bytes, sequence: bytes) -> bytes:
    size, length = len(content), b""
    while True:
        length += bytes([size & 127 | (128 if size > 127 else 0)])
        size >>= 7
        if not size:
            break
    media = sequence + b"\x32" + length + content
    item = container.index(b"iloc") + 4 + 4 + 2 + 2 + 2 + 2 + 2 + 4  # up to the only extent's length
    container = container[:item] + struct.pack(">I", len(media)) + container[item + 4 :]
    return container[:-8] + struct.pack(">I", 8 + len(media)) + b"mdat" + media

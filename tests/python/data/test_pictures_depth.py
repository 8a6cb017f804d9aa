# SPDX-License-Identifier: Apache-2.0
"""Every kind of PNG, deep TIFF, PGM and JPEG 2000 against the formulas of their standards; what cannot be read whole is refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from semdiff.data import read_picture
from semdiff.data.animations import read_animation

Image = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # of PNG's colour types
# Where each pass of Adam7 begins, and its steps: row, column, rows, columns (PNG, third edition, 8.1).
ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def packed(values: np.ndarray, bits: int) -> bytes:
    """Rows (H, W, C) without a filter."""
    lines = []
    for row in values.reshape(len(values), -1):
        digits = "".join(f"{v:0{bits}b}" for v in row)
        digits += "0" * (-len(digits) % 8)
        lines.append(b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big"))
    return b"".join(lines)


def png(values: np.ndarray, bits: int, colour: int, key: tuple[int, ...] | None = None, interlaced: bool = False) -> bytes:
    height, width = values.shape[:2]
    passes = [values[r::dr, c::dc] for r, c, dr, dc in ADAM7] if interlaced else [values]
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    if key is not None:
        content += chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    data = b"".join(packed(part, bits) for part in passes if part.size)
    return content + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def over(values: np.ndarray, bits: int, key: tuple[int, ...] | None, background: int) -> np.ndarray:
    """(H, W, 1 or 3) in [0, 255], not rounded: the picture over a grey background."""
    most = 2**bits - 1
    colours = values / most * 255
    if values.shape[2] in (2, 4):
        alpha = colours[..., -1:] / 255
        return colours[..., :-1] * alpha + background * (1 - alpha)
    if key is not None:
        return np.where((values == np.array(key)).all(2, keepdims=True), background, colours)
    return colours


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(
    ("colour", "bits", "keyed"),
    [(0, bits, keyed) for bits in (1, 2, 4, 8, 16) for keyed in (False, True)]
    + [(2, bits, keyed) for bits in (8, 16) for keyed in (False, True)]
    + [(colour, bits, False) for colour in (4, 6) for bits in (8, 16)],  # these have an alpha channel
)
def test_png(colour: int, bits: int, keyed: bool, interlaced: bool) -> None:
    values = RNG.integers(0, 2**bits, (11, 13, CHANNELS[colour]))
    key = None
    if keyed:
        key = tuple(int(v) for v in values[4, 5])
        values[0, 0] = key
        values[0, 1] = np.array(key) ^ 1  # the nearest that is not the key
    content = png(values, bits, colour, key, interlaced)
    for background, level in (("white", 255), ("black", 0)):
        found = read_picture(content, background=background).permute(1, 2, 0).numpy()
        room = 0.501 if colour in (0, 2) else 1.3  # colour, alpha and what pillow makes of them are each rounded
        assert np.abs(found - over(values, bits, key, level)).max() <= room


def test_the_whole_of_sixteen_bits_is_rounded() -> None:
    """Not cut: each of 65,536 values goes to the nearest of 256."""
    values = np.arange(65536).reshape(256, 256)
    nearest = np.rint(values / 257)
    for content in (png(np.stack([values] * 3, 2), 16, 2), png(values[..., None], 16, 0), b"P6 256 256 65535\n" + ppm(values)):
        assert np.array_equal(read_picture(content)[1].numpy(), nearest)


def ppm(values: np.ndarray) -> bytes:
    return np.stack([values] * 3, 2).astype(">u2").tobytes()


def test_a_deep_picture_is_turned_as_exif_says() -> None:
    values = RNG.integers(0, 2**16, (3, 5, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = png(values, 16, 2)
    turned = plain[:33] + chunk(b"eXIf", exif.tobytes()[6:]) + plain[33:]
    assert np.array_equal(read_picture(turned).numpy(), np.rot90(read_picture(plain).numpy(), -1, (1, 2)))


def tiff(values: np.ndarray, bits: int, photometric: int, order: str = "<", sample_format: int = 1) -> bytes:
    """(H, W, C) in one strip, uncompressed (TIFF 6.0)."""
    height, width, channels = values.shape
    whole = values.astype(f"{order}u{max(1, bits // 8)}").tobytes()
    data = b"".join(packed(row[None], 12)[1:] for row in values) if bits == 12 else whole
    tags = {256: width, 257: height, 258: [bits] * channels, 259: 1, 262: photometric, 273: 8, 277: channels, 278: height, 279: len(data)}
    tags[339] = [sample_format] * channels
    place = 8 + len(data) + len(data) % 2
    extra_at = place + 2 + 12 * len(tags) + 4
    entries, extra = b"", b""
    for tag, value in sorted(tags.items()):
        numbers = value if isinstance(value, list) else [value]
        kind, code = (3, "H") if isinstance(value, list) else (4, "I")
        raw = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        if len(raw) > 4:
            raw, extra = struct.pack(f"{order}I", extra_at + len(extra)), extra + raw
        entries += struct.pack(f"{order}HHI", tag, kind, len(numbers)) + raw.ljust(4, b"\0")
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HI", 42, place)
    return head + data + b"\0" * (len(data) % 2) + struct.pack(f"{order}H", len(tags)) + entries + b"\0" * 4 + extra


@pytest.mark.parametrize(
    ("bits", "photometric", "channels", "order"),
    [(8, 1, 1, "<"), (8, 0, 1, "<"), (16, 1, 1, "<"), (16, 1, 1, ">"), (16, 0, 1, "<"), (12, 1, 1, "<"), (16, 2, 3, "<"), (16, 2, 3, ">")],
)
def test_tiff(bits: int, photometric: int, channels: int, order: str) -> None:
    most = 2**bits - 1
    values = RNG.integers(0, most + 1, (6, 8, channels))
    values[0, 0], values[0, 1] = 0, most
    found = read_picture(tiff(values, bits, photometric, order)).permute(1, 2, 0).numpy()
    expected = (most - values if photometric == 0 else values) / most * 255
    assert np.abs(found - expected).max() <= 0.501


def test_tiff_through_libtiff(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = RNG.integers(0, 65536, (16, 24, 3)).astype(np.uint16)
    for compression in ("zlib", None):
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", compression=compression)
        assert np.array_equal(read_picture(tmp_path / "a.tif").permute(1, 2, 0).numpy(), np.rint(values / 257))
        tifffile.imwrite(tmp_path / "a.tif", values[..., 0], photometric="miniswhite", compression=compression)
        assert np.array_equal(read_picture(tmp_path / "a.tif")[0].numpy(), np.rint((65535 - values[..., 0].astype(int)) / 257))
        tifffile.imwrite(tmp_path / "a.tif", (values[..., 0] >> 8).astype(np.uint8), photometric="miniswhite", compression=compression)
        assert np.array_equal(read_picture(tmp_path / "a.tif")[0].numpy(), 255 - (values[..., 0] >> 8))


@pytest.mark.parametrize(
    ("bits", "photometric", "channels", "order", "sample_format"),
    [(16, 0, 1, ">", 1), (12, 0, 1, "<", 1), (16, 5, 4, "<", 1), (16, 1, 1, "<", 2), (32, 1, 1, "<", 1), (12, 2, 3, "<", 1)],
)
def test_other_tiffs_are_refused_by_name(bits: int, photometric: int, channels: int, order: str, sample_format: int) -> None:
    values = RNG.integers(0, 2**bits, (4, 4, channels))
    with pytest.raises(ValueError, match="scan: expected "):
        read_picture(tiff(values, bits, photometric, order, sample_format), name="scan")


@pytest.mark.parametrize("compression", ["zlib", None])
def test_planes_and_signed_numbers_are_refused_by_name(tmp_path: Path, compression: str | None) -> None:
    """pillow takes 16 bits for 8 in planes of their own, and signed bytes for others."""
    tifffile = pytest.importorskip("tifffile")
    values = RNG.integers(0, 65536, (3, 16, 24)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="rgb", planarconfig="separate", compression=compression)
    with pytest.raises(ValueError, match=r"a\.tif: expected 8 bits a channel, or 16 of grey, RGB or RGBA"):
        read_picture(tmp_path / "a.tif")
    upper = (values >> 8).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", upper, photometric="rgb", planarconfig="separate", compression=compression)
    assert np.array_equal(read_picture(tmp_path / "a.tif").numpy(), upper)
    tifffile.imwrite(tmp_path / "a.tif", (values[0] >> 9).astype(np.int8), compression=compression)
    with pytest.raises(ValueError, match=r"a\.tif: expected 8 or 16 bits a channel, got pillow's mode L, whose range is not known"):
        read_picture(tmp_path / "a.tif")


def test_jpeg_2000() -> None:
    values = RNG.integers(0, 65536, (32, 32)).astype(np.uint16)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "JPEG2000", irreversible=False)
    assert np.array_equal(read_picture(file.getvalue(), grey=True)[0].numpy(), np.rint(values / 257))
    file = io.BytesIO()
    Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB").save(file, "JPEG2000")
    assert np.abs(read_picture(file.getvalue())[0].numpy() - (values >> 8).astype(float)).mean() < 3
    content = bytearray(file.getvalue())
    begin = content.index(b"\xff\x4f\xff\x51")
    content[begin + 42 : begin + 51 : 3] = bytes([11] * 3)  # 12 bits a component
    with pytest.raises(ValueError, match="scan: expected 8 bits a channel, or 16 of grey, RGB or RGBA"):
        read_picture(bytes(content), name="scan")


def test_other_deep_files_are_refused_by_name() -> None:
    values = RNG.integers(0, 65536, (4, 6)).astype(">u2")
    sgi = struct.pack(">HBBHHHH", 474, 0, 2, 3, 6, 4, 3).ljust(512, b"\0") + np.stack([values] * 3).tobytes()
    cards = {"SIMPLE": "T", "BITPIX": 16, "NAXIS": 2, "NAXIS1": 6, "NAXIS2": 4}
    fits = "".join(f"{k:8}= {v:>20}".ljust(80) for k, v in cards.items()) + "END"
    for content in (sgi, fits.ljust(2880).encode() + values.tobytes().ljust(2880, b"\0")):
        with pytest.raises(ValueError, match=r"scan: expected 8 bits a channel"):
            read_picture(content, name="scan")


def test_a_deep_animation_is_refused_by_name() -> None:
    frames = [Image.fromarray(np.full((4, 4), v, np.uint16)) for v in (0, 65535)]
    file = io.BytesIO()
    frames[0].save(file, "PNG", save_all=True, append_images=frames[1:], duration=50)
    with pytest.raises(ValueError, match="clip: expected an animation of 8 bits a channel, got one of more"):
        read_animation(file.getvalue(), name="clip")

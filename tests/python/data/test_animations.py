# SPDX-License-Identifier: Apache-2.0
"""Animations: every frame whole and as it is shown, for its own time; what is written comes back bit for bit."""

import io
import struct

import pytest
import torch

from semdiff.data.animations import read_animation, write_animation
from semdiff.data.pictures import to_picture
from tests.python.photographs import photograph

Image = pytest.importorskip("PIL.Image")

DURATIONS = [40.0, 100.0, 250.0]


@pytest.fixture(scope="module")
def frames():
    """Three of few colours, which a GIF's palette holds."""
    image = (photograph("chelsea", 40)[0] * 255).to(torch.uint8)
    return torch.stack([image[:, i : i + 12, i : i + 16] for i in (0, 9, 20)])


def encoded(pictures, kind, **options):
    file = io.BytesIO()
    pictures[0].save(file, kind, save_all=True, append_images=pictures[1:], **options)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_frames_and_times_are_the_files(frames, kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    found = read_animation(encoded([to_picture(f) for f in frames], kind, duration=[40, 100, 250], loop=0, **options))
    assert torch.equal(found.frames, frames)
    assert found.durations == DURATIONS
    assert found.plays == 0


def test_what_is_written_comes_back(frames):
    for images in (frames, frames[:, :1]):
        file = io.BytesIO()
        write_animation(file, [to_picture(f) for f in images], DURATIONS, 3)
        found = read_animation(file.getvalue(), grey=images.shape[1] == 1)
        assert torch.equal(found.frames, images)
        assert found.durations == DURATIONS
        assert found.plays == 3


def test_equal_frames_keep_their_time(frames):
    file = io.BytesIO()
    write_animation(file, [to_picture(frames[i]) for i in (0, 0, 1)], DURATIONS)
    found = read_animation(file.getvalue())
    assert sum(found.durations) == sum(DURATIONS)


def test_a_still_picture_is_one_frame(frames):
    file = io.BytesIO()
    write_animation(file, [to_picture(frames[0])], [0.0])
    assert torch.equal(read_animation(file.getvalue()).frames, frames[:1])


def test_the_picture_for_those_who_know_no_animations_is_no_frame(frames):
    pictures = [to_picture(f) for f in frames]
    found = read_animation(encoded(pictures, "PNG", default_image=True, duration=[40, 100]))
    assert torch.equal(found.frames, frames[1:])
    assert found.durations == DURATIONS[:2]


def test_a_frame_that_changes_a_part_is_shown_whole(frames):
    changed = frames[0].clone()
    changed[:, :3, :3] = 255
    found = read_animation(encoded([to_picture(frames[0]), to_picture(changed)], "GIF", duration=50))
    assert torch.equal(found.frames, torch.stack([frames[0], changed]))


def test_transparency_shows_the_background():
    clear = [Image.new("RGBA", (4, 4), (200, 0, 0, alpha)) for alpha in (255, 0)]
    found = read_animation(encoded(clear, "PNG", duration=50), background="black")
    assert found.frames[0, 0].unique().tolist() == [200]
    assert found.frames[1].unique().tolist() == [0]


@pytest.mark.parametrize(
    ("kind", "loop", "plays"),
    [("GIF", None, 1), ("GIF", 0, 0), ("GIF", 1, 2), ("GIF", 4, 5), ("PNG", 0, 0), ("PNG", 1, 1), ("PNG", 4, 4), ("WEBP", 4, 4)],
)
def test_how_often_it_is_shown(frames, kind, loop, plays):
    """GIF's count is of what follows the first time, and without one it is shown once; APNG and WebP count all."""
    options = {} if loop is None else {"loop": loop}
    assert read_animation(encoded([to_picture(f) for f in frames], kind, duration=50, **options)).plays == plays


def gif(screen, *frames):
    """Of (left, top, width, height, colour of black and white), each of one colour (GIF 89a)."""
    content = b"GIF89a" + struct.pack("<HHBBB", *screen, 0x80, 0, 0) + bytes([0, 0, 0, 255, 255, 255])
    for *place, colour in frames:
        # Codes of 3 bits; a clear code before each pixel keeps them so: clear 4, the colour, and the end, 5.
        codes = [code for _ in range(place[2] * place[3]) for code in (4, colour)] + [5]
        bits = sum(code << 3 * i for i, code in enumerate(codes)).to_bytes(3 * len(codes) // 8 + 1, "little")
        blocks = b"".join(bytes([len(part)]) + part for part in (bits[i : i + 255] for i in range(0, len(bits), 255)))
        content += b"," + struct.pack("<HHHHB", *place, 0) + b"\x02" + blocks + b"\0"
    return content + b";"


def test_what_lies_beyond_the_screen_is_not_shown():
    """As browsers show it: later frames are cut, a first one makes the screen larger."""
    found = read_animation(gif((4, 3), (0, 0, 4, 3, 0), (2, 1, 5, 6, 1), (6, 6, 1, 1, 1))).frames
    expected = torch.zeros(3, 3, 4, dtype=torch.uint8)
    expected[1:, 1:, 2:] = 255
    assert torch.equal(found[:, 0], expected)
    assert read_animation(gif((4, 3), (0, 0, 6, 5, 1), (0, 0, 2, 2, 0))).frames.shape == (2, 3, 5, 6)


def test_pages_are_no_frames(frames):
    with pytest.raises(ValueError, match=r"scan: expected a picture or an animation \(GIF, PNG, WEBP, AVIF\), got TIFF of 3 pages"):
        read_animation(encoded([to_picture(f) for f in frames], "TIFF"), name="scan")

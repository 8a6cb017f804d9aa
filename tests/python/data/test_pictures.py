# SPDX-License-Identifier: Apache-2.0
"""Any picture file as a tensor: what the file says, in eight bits, upright, in one colour space; and clear words for what is none."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch

from semdiff.data import read_folder, read_folders, read_picture
from semdiff.data.animations import read_animation
from semdiff.data.pictures import shrink, to_picture
from tests.python.photographs import photograph

Image = pytest.importorskip("PIL.Image")


def encoded(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def colour():
    return (photograph("chelsea", 32)[0, :, :24] * 255).round().to(torch.uint8)  # 24 high, 32 wide


def test_pixels_survive_a_lossless_file(colour):
    assert torch.equal(read_picture(encoded(to_picture(colour))), colour)
    assert torch.equal(read_picture(encoded(to_picture(colour.float() / 255))), colour)


def test_grey_is_repeated_and_colour_becomes_luma(colour):
    grey = read_picture(encoded(to_picture(colour)), grey=True)
    luma = (colour.double() * torch.tensor([0.299, 0.587, 0.114], dtype=torch.float64).view(3, 1, 1)).sum(0)
    assert grey.shape == (1, 24, 32)
    assert (grey[0] - luma).abs().max() <= 1
    assert torch.equal(read_picture(encoded(to_picture(grey))), grey.expand(3, -1, -1))
    assert torch.equal(read_picture(encoded(to_picture(grey)), grey=None), grey)


UPRIGHT = {  # what undoes each of EXIF's orientations
    1: lambda x: x,
    2: lambda x: x.flip(2),
    3: lambda x: x.rot90(2, (1, 2)),
    4: lambda x: x.flip(1),
    5: lambda x: x.transpose(1, 2),
    6: lambda x: x.rot90(-1, (1, 2)),
    7: lambda x: x.rot90(2, (1, 2)).transpose(1, 2),
    8: lambda x: x.rot90(1, (1, 2)),
}


@pytest.mark.parametrize(("orientation", "turn"), UPRIGHT.items())
def test_turned_as_exif_says(colour, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert torch.equal(read_picture(encoded(to_picture(colour), exif=exif)), turn(colour))


def test_transparency_shows_the_background(colour):
    alpha = torch.full((1, 24, 32), 255, dtype=torch.uint8)
    alpha[:, :5] = 0
    rgba = Image.fromarray(torch.cat([colour, alpha]).permute(1, 2, 0).contiguous().numpy(), "RGBA")
    for background, value in (("white", 255), ("black", 0)):
        found = read_picture(encoded(rgba), background=background)
        assert bool((found[:, :5] == value).all())
        assert torch.equal(found[:, 5:], colour[:, 5:])


@pytest.mark.parametrize("mode", ["LA", "PA", "P"])
def test_transparency_of_grey_and_palettes(mode):
    picture = Image.new("RGBA", (4, 4), (255, 255, 255, 51)).convert(mode) if mode != "P" else Image.new("P", (4, 4), 0)
    content = encoded(picture, "PNG", transparency=0) if mode == "P" else encoded(picture, "TIFF")
    value = 0 if mode == "P" else 51
    assert set(read_picture(content, background="black").flatten().tolist()) == {value}


def test_sixteen_bits_are_rounded(colour):
    deep = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32) * 85
    portable = b"P5\n32 24\n65535\n" + deep.astype(">u2").tobytes()
    for content in (encoded(Image.fromarray(deep)), encoded(Image.fromarray(deep), "TIFF"), portable):
        found = read_picture(content, grey=True)
        assert np.array_equal(found[0].numpy(), np.rint(deep / 257).astype(np.uint8))
        assert torch.equal(read_picture(content, grey=None), found)


def test_cmyk_and_palettes_become_rgb(colour):
    palette = to_picture(colour).quantize(16)
    expected = torch.from_numpy(np.array(palette.convert("RGB"))).permute(2, 0, 1)
    assert torch.equal(read_picture(encoded(palette)), expected)
    found = read_picture(encoded(to_picture(colour).convert("CMYK"), "JPEG", quality=100))
    assert (found.float() - colour.float()).abs().mean() < 4


def test_area_averaging_of_whole_blocks_is_their_mean(colour):
    blocks = colour.float().unfold(1, 4, 4).unfold(2, 4, 4).mean((3, 4))
    assert (shrink(colour, 4).float() - blocks).abs().max() <= 1  # pillow rounds twice, after each direction


def test_what_is_no_picture_is_refused_by_name(colour, tmp_path):
    whole = encoded(to_picture(colour))
    for content, words in ((b"no picture", "something that pillow does not know"), (whole[: len(whole) // 2], "does not decode")):
        (tmp_path / "bad.png").write_bytes(content)
        with pytest.raises(ValueError, match=rf"bad\.png: expected a picture.*{words}"):
            read_picture(tmp_path / "bad.png")
    frames = [to_picture(colour), to_picture(255 - colour)]
    with pytest.raises(ValueError, match="bird: expected a single picture, got an animation of 2 frames"):
        read_picture(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), name="bird")
    huge = bytearray(whole)
    huge[16:24] = struct.pack(">2I", 50_000, 50_000)  # the size in PNG's header, and its checksum
    huge[29:33] = struct.pack(">I", zlib.crc32(huge[12:29]))
    with pytest.raises(ValueError, match="does not decode"):
        read_picture(bytes(huge))
    with pytest.raises(FileNotFoundError):
        read_picture(tmp_path / "absent.png")


def test_a_folder_is_read_with_the_folders_below(colour, tmp_path):
    (tmp_path / "below").mkdir()
    to_picture(colour).save(tmp_path / "below" / "b.png")
    to_picture(255 - colour).save(tmp_path / "a.png")
    (tmp_path / "notes.txt").write_text("no picture")
    found = read_folder(tmp_path)
    assert list(found) == ["a.png", "below/b.png"]
    assert torch.equal(found["below/b.png"], colour)
    assert list(read_folder(tmp_path, limit=1)) == ["a.png"]


def test_several_folders_are_read_as_one(colour, tmp_path):
    for name, pixels in (("one", colour), ("other", 255 - colour)):
        (tmp_path / name).mkdir()
        to_picture(pixels).save(tmp_path / name / "a.png")
    one, other = tmp_path / "one", tmp_path / "other"
    found = read_folders([one, other])
    assert list(found) == [f"{one.as_posix()}/a.png", f"{other.as_posix()}/a.png"]
    assert torch.equal(found[f"{other.as_posix()}/a.png"], 255 - colour)
    assert list(read_folders([one])) == list(read_folder(one))
    with pytest.raises(ValueError, match="folders: expected each folder once"):
        read_folders([one, other, tmp_path / "other" / ".." / "one"])


@pytest.mark.parametrize("error", [RuntimeError("planes"), KeyError("x"), EOFError(), struct.error("short"), MemoryError()])
def test_whatever_a_decoder_raises_names_the_file(colour, tmp_path, monkeypatch, error):
    from PIL import ImageFile

    def fail(_):
        raise error

    (tmp_path / "some.bmp").write_bytes(encoded(to_picture(colour), "BMP"))
    monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    for read in (read_picture, read_animation):
        with pytest.raises(ValueError, match=r"some\.bmp: expected a picture, but it does not decode \("):
            read(tmp_path / "some.bmp")


def test_a_damaged_avif_names_the_file(colour):
    features = pytest.importorskip("PIL.features")
    if not features.check("avif"):
        pytest.skip("this pillow has no AVIF")
    content = bytearray(encoded(to_picture(colour), "AVIF"))
    begin = content.index(b"mdat") + 4
    content[begin:] = bytes(len(content) - begin)
    with pytest.raises(ValueError, match="held: expected a picture, but it does not decode"):
        read_picture(bytes(content), name="held")

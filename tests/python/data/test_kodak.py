# SPDX-License-Identifier: Apache-2.0
"""Kodak's 24 pictures, from a folder of any lossless format. The files here are made by the tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("PIL")

from semdiff.data import kodak
from semdiff.data.kodak import FOLDER_VARIABLE
from semdiff.data.pictures import to_picture

UPRIGHT = (4, 9, 10, 17, 18, 19)
SHARED = Path(__file__).parents[4] / "shared" / "data" / "kodak"  # beside the checkout, where it lies there


def pixels(i: int) -> torch.Tensor:
    """A picture of the suite's size that tells rows, columns, colours and pictures apart, and that no lossy format keeps."""
    height, width = (768, 512) if i in UPRIGHT else (512, 768)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([rows + i, columns * 7, (rows * columns) % 251]).remainder(256).to(torch.uint8)


def save(folder: Path, i: int, kind: str, **options: object) -> Path:
    path = folder / f"kodim{i:02}.{kind}"
    to_picture(pixels(i)).save(path, **options)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All formats at once: lossless WebP (plain, and extended by metadata), PNG, TIFF, BMP, PPM."""
    place = tmp_path_factory.mktemp("kodak")
    for i in range(1, 25):
        if i == 1:
            save(place, i, "webp", lossless=True, method=0, quality=0, xmp=b"<x/> of odd length")
        elif i < 5:
            save(place, i, "webp", lossless=True, method=0, quality=0)
        elif i == 5:
            save(place, i, "tiff", compression="tiff_lzw")
        elif i == 6:
            save(place, i, "tif")
        elif i == 7:
            save(place, i, "ppm")
        elif i < 20:
            save(place, i, "bmp")
        else:
            save(place, i, "png", compress_level=1)
    return place


def test_every_lossless_format_gives_the_same_pixels(folder: Path) -> None:
    found = kodak(folder)
    assert list(found) == [f"kodim{i:02}" for i in range(1, 25)]
    for i, picture in enumerate(found.values(), 1):
        assert torch.equal(picture, pixels(i)), i


def test_the_folder_comes_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(FileNotFoundError, match=r"folder: expected .* \$SEMDIFF_KODAK, got neither; they are at https://r0k\.us"):
        kodak()
    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    assert torch.equal(kodak()["kodim24"], pixels(24))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("webp", {"quality": 100}),
        ("webp", {"quality": 100, "xmp": b"<x/> of odd length"}),
        ("tiff", {"compression": "jpeg"}),
        ("png", {"format": "JPEG"}),
        ("bmp", {"format": "WEBP"}),
    ],
)
def test_a_lossy_picture_is_refused(kind: str, options: dict[str, object], tmp_path: Path) -> None:
    save(tmp_path, 1, kind, **options)
    with pytest.raises(ValueError, match=rf"kodim01\.{kind}: expected a picture without loss"):
        kodak(tmp_path)


def test_a_missing_picture_and_one_of_another_size_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"kodim01\.png: expected Kodak's 24 pictures, .* \(bmp, png, ppm, tif, tiff, webp\)"):
        kodak(tmp_path)
    to_picture(torch.zeros(3, 8, 9)).save(tmp_path / "kodim01.webp", lossless=True)
    with pytest.raises(ValueError, match=r"kodim01\.webp: expected 768x512 or 512x768 pixels, got 9x8"):
        kodak(tmp_path)
    (tmp_path / "kodim01.webp").write_bytes(b"RIFF\4\0\0\0WEBP")
    with pytest.raises(ValueError, match=r"kodim01\.webp"):
        kodak(tmp_path)


def test_an_evaluation_turns_the_upright_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semdiff.evaluation.image_sets import load_images

    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    found = load_images("kodak", 4)
    assert found.images.shape == (4, 3, 512, 768)
    assert torch.equal((found.images[0] * 255).round().to(torch.uint8), pixels(1))
    # A quarter to the left: what was the upper right corner is the upper left one, and the first row is the last column, from its top on.
    turned = (found.images[3] * 255).round().to(torch.uint8)
    assert torch.equal(turned[:, 0], pixels(4)[:, :, -1])
    assert torch.equal(turned[:, :, 0], pixels(4)[:, 0].flip(1))


def test_an_evaluation_finds_no_references_among_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kodak's pictures have no training split; where others are sent they are references as they are."""
    pytest.importorskip("scipy")
    from semdiff.evaluation import sweep
    from semdiff.evaluation.image_sets import load_references
    from tests.python.evaluation_systems import Uncoded

    monkeypatch.setenv(FOLDER_VARIABLE, str(folder))
    assert load_references("kodak").images.shape == (24, 3, 512, 768)
    with pytest.raises(ValueError, match=r"references: expected .* Kodak's, which have no training split; got nothing"):
        sweep(systems={"uncoded": Uncoded()}, snr_db=10, metrics=["kid_patches_unpaired"], data="kodak", images=1)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the suite itself")
def test_the_suite_itself() -> None:
    found = kodak(SHARED)
    assert [i for i, p in enumerate(found.values(), 1) if p.shape[1] == 768] == list(UPRIGHT)
    assert all(len(p.unique()) > 200 for p in found.values())

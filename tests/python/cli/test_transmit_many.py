# SPDX-License-Identifier: Apache-2.0
"""semdiff transmit of many pictures: read one after another, in bounded memory, and those before a damaged one are written."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from semdiff.cli import picture_files
from semdiff.data.animations import Animation
from semdiff.data.pictures import to_picture
from tests.python.cli.test_cli import _here as _here
from tests.python.cli.test_transmit import any_size as any_size
from tests.python.cli.test_transmit import call, report
from tests.python.cli.test_transmit import model as model
from tests.python.cli.test_transmit import shirt as shirt
from tests.python.photographs import photograph


@pytest.fixture
def threads_of() -> Iterator[Callable[[int], None]]:
    """Sets torch's threads, and so how many pictures are sent at once."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def folder_of(tmp_path: Path, count: int) -> list[Path]:
    """Pictures of which no two neighbours share a batch."""
    files = [tmp_path / f"{i:02d}.png" for i in range(count)]
    for i, file in enumerate(files):
        to_picture(photograph("coffee", 64)[0, :, : 16 + i, :16]).save(file)
    return files


@pytest.mark.parametrize("at_once", [1, 3])
def test_of_many_pictures_few_are_in_memory(
    any_size: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads_of: Callable[[int], None], at_once: int
) -> None:
    """At work are at_once; one more is sent and waits, one is read ahead, and one is being written."""
    live, most, load = 0, 0, picture_files.load_animation

    def gone() -> None:
        nonlocal live
        live -= 1

    def counted_load(*arguments: Any, **options: Any) -> Animation:
        nonlocal live, most
        pixels = load(*arguments, **options).frames.numpy().copy()  # a tensor made of it keeps it as long as its memory is used
        weakref.finalize(pixels, gone)
        live += 1
        most = max(most, live)
        return Animation(torch.from_numpy(pixels), [0.0])

    monkeypatch.setattr(picture_files, "load_animation", counted_load)
    threads_of(at_once)
    files = folder_of(tmp_path, 20)
    said = report(*files, "--model", any_size, "--cbr", "1/24", "--steps", "1", "--snr", "0,5")
    assert len(said["images"]) == 40
    assert at_once <= most <= at_once + 3
    assert live == 0


@pytest.mark.parametrize("at_once", [1, 3])
def test_pictures_before_a_damaged_one_are_written(any_size: Path, tmp_path: Path, threads_of: Callable[[int], None], at_once: int) -> None:
    threads_of(at_once)
    *whole, last = folder_of(tmp_path, 4)
    last.write_bytes(last.read_bytes()[:-200])  # its header is whole
    done = call(*whole, last, "--model", any_size, "--cbr", "1/24", "--steps", "1")
    assert done.exit_code == 2
    assert f"{last}: expected a picture, but it does not decode" in done.stderr.replace("\n", "")
    assert sorted(p.name for p in Path("received").iterdir()) == [p.name for p in whole]
    report(*whole, "--model", any_size, "--cbr", "1/24", "--steps", "1", "--out", "alone")
    assert all((Path("received") / p.name).read_bytes() == (Path("alone") / p.name).read_bytes() for p in whole)


def test_what_a_header_tells_is_refused_before_anything_is_sent(model: Path, shirt: Path, tmp_path: Path) -> None:
    to_picture(photograph("coffee", 64)[0]).save(tmp_path / "large.png")
    (tmp_path / "text.png").write_text("no picture")
    for bad, words in (("large.png", "expected 28x28 pixels"), ("text.png", "got something that pillow does not know")):
        done = call(shirt, tmp_path / bad, "--model", model)
        assert done.exit_code == 2
        assert words in " ".join(done.stderr.split())
        assert not Path("received").exists()


def test_a_picture_that_exif_turns_has_the_size_that_is_seen(model: Path, tmp_path: Path) -> None:
    """A model of one size that is no square takes a picture that lies on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    to_picture(photograph("coffee", 64)[0, :, :20, :40]).save(tmp_path / "side.jpg", exif=exif)
    assert picture_files.measure_frames(tmp_path / "side.jpg", (3, 40, 20)) == (1, 40, 20)
    assert picture_files.load_animation(tmp_path / "side.jpg", (3, 40, 20)).frames.shape == (1, 3, 40, 20)
    with pytest.raises(ValueError, match=r"side.jpg: expected 30x40 pixels, .* got 40x20"):
        picture_files.measure_frames(tmp_path / "side.jpg", (3, 40, 30))


def test_a_file_that_loses_frames_while_it_is_sent_is_told(any_size: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [to_picture(f) for f in torch.rand(3, 3, 16, 24, generator=torch.Generator().manual_seed(0))]
    frames[0].save(tmp_path / "clip.png", save_all=True, append_images=frames[1:], duration=70)
    read = picture_files.read_animation

    def shorter(*arguments: Any, **options: Any) -> Animation:
        clip = read(*arguments, **options)
        return clip._replace(frames=clip.frames[:2])

    monkeypatch.setattr(picture_files, "read_animation", shorter)
    done = call(tmp_path / "clip.png", "--model", any_size)
    assert done.exit_code == 2
    assert "expected 3 frames as before, got 2; the file was changed" in " ".join(done.stderr.split())

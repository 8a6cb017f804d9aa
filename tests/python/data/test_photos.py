# SPDX-License-Identifier: Apache-2.0
"""The photograph set: its list, its files in Debian's packages, and the readers of CIFAR-10 and Kodak."""

import json
import re
import struct
from pathlib import Path

import pytest
import torch

import semdiff
from semdiff.data import kodak, photo_list, photos, read_folder
from semdiff.data.photos import FOLDER_VARIABLE, TEST_WIDTH, missing_packages
from semdiff.data.pictures import to_picture
from semdiff.data.rcc import read_rcc
from semdiff.evaluation import sweep
from semdiff.evaluation.image_sets import load_images
from semdiff.transmission.ledger import Ledger, Transmission

needs_photos = pytest.mark.skipif(bool(missing_packages()), reason=f"needs Debian's packages {', '.join(missing_packages())}")


def test_the_list_is_split_by_photograph_and_trains_on_free_ones_only():
    listed = photo_list()
    assert len({p.name for p in listed}) == len({p.sha256 for p in listed}) == len(listed) == 234
    assert sum(p.split == "test" for p in listed) == 24
    assert {p.licence for p in listed if p.split == "train"} == {"public domain", "CC0-1.0"}
    assert all(p.author and p.source.startswith("https://") for p in listed)
    assert all(re.fullmatch(r"[0-9a-f]{64}", p.sha256) for p in listed)


@pytest.mark.slow
@needs_photos
@pytest.mark.parametrize(("split", "count"), [("train", 490), ("test", 24)])
def test_photographs_are_read_checked_and_kept(split, count, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = photos(split)
    assert len(found) == count
    assert all(p.dtype == torch.uint8 and p.shape[0] == 3 and min(p.shape[1:]) >= 64 for p in found.values())
    assert max(p.shape[2] for p in found.values()) <= (TEST_WIDTH if split == "test" else 1000)
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path / "nowhere"))  # only the cache is left
    again = photos(split)
    assert list(again) == list(found)  # crops are drawn by number: a training that built the set must go on with the kept one
    assert all(torch.equal(found[name], again[name]) for name in found)
    (cached,) = (tmp_path / "semdiff").iterdir()
    cached.write_bytes(cached.read_bytes()[:-1])
    with pytest.raises(FileNotFoundError, match="apt-get install --no-install-recommends gcompris-qt-data"):
        photos(split)


@needs_photos
def test_an_altered_photograph_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for photo in photo_list():
        place = tmp_path / photo.file
        place.parent.mkdir(parents=True, exist_ok=True)
        if not place.exists():
            place.symlink_to(f"/usr/share/{photo.file}")
    flower = tmp_path / next(p.file for p in photo_list() if p.name == "libjxl/flower")
    content = bytearray(flower.read_bytes())
    content[-100] ^= 1
    flower.unlink()
    flower.write_bytes(content)
    with pytest.raises(ValueError, match=r"flower\.png : expected libjxl/flower of sha256"):
        photos("test", tmp_path)


def test_unknown_split():
    with pytest.raises(ValueError, match="split: expected train or test, got 'validation'"):
        photos("validation")


def rcc(files):
    """A Qt resource file, version 1, of one folder with these files."""
    nodes, data, names = [], b"", b""

    def named(name):
        nonlocal names
        at = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        return at

    nodes.append(struct.pack(">IHII", 0, 2, 1, 1))
    nodes.append(struct.pack(">IHII", named("pictures"), 2, len(files), 2))
    for name, content in files.items():
        nodes.append(struct.pack(">IHHHI", named(name), 0, 0, 0, len(data)))
        data += struct.pack(">I", len(content)) + content
    tree = b"".join(nodes)
    return b"qres" + struct.pack(">4I", 1, 20, 20 + len(tree), 20 + len(tree) + len(data)) + tree + data + names


def test_resource_files(tmp_path):
    path = tmp_path / "some.rcc"
    content = rcc({"a.webp": b"first", "b.webp": b"and the second"})
    path.write_bytes(content)
    assert {k: bytes(v) for k, v in read_rcc(path).items()} == {"pictures/a.webp": b"first", "pictures/b.webp": b"and the second"}
    version_9 = content[:7] + b"\x09" + content[8:]
    for damaged, words in ((b"none", "begins with qres"), (content[:40], "cut off"), (content[:-3], "cut off"), (version_9, "version")):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"some\.rcc: expected .*{words}"):
            read_rcc(path)


def test_kodak(tmp_path):
    pytest.importorskip("PIL")
    for i in range(1, 25):
        size = (512, 768) if i % 2 else (768, 512)
        to_picture(torch.full((3, *size), i, dtype=torch.uint8)).save(tmp_path / f"kodim{i:02}.png")
    found = kodak(tmp_path)
    assert [int(p[0, 0, 0]) for p in found.values()] == list(range(1, 25))
    to_picture(torch.zeros(3, 8, 8)).save(tmp_path / "kodim09.png")
    with pytest.raises(ValueError, match=r"kodim09\.png: expected 768x512 or 512x768 pixels, got 8x8"):
        kodak(tmp_path)
    (tmp_path / "kodim24.png").unlink()
    (tmp_path / "kodim09.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"kodim09\.png: expected Kodak's 24 pictures"):
        kodak(tmp_path)


def test_every_licence_and_author_stands_in_the_docs():
    rows = (Path(__file__).parents[3] / "docs" / "photos.md").read_text("utf-8").splitlines()[7:]
    cells = [tuple(cell.strip() for cell in row.split("|")[1:5]) for row in rows]
    assert cells == [(p.name, p.split, p.licence, p.author.replace("|", "/")) for p in photo_list()]


@pytest.mark.slow
@needs_photos
def test_the_command_builds_the_set_and_writes_pictures(monkeypatch, tmp_path, capsys):
    cli = pytest.importorskip("semdiff.cli.app")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(SystemExit, match="0"):
        cli.app(["data", "photos", "--out", str(tmp_path / "out"), "--json"])
    report = json.loads(capsys.readouterr().out)
    assert [(s["split"], s["photographs"], s["pictures"]) for s in report["splits"]] == [("train", 210, 490), ("test", 24, 24)]
    for split in ("train", "test"):
        written = read_folder(tmp_path / "out" / split)
        expected = {f"{name.replace('/', '-')}.png": pixels for name, pixels in photos(split).items()}
        assert written.keys() == expected.keys()
        assert all(torch.equal(written[name], expected[name]) for name in written)


@needs_photos
def test_held_out_photographs_are_evaluated_at_their_middle():
    pytest.importorskip("torchmetrics")
    found = load_images("photos", 3)
    assert found.images.shape == (3, 3, 432, 480)
    whole = photos("test")["erase/bee"].float() / 255
    assert whole.shape == (3, 432, 768)
    torch.testing.assert_close(found.images[0], whole[:, :, 144:624])
    table = sweep(systems={"any size": AnySize()}, data="photos", images=2, snr_db=40.0, metrics=["psnr", "ms_ssim"])
    assert 39.9 < table.rows[0]["psnr"] < 40.6


class AnySize:
    """Pixels over the air, one complex number each: PSNR is the SNR of a picture in [0, 1], before the cut."""

    image_shape = (3, None, None)

    def transmit(self, images, snr_db, cbr=None, channel=None, key=None):
        noisy = (images + 10 ** (-snr_db / 20) * semdiff.normal(images.shape, key)).clamp(0, 1)
        ledger = Ledger(payload=images[0].numel(), source_values=images[0].numel())
        each = torch.full((len(images),), snr_db, dtype=torch.float64)
        return Transmission(noisy, ledger, each, each, 0, 0.0)

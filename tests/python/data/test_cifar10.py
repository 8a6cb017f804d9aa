# SPDX-License-Identifier: Apache-2.0
"""The reader of CIFAR-10: both layouts, what is left out, and folders that are not the data set. The records are made here."""

import hashlib

import numpy as np
import pytest
import torch

from semdiff.data import cifar10
from semdiff.data.cifar10 import CIFAR10_CLASSES, CIFAR10_VARIABLE
from semdiff.data.pictures import to_picture

module = __import__("semdiff.data.cifar10", fromlist=["_SMALLEST"])


@pytest.fixture
def records():
    found = np.random.default_rng(0).integers(0, 256, (10_000, 3073), np.uint8)
    found[:, 0] %= 10
    return found


@pytest.fixture
def recognised(records, monkeypatch):
    """The made-up records are taken for the test split."""
    smallest = sorted(hashlib.sha256(record.tobytes()).hexdigest()[:8] for record in records)[:32]
    monkeypatch.setitem(module._SMALLEST, "test", " ".join(smallest))


def test_the_binary_version(records, recognised, tmp_path, monkeypatch):
    records.tofile(tmp_path / "test_batch.bin")
    images, labels = cifar10("test", tmp_path)
    assert torch.equal(labels, torch.from_numpy(records[:, 0]).long())
    assert images.shape == (10_000, 3, 32, 32)
    assert int(images[7, 2, 3, 5]) == records[7, 1 + 2 * 1024 + 3 * 32 + 5]  # planes of red, green, blue, row by row
    monkeypatch.setenv(CIFAR10_VARIABLE, str(tmp_path))
    assert torch.equal(cifar10("test").images, images)
    with pytest.raises(FileNotFoundError, match=r"data_batch_1\.bin: expected CIFAR-10's binary version"):
        cifar10("train", tmp_path)
    (tmp_path / "test_batch.bin").write_bytes(b"short")
    with pytest.raises(ValueError, match="expected 10000 records of 3073 bytes, got 5 bytes"):
        cifar10("test", tmp_path)
    with pytest.raises(ValueError, match="split: expected train or test"):
        cifar10("validation", tmp_path)


def test_another_data_set_of_the_same_form_is_refused(records, tmp_path):
    records.tofile(tmp_path / "test_batch.bin")
    with pytest.raises(ValueError, match="expected CIFAR-10's test images, got others of the same form"):
        cifar10("test", tmp_path)


def test_listed_images_are_left_out(records, recognised, tmp_path):
    records.tofile(tmp_path / "test_batch.bin")
    kept = np.ones(10_000, bool)
    kept[[3, 722]] = False
    np.save(tmp_path / "test_lossless.npy", kept)
    images, labels = cifar10("test", tmp_path)
    assert len(images) == len(labels) == 9_998
    assert torch.equal(images[3].reshape(-1), torch.from_numpy(records[4, 1:]))
    np.save(tmp_path / "test_lossless.npy", kept[:9])
    with pytest.raises(ValueError, match=r"test_lossless\.npy: expected 10000 truth values, got bool \(9,\)"):
        cifar10("test", tmp_path)
    (tmp_path / "test_lossless.npy").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"test_lossless\.npy: expected a NumPy file of 10000 truth values"):
        cifar10("test", tmp_path)


def test_png_files(records, recognised, tmp_path, monkeypatch):
    pytest.importorskip("PIL")
    for i, record in enumerate(records[:40]):
        place = tmp_path / "test" / CIFAR10_CLASSES[record[0]] / f"{i:05}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        to_picture(torch.from_numpy(record[1:].reshape(3, 32, 32))).save(place)
    with pytest.raises(FileNotFoundError, match="test: expected images 0 to 9999, 9960 are missing, the first is 40"):
        cifar10("test", tmp_path)
    kept = np.zeros(10_000, bool)
    kept[:40] = True
    kept[5] = False
    np.save(tmp_path / "test_lossless.npy", kept)
    own = sorted(hashlib.sha256(record.tobytes()).hexdigest()[:8] for record in records[:40])[:32]
    monkeypatch.setitem(module._SMALLEST, "test", " ".join(own))
    images, labels = cifar10("test", tmp_path)
    expected = torch.from_numpy(records[:40][kept[:40]])
    assert torch.equal(images.reshape(39, -1), expected[:, 1:])
    assert torch.equal(labels, expected[:, 0].long())
    twice = tmp_path / "test" / CIFAR10_CLASSES[(records[7, 0] + 1) % 10] / "7.png"
    twice.parent.mkdir(exist_ok=True)
    to_picture(torch.zeros(3, 32, 32)).save(twice)
    with pytest.raises(ValueError, match="expected one image of each index"):
        cifar10("test", tmp_path)
    twice.rename(twice.with_name("cat.png"))
    with pytest.raises(ValueError, match=r"cat\.png: expected a name that is an index, 0 to 9999"):
        cifar10("test", tmp_path)

# SPDX-License-Identifier: Apache-2.0
"""Fashion-MNIST's reader: the right numbers, and clear words for anything else."""

import gzip
import struct

import numpy as np
import pytest
import torch

from semdiff.data import fashion_mnist, sample_images
from semdiff.data.fashion_mnist import DEBIAN_FOLDER, MD5
from semdiff.data.idx import parse_idx

needs_data = pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="needs Debian's package dataset-fashion-mnist")


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_idx_gives_back_what_was_written():
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert np.array_equal(parse_idx(idx(array)), array)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "two zero bytes"),
        (b"\x1f\x8b\x08\x00", "two zero bytes"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "0x08"),
        (b"\0\0\x08\x03\0\0", "header of 16 bytes"),
        (idx(np.zeros((2, 3), np.uint8))[:-1], "expected 18 bytes"),
        (idx(np.zeros((2, 3), np.uint8)) + b"x", "expected 18 bytes"),
    ],
)
def test_idx_refuses_what_is_none(content, words):
    with pytest.raises(ValueError, match=words):
        parse_idx(content, "some file")


def test_missing_folder_names_the_package(tmp_path):
    with pytest.raises(FileNotFoundError, match="dataset-fashion-mnist"):
        fashion_mnist("test", tmp_path)


def test_folder_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("SEMDIFF_FASHION_MNIST", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        fashion_mnist()


def test_another_data_set_and_damaged_files_are_refused(tmp_path):
    name = "t10k-images-idx3-ubyte"
    (tmp_path / name).write_bytes(idx(np.zeros((3, 28, 28), np.uint8)))
    with pytest.raises(ValueError, match=MD5[name]):
        fashion_mnist("test", tmp_path)
    (tmp_path / f"{name}.gz").write_bytes(gzip.compress(b"x" * 1000)[:20])
    with pytest.raises(ValueError, match="does not decompress"):
        fashion_mnist("test", tmp_path)


def test_another_split_is_refused():
    with pytest.raises(ValueError, match="train or test"):
        fashion_mnist("validation")


@needs_data
def test_images_and_labels():
    images, labels = fashion_mnist("test")
    assert images.shape == (10_000, 1, 28, 28)
    assert images.dtype == torch.float32
    assert images.min() == 0
    assert images.max() == 1
    assert torch.equal(labels.bincount(), torch.full((10,), 1000))
    assert labels[:4].tolist() == [9, 2, 1, 1]  # ankle boot, pullover, two trousers


def test_sample_images_come_with_the_package():
    images = sample_images()
    assert images.shape == (10, 1, 28, 28)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1

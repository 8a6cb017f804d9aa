# SPDX-License-Identifier: Apache-2.0
"""SigMF files against the specification's own schema and library; files in other forms, and files that are none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semdiff.phy.sigmf import DATATYPES, read_recording, write_recording
from tests.python.sigmf_files import alter, put_data

IQ = (np.array([0.5, -0.25, 1.0]) + 1j * np.array([0.0, -1.0, 0.125])).astype(np.complex64)


def write(path: Path, samples: np.ndarray = IQ, **extension: Any) -> Path:
    write_recording(path, samples, 2e6, extension or {"note": "x"}, [{"core:sample_start": 1, "core:label": "a"}], "three samples")
    return path


# Files


def test_round_trip(tmp_path: Path) -> None:
    path = write(tmp_path / "new" / "a.b.sigmf-meta", note={"deep": [1, 2]})
    found = read_recording(path)
    assert found.samples.dtype == np.complex64
    assert np.array_equal(found.samples, IQ)
    assert found.metadata["semdiff:note"] == {"deep": [1, 2]}
    assert found.metadata["core:sample_rate"] == 2e6
    assert found.annotations == [{"core:sample_start": 1, "core:label": "a"}]
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.b.sigmf-data", "a.b.sigmf-meta"]
    once = path.read_bytes()
    assert write(path, note={"deep": [1, 2]}).read_bytes() == once


def test_the_specifications_schema_and_library_agree(tmp_path: Path) -> None:
    sigmf = pytest.importorskip("sigmf")
    path = write(tmp_path / "a.sigmf-meta")
    foreign = sigmf.fromfile(str(path))  # checks the digest
    foreign.validate()
    assert np.array_equal(foreign.read_samples(), IQ)
    assert foreign.get_global_field("core:extensions") == [{"name": "semdiff", "version": "1.0.0", "optional": True}]


@pytest.mark.parametrize("datatype", list(DATATYPES))
def test_what_the_library_writes_is_read_as_the_library_reads_it(tmp_path: Path, datatype: str) -> None:
    sigmf = pytest.importorskip("sigmf")
    kind = DATATYPES[datatype][0]
    whole = np.array([0, 255, 128, 127, 3, 64]) if datatype == "cu8" else np.array([0, 127, -128, 1, -1, 64])
    (whole / 128 if kind[1:] == "f4" else whole).astype(kind).tofile(tmp_path / "b.sigmf-data")
    foreign = sigmf.SigMFFile(data_file=str(tmp_path / "b.sigmf-data"), global_info={"core:datatype": datatype})
    foreign.add_capture(0)
    foreign.tofile(str(tmp_path / "b.sigmf-meta"))
    # cu8: the middle of 0..255 is 127.5 here, and 128 there.
    expected = foreign.read_samples() + (0.5 + 0.5j) / 128 * (datatype == "cu8")
    np.testing.assert_allclose(read_recording(tmp_path / "b.sigmf-meta").samples, expected, atol=1e-7)


def test_old_files_stay_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "a.sigmf-meta")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(path, IQ * 2, note=float("nan"))
    old = read_recording(path)
    assert np.array_equal(old.samples, IQ)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    "samples", [np.ones(3), np.ones((2, 2), np.complex64), np.zeros(0, np.complex64), np.full(3, np.nan, np.complex64)]
)
def test_bad_samples_are_not_written(tmp_path: Path, samples: np.ndarray) -> None:
    with pytest.raises(ValueError, match="samples: expected finite complex numbers"):
        write(tmp_path / "a.sigmf-meta", samples)
    assert list(tmp_path.iterdir()) == []


def test_bad_names_and_rates(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a name that ends in .sigmf-meta"):
        write(tmp_path / "a.wav")
    with pytest.raises(ValueError, match="sample_rate: expected"):
        write_recording(tmp_path / "a.sigmf-meta", IQ, 0.0, {})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"core_datatype": "rf32_le"}, "core:datatype: expected one of cf32_le, .*, got 'rf32_le'"),
        ({"core_datatype": None}, "core:datatype: expected one of cf32_le, .*, got None"),
        ({"core_datatype": ["cf32_le"]}, "core:datatype: expected one of"),
        ({"core_num_channels": 2}, "core:num_channels: expected 1, got 2"),
        ({"core_version": "0.0.1"}, "core:version: expected 1.x, got '0.0.1'"),
        ({"core_version": None}, "core:version: expected 1.x, got None"),
        ({"core_dataset": "other.bin"}, "core:dataset: expected none"),
        ({"core_metadata_only": True}, "core:metadata_only: expected none"),
        ({"core_sha512": "0" * 128}, "a.sigmf-data: truncated or altered, core:sha512"),
        ({"core_sha512": 5}, "a.sigmf-data: truncated or altered, core:sha512"),
    ],
)
def test_foreign_metadata(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_recording(alter(write(tmp_path / "a.sigmf-meta"), **changes))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG\r\n\x1a\n", "expected SigMF metadata, but it is no JSON"),
        (b"{", "expected SigMF metadata, but it is no JSON"),
        (b"[" * 100_000, "expected SigMF metadata, but it is no JSON"),
        (b"[1]", "expected SigMF metadata, an object with 'global'"),
        (b'{"global": 3}', "expected SigMF metadata, an object with 'global'"),
        (b'{"global": {"core:version": "1.0.0"}, "annotations": [3]}', "annotations: expected a list of objects"),
        (
            b'{"global": {"core:version": "1.0.0", "core:datatype": "ci8"}, "captures": [{"core:header_bytes": 44}]}',
            "core:header_bytes: expected none",
        ),
    ],
)
def test_no_metadata(tmp_path: Path, content: bytes, words: str) -> None:
    path = write(tmp_path / "a.sigmf-meta")
    path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        read_recording(path)


def test_truncated_and_absent_data(tmp_path: Path) -> None:
    path = write(tmp_path / "a.sigmf-meta")
    data = path.with_suffix(".sigmf-data")
    whole = data.read_bytes()
    data.write_bytes(whole[:-8])
    with pytest.raises(ValueError, match="truncated or altered, core:sha512"):
        read_recording(path)
    assert len(read_recording(alter(path, core_sha512=None)).samples) == 2  # nothing there says how many there were
    for content in (whole[:-3], b""):
        with pytest.raises(ValueError, match=r"expected samples of 8 bytes each \(cf32_le\)"):
            read_recording(put_data(path, content))
    with pytest.raises(ValueError, match="expected finite numbers"):
        read_recording(put_data(path, np.full(2, np.nan, "<c8").tobytes()))
    data.unlink()
    with pytest.raises(FileNotFoundError, match=r"a.sigmf-data: expected the samples"):
        read_recording(path)

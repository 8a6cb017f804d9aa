# SPDX-License-Identifier: Apache-2.0
"""CSV tables against Python's own reader and writer."""

from __future__ import annotations

import csv
import io

import pytest

from semdiff._util.csv_files import to_csv

COLUMNS = ("name", "snr_db", "value")
ROWS = [('a, "b"', 10.0, 1.5), ("line\nbreak", -5, None), ("", 0, 1e-12)]


def test_same_bytes_as_dict_writer() -> None:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(dict(zip(COLUMNS, row, strict=True)) for row in ROWS)
    expected = text.getvalue().encode()
    assert to_csv(COLUMNS, ROWS) == expected
    assert to_csv(COLUMNS, [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]) == expected


def test_a_reader_gives_the_fields_back() -> None:
    found = list(csv.reader(io.StringIO(to_csv(COLUMNS, ROWS).decode(), newline="")))
    assert found == [list(COLUMNS), *(["" if v is None else str(v) for v in row] for row in ROWS)]


def test_missing_names_are_empty_and_unknown_ones_refused() -> None:
    assert to_csv(COLUMNS, [{"value": 1}]) == b"name,snr_db,value\n,,1\n"
    with pytest.raises(ValueError, match="rows: expected the columns name, snr_db, value, got psnr"):
        to_csv(COLUMNS, [{"psnr": 1}])

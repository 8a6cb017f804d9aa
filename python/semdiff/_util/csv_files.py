# SPDX-License-Identifier: Apache-2.0
"""Write tables as CSV: commas, lines that end with \\n, quotes where they are needed."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[object] | Mapping[str, object]]) -> bytes:
    """Write a header line and one line a row, in UTF-8.

    Args:
        columns: names, in order.
        rows: values in that order, or by name; None becomes an empty field.

    Returns:
        The file's content.

    Raises:
        ValueError: for a row by name that has other names.

    Example:
        >>> to_csv(["snr_db", "psnr"], [(10, 25.5), {"snr_db": 5, "psnr": None}])
        b'snr_db,psnr\\n10,25.5\\n5,\\n'
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        if isinstance(row, Mapping):
            if unknown := row.keys() - set(columns):
                raise ValueError(f"rows: expected the columns {', '.join(columns)}, got {', '.join(map(str, unknown))}")
            writer.writerow([row.get(name, "") for name in columns])
        else:
            writer.writerow(row)
    return text.getvalue().encode()

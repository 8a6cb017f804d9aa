# SPDX-License-Identifier: Apache-2.0
"""Where the studies write what they found."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from semdiff._util.atomic import write_atomically


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    content = io.StringIO()
    writer = csv.DictWriter(content, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    write_atomically(path, content.getvalue().encode())


def write_lines(path: Path, lines: Iterable[str]) -> None:
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Markdown; the first column is text, the others are numbers."""
    return [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1), *(f"| {' | '.join(row)} |" for row in rows)]

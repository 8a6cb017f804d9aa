# SPDX-License-Identifier: Apache-2.0
"""Where the studies write what they found: CSV files, pages, and parts of pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from semdiff._util.atomic import write_atomically
from semdiff._util.csv_files import to_csv


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    texts = ({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    write_atomically(path, to_csv(list(rows[0]), texts))


def write_lines(path: Path, lines: Iterable[str]) -> None:
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Markdown; the first column is text, the others are numbers."""
    return [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1), *(f"| {' | '.join(row)} |" for row in rows)]


def fill(page: str, text: str, parts: Mapping[str, Sequence[str]]) -> str:
    """The text of a page with the lines between <!-- NAME --> and <!-- end --> made anew, for each name of `parts`.

    ValueError, naming the page, unless it has each of these marks once.
    """
    for name, lines in parts.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- end -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"{page}: expected <!-- {name} --> and <!-- end --> once")
        content = "\n".join(lines) + "\n"
        text = pattern.sub(lambda found, content=content: found[1] + content + found[2], text)  # type: ignore[misc]
    return text

# SPDX-License-Identifier: Apache-2.0
"""The site: `make docs`, or sphinx-build -W docs build/docs."""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path

import semdiff

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project, author = "semdiff", "The semdiff authors"
copyright = author
version = release = semdiff.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "notebooks", "mathml"]
html_math_renderer = "mathml"
html_theme, html_title = "furo", f"semdiff {release}"
html_static_path, html_css_files = ["_static"], ["wide.css"]
exclude_patterns: list[str] = []
smartquotes = False  # options of the command keep their two hyphens

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

napoleon_use_ivar = True  # "Attributes:" as a list: the fields of tuples and dataclasses have entries of their own
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
default_role = "code"  # docstrings are plain text with names in single backticks

# Bars, stars and trailing underscores in formulas, such as E|s|^2, are markup to reStructuredText. Names in backticks stay as they are.
CODE = re.compile(r"(``[^`]+``|`[^`]+`)")
SIGNS = re.compile(r"([|*\\]|_(?=\W|$))")
SECTION = re.compile(r"(Args|Returns|Raises|Yields|Attributes|Examples?|Notes?|References?):\s*$")


def escaped(line: str) -> str:
    if line.lstrip().startswith((":", "..", ">>>")):
        return line
    return "".join(part if part.startswith("`") else SIGNS.sub(r"\\\1", part) for part in CODE.split(line))


def itemised(block: list[str]) -> list[str]:
    """A block in which lines hang below others, as a list: each line that does not hang begins an item."""
    if not any(line.startswith(" ") for line in block) or block[0].startswith((" ", "- ", "* ", "..", ">>>")):
        return block
    return [f"  {line.strip()}" if line.startswith(" ") else f"- {line}" for line in block]


def plain(app: object, what: str, name: str, item: object, options: object, lines: list[str]) -> None:
    """Write the plain text of a docstring as reStructuredText, in place; napoleon sees to the sections, from Args on."""
    first = next((i for i, line in enumerate(lines) if SECTION.match(line)), len(lines))
    text: list[str] = []
    for blank, group in groupby(lines[:first], key=lambda line: not line.strip()):
        block = list(group)
        text += block if blank else itemised(block)
    lines[:] = [escaped(line) for line in text + lines[first:]]


def setup(app: object) -> None:
    app.connect("autodoc-process-docstring", plain, priority=400)  # type: ignore[attr-defined]  # before napoleon's, at 500

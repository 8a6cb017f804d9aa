# SPDX-License-Identifier: Apache-2.0
"""Numbers in texts: one and many are told apart wherever a text counts."""

import re
from pathlib import Path

import pytest

from semdiff._util.words import counted

COUNTED = r"\{[^{}]*\} (evaluation|image|seed|step|cell)s?\b"


@pytest.mark.parametrize(("count", "words"), [(0, "0 evaluations"), (1, "1 evaluation"), (2, "2 evaluations")])
def test_one_is_singular(count, words):
    assert counted(count, "evaluation") == words


def test_texts_for_people_count_by_it():
    """In what commands print: no number before such a noun but by `counted`, or out of a larger number."""
    found = []
    for file in sorted((Path(__file__).parents[3] / "python" / "semdiff" / "cli").glob("*.py")):
        for line in file.read_text("utf-8").splitlines():
            if re.search(COUNTED, line) and not re.search(r"expected|raise|\bof \{", line):
                found.append(f"{file.name}: {line.strip()}")
    assert found == []

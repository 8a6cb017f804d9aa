# SPDX-License-Identifier: Apache-2.0
"""The README's code runs as pasted, and its files exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)


def test_there_is_code() -> None:
    assert len(BLOCKS) >= 2


@pytest.mark.parametrize("block", BLOCKS, ids=[f"block {i}" for i in range(len(BLOCKS))])
def test_code_runs_as_pasted(block: str) -> None:
    exec(compile(block, str(ROOT / "README.md"), "exec"), {"__name__": "readme"})


def test_linked_files_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`make ([a-z]+)`", TEXT + (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))):
        assert re.search(rf"^{target}:", makefile, flags=re.M), target

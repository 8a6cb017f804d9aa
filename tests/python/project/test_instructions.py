# SPDX-License-Identifier: Apache-2.0
"""What a small call costs, in instructions: a guard for every operator, which times are too noisy to hold."""

import json
import platform
import shutil
import sys
from pathlib import Path

import pytest

from benchmarks.instructions import calls, count

COUNTED = Path(__file__).parents[3] / "benchmarks" / "instructions.json"
TOLERANCE = 0.05  # repeated counts differ by less than 1 %; other builds of Python and libc by some more

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="Valgrind is not installed"),
    pytest.mark.skipif(platform.machine() != "x86_64" or sys.version_info[:2] != (3, 11), reason="counted for Python 3.11 on x86-64"),
]


def test_no_operator_takes_more_instructions_than_it_did():
    """After a change that is worth it: python -m benchmarks.instructions > benchmarks/instructions.json."""
    counted, found = json.loads(COUNTED.read_text("utf-8")), count()
    assert found.keys() == counted.keys() == calls().keys()
    more = {name: (n, counted[name]) for name, n in found.items() if n > (1 + TOLERANCE) * counted[name]}
    assert not more, f"instructions a call, now and before: {more}"

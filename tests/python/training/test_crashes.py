# SPDX-License-Identifier: Apache-2.0
"""A sample of `make crash`: kill -9 and failures of the disk in train, evaluate, transmit and save_pretrained. See tests/crash."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("accelerate")

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("command", ["train", "evaluate", "transmit", "save_pretrained"])
def test_what_is_killed_or_fails_goes_on(command: str) -> None:
    if shutil.which("cc") is None or sys.platform != "linux":
        pytest.skip("the shim that lets calls fail needs Linux and a C compiler")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.crash", command, "--kills", "3", "--share", "0.03"], cwd=ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{command}: 3 killed while it ran" in ran.stdout
    assert "0 findings" in ran.stdout

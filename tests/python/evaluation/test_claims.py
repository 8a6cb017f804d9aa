# SPDX-License-Identifier: Apache-2.0
"""Parts of a work that processes share through a folder: one has each, until its block ends or it is killed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from semdiff._util import claims
from semdiff._util.claims import claimed

HOLD = """
import sys, time
from pathlib import Path
from semdiff._util.claims import claimed
with claimed(Path(sys.argv[1]), "a") as ours:
    print(ours, flush=True)
    time.sleep(600)
"""


def test_another_process_has_a_part_until_it_is_killed(tmp_path: Path) -> None:
    place = tmp_path / "folder" / ".claims"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "True\n"
            with claimed(place, "a") as ours:
                assert not ours
            with claimed(place, "b") as ours:
                assert ours
        finally:
            os.kill(other.pid, signal.SIGKILL)
    with claimed(place, "a") as ours:
        assert ours
    assert place.read_bytes() == b""


def test_a_file_system_without_locks_grants_every_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(claims.fcntl, "lockf", no_locks)
    with claimed(tmp_path / ".claims", "a") as ours:
        assert ours

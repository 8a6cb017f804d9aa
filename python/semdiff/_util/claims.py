# SPDX-License-Identifier: Apache-2.0
"""Claim parts of a work that several processes share through a folder, so that none is done twice."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def claimed(file: Path, name: str) -> Iterator[bool]:
    """Claim a part by its name until the block ends, or the process does. Gives False where another process has it.

    The claim is a lock on one byte of `file`, which is made where it is missing and stays empty. A killed process claims nothing.
    Where the file system has no locks, every claim is granted.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "big")
    held = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.lockf(held, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except OSError as error:
            yield error.errno not in (errno.EACCES, errno.EAGAIN)
        else:
            yield True
    finally:
        os.close(held)  # and with it the lock

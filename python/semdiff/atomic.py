# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """The file at `path` becomes `content` (or what `content(file)` writes) in one step, also across a crash: it is written beside its
    place, flushed to the disk and renamed, so readers see the old file or the new one. Folders are made. OSError, naming the file,
    where the disk is full: the old file is whole then."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as file:
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a failed write does not say of what
    finally:
        beside.unlink(missing_ok=True)

# SPDX-License-Identifier: Apache-2.0
"""Files and folders that are there whole or not at all.

They are written beside their place, under .NAME.PID.part, and renamed. A process that is killed leaves that behind; the next one that
writes into the folder takes it away. A lock tells which are still being written, whatever machine their process runs on.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

_PART = re.compile(r"\..+\.\d+\.part")
_LEAST_AGE = 60.0  # seconds since it was written to: one that has just been made may not be locked yet
_swept: set[Path] = set()  # folders in which this process has cleared
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of Linux


def write_atomically(path: Path, content: bytes | Callable[[IO[bytes]], object]) -> None:
    """Write `content`, or what `content(file)` writes, to `path` in one step, also across a crash.

    It is written beside its place, flushed to the disk and renamed, so readers see the old file or the new one. Folders are made. OSError,
    naming the file, where the disk is full: the old file is whole then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_orphans(path.parent)
    beside = _beside(path)
    try:
        with _naming(path), beside.open("wb") as file:
            _lock(file.fileno())
            if callable(content):
                content(file)
            else:
                file.write(content)
            file.flush()
            os.fsync(file.fileno())
            beside.replace(path)
            _sync(path.parent)
    finally:
        beside.unlink(missing_ok=True)


@contextlib.contextmanager
def folder_atomically(place: Path) -> Iterator[Path]:
    """Give a path for the caller to make a folder at, which is `place` once the block ends: flushed to the disk, and in one step, so that
    readers and a crash meet the old folder or the new one. Folders above are made. Where the block raises, the old one is as it was.

    ValueError where `place` is no folder. OSError, naming a file or `place`, where the disk is full.
    """
    place = place.resolve()  # of a link, what it points to
    if place.exists() and not place.is_dir():
        raise ValueError(f"{place}: expected a folder, or nothing yet, got a file")
    place.parent.mkdir(parents=True, exist_ok=True)
    clear_orphans(place.parent)
    beside = _beside(place)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    held = os.open(beside, os.O_RDONLY)
    try:
        _lock(held)
        new = beside / place.name
        with _naming(place):
            yield new
            for folder, _, names in os.walk(new, topdown=False):
                for path in (*(Path(folder, name) for name in names), Path(folder)):
                    if not path.is_symlink():
                        _sync(path)
            _put(new, place)
            _sync(place.parent)
    finally:
        os.close(held)
        shutil.rmtree(beside, ignore_errors=True)


def keep_others(old: Path, new: Path) -> None:
    """Bring what lies in the folder `old` and not in `new` there too, without a copy where the file system can do that."""
    for folder, folders, names in os.walk(old):
        there = new / Path(folder).relative_to(old)
        there.mkdir(exist_ok=True)
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in (*names, *links):
            if not os.path.lexists(there / name):
                try:
                    os.link(Path(folder, name), there / name, follow_symlinks=False)
                except OSError:
                    shutil.copy2(Path(folder, name), there / name, follow_symlinks=False)


def clear_orphans(folder: Path) -> None:
    """Remove what killed processes left in the folder: ours by name and owner, not locked, and not written to for a minute. Once for each
    folder and process."""
    folder = folder.resolve()
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _PART.fullmatch(entry.name):
                with contextlib.suppress(OSError):  # another process was quicker
                    _clear(Path(entry.path))


def _clear(part: Path) -> None:
    found = part.lstat()
    kind = stat.S_IFMT(found.st_mode)
    if kind not in (stat.S_IFREG, stat.S_IFDIR) or found.st_uid != os.getuid() or time.time() - found.st_mtime < _LEAST_AGE:
        return
    if kind == stat.S_IFDIR and not part.with_name(part.name[1:].rsplit(".", 2)[0]).exists():
        return  # where there is no exchange, the old folder may be in there
    held = os.open(part, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)  # OSError while its writer lives
        if kind == stat.S_IFDIR:
            shutil.rmtree(part)
        else:
            part.unlink()
    finally:
        os.close(held)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Give an OSError of the block that names no file this one's name: a failed write does not say of what."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


def _lock(descriptor: int) -> None:
    """Lock a file until it is closed, or its process ends. Some network file systems have no locks."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put(new: Path, place: Path) -> None:
    """Move `new` to `place`; what was there is beside `new`, or in its place, afterwards."""
    here = Path.cwd() if os.path.exists(".") else None
    if not place.exists():
        new.rename(place)
    elif not _exchange(new, place):  # two steps; both folders are whole in between
        old = new.with_name(f"{new.name}.old")
        place.rename(old)
        try:
            new.rename(place)
        except OSError:
            old.rename(place)
            raise
    if here is not None and here.is_relative_to(place) and here.is_dir():
        os.chdir(here)  # by its path: the folder that this process was in is no longer there


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two paths in one step (renameat2 of Linux). False where the system or the file system cannot do that."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(code, os.strerror(code), str(other))

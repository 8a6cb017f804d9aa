# SPDX-License-Identifier: Apache-2.0
"""Keep tensors that took time to make in the user's cache folder, as safetensors with a checksum. All of them can be made again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from semdiff._util.tensor_files import load_tensors, save_tensors


def cache_folder() -> Path:
    """Return the cache folder: $XDG_CACHE_HOME/semdiff, else ~/.cache/semdiff."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semdiff"


def cached_tensors(name: str, make: Callable[[], dict[str, Tensor]], again: bool = False) -> dict[str, Tensor]:
    """Return tensors in order of their names, from the cache if they were made before.

    Args:
        name: of the entry; it must tell all that the tensors depend on.
        make: makes them.
        again: make them anew.
    """
    path = cache_folder() / f"{name}.safetensors"
    found = None if again else load_cached(path)
    if found is None:
        found = make()
        store_cached(path, found)
    return dict(sorted(found.items()))  # a file forgets the order, and what is drawn by number must be the same the first time


def load_cached(path: Path) -> dict[str, Tensor] | None:
    """Read what `store_cached` wrote to a path.

    Args:
        path: the file.

    Returns:
        The tensors; None where there are none, or where they are damaged.
    """
    with suppress(OSError, ValueError):
        tensors, meta = load_tensors(path)
        if meta.get("sha256") == _digest(tensors):
            return tensors
    return None


def store_cached(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors to a path, beside it first and then renamed. Where the folder cannot be written, nothing happens.

    Args:
        path: the file.
        tensors: by name.
    """
    with suppress(OSError):
        save_tensors(path, tensors, {"sha256": _digest(tensors)})


def _digest(tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].contiguous().numpy().data)
    return found.hexdigest()

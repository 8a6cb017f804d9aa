# SPDX-License-Identifier: Apache-2.0
"""Tensors that took time to make, kept in the user's cache folder as safetensors with a checksum. All in it can be made again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from semdiff._util.tensor_files import load_tensors, save_tensors


def cache_folder() -> Path:
    """$XDG_CACHE_HOME/semdiff, else ~/.cache/semdiff."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "semdiff"


def cached_tensors(name: str, make: Callable[[], dict[str, Tensor]], again: bool = False) -> dict[str, Tensor]:
    """What `make` returns, in order of the names, from the cache if it was made before. The cache's name must tell all that the result
    depends on. again: make it anew."""
    path = cache_folder() / f"{name}.safetensors"
    found = None if again else load_cached(path)
    if found is None:
        found = make()
        store_cached(path, found)
    return dict(sorted(found.items()))  # a file forgets the order, and what is drawn by number must be the same the first time


def load_cached(path: Path) -> dict[str, Tensor] | None:
    """What `store_cached` wrote; None where there is none, or where it is damaged: it is then made again."""
    with suppress(OSError, ValueError):
        tensors, meta = load_tensors(path)
        if meta.get("sha256") == _digest(tensors):
            return tensors
    return None


def store_cached(path: Path, tensors: dict[str, Tensor]) -> None:
    """Written beside its place and renamed. Where the folder cannot be written, work goes on without a cache."""
    with suppress(OSError):
        save_tensors(path, tensors, {"sha256": _digest(tensors)})


def _digest(tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].contiguous().numpy().data)
    return found.hexdigest()

# SPDX-License-Identifier: Apache-2.0
"""Tensors and a JSON description as one safetensors file, written beside its place and renamed into it: it is there whole, or not at all.

No pickle is written or read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from semdiff._util.atomic import write_atomically


def save_tensors(path: Path, tensors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    """Write tensors and a JSON description to one file, atomically."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(path, save(whole, metadata={"semdiff": json.dumps(meta, sort_keys=True)}))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what `save_tensors` wrote. ValueError, naming the file, where it is truncated or no checkpoint."""
    try:
        with safe_open(path, framework="pt") as file:
            meta = json.loads((file.metadata() or {})["semdiff"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118, a safetensors file is no mapping
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected a checkpoint of semdiff, but it is damaged or something else ({error})") from error

# SPDX-License-Identifier: Apache-2.0
"""Write and read JSON that every reader takes."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def to_json(document: Any) -> bytes:
    """Write a document as JSON with sorted keys; numbers that JSON does not have (NaN, infinity) become null."""
    return (json.dumps(replace_non_finite(document), indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def replace_non_finite(value: Any) -> Any:
    """Replace numbers that JSON does not have by None, at every depth of a value."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: replace_non_finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_non_finite(v) for v in value]
    return value


def json_digest(document: Any) -> str:
    """Compute the sha256 of a JSON document, whatever the order of its keys."""
    return hashlib.sha256(to_json(document)).hexdigest()


DEEPEST = 100  # levels of lists and objects in each other; ours have four, and what writes them again calls itself at each


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value


def _is_deep(document: Any) -> bool:
    level = [document]
    for _ in range(DEEPEST):
        level = [inner for outer in level for inner in _parts(outer) if isinstance(inner, (dict, list))]
        if not level:
            return False
    return True


def read_json(path: Path, kind: str, version: int) -> dict[str, Any]:
    """Read a JSON document of a given format.

    Args:
        path: of the file.
        kind: what its field format must be.
        version: what its field format_version must be.

    Raises:
        ValueError: naming the file and the field, for anything else.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON of the format {kind!r}, but it does not parse ({error})") from error
    if isinstance(document, dict) and _is_deep(document):
        raise ValueError(f"{path}: expected JSON of the format {kind!r}, got more than {DEEPEST} levels of lists and objects")
    if not isinstance(document, dict) or document.get("format") != kind:
        raise ValueError(f"{path}: format: expected {kind!r}, got {document.get('format') if isinstance(document, dict) else document!r}")
    if document.get("format_version") != version:
        raise ValueError(
            f"{path}: format_version: expected {version}, which this semdiff reads and writes, got {document.get('format_version')!r}; "
            "read it with the semdiff that wrote it, or run the evaluation again"
        )
    return document

# SPDX-License-Identifier: Apache-2.0
"""Recordings made wrong on purpose."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def alter(path: Path, **changes: Any) -> Path:
    """Other values in the metadata's global object; None takes a field away. Field names with _ for the colon."""
    document = json.loads(path.read_text())
    for name, value in changes.items():
        key = name.replace("_", ":", 1)
        document["global"].pop(key, None)
        if value is not None:
            document["global"][key] = value
    path.write_text(json.dumps(document))
    return path


def put_data(path: Path, content: bytes) -> Path:
    """Other data, with their own digest."""
    path.with_suffix(".sigmf-data").write_bytes(content)
    return alter(path, core_sha512=hashlib.sha512(content).hexdigest())

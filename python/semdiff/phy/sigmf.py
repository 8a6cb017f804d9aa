# SPDX-License-Identifier: Apache-2.0
"""IQ recordings as SigMF files: NAME.sigmf-meta, JSON that says what the numbers are, and NAME.sigmf-data, the numbers.

https://sigmf.org, version 1.2. Written as cf32_le with the data's SHA-512; read in the formats that common receivers record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semdiff._util.arguments import to_finite
from semdiff._util.atomic import write_atomically

VERSION = "1.2.0"  # of the specification
# core:datatype: of one real number, what it is divided by, and the code that means zero.
DATATYPES: dict[str, tuple[str, float, float]] = {
    "cf32_le": ("<f4", 1.0, 0.0),
    "cf32_be": (">f4", 1.0, 0.0),
    "ci16_le": ("<i2", 32768.0, 0.0),
    "ci16_be": (">i2", 32768.0, 0.0),
    "ci8": ("i1", 128.0, 0.0),
    "cu8": ("u1", 128.0, 127.5),  # the middle between 0 and 255
}
MUST_BE_ABSENT = (
    "core:dataset",
    "core:header_bytes",
    "core:trailing_bytes",
    "core:metadata_only",
)  # data elsewhere, or not alone, or not there


@dataclass(frozen=True)
class Recording:
    """Hold samples, complex64 (n,), and the metadata's global object and annotations."""

    samples: NDArray[np.complex64]
    metadata: Mapping[str, Any]
    annotations: Sequence[Mapping[str, Any]] = field(default=())


def write_recording(
    path: Path,
    samples: NDArray[np.complexfloating],
    sample_rate: float,
    extension: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]] = (),
    description: str = "",
) -> None:
    """Write path (.sigmf-meta) and its .sigmf-data, each beside its place and renamed into it, the data first.

    extension: what goes into the global object under semdiff:NAME. The same arguments give the same bytes.
    ValueError for another file name, or samples that are not finite complex numbers (n,), n >= 1.
    """
    meta, data = _pair(path)
    if not np.iscomplexobj(samples) or samples.ndim != 1 or len(samples) == 0 or not np.isfinite(samples).all():
        raise ValueError(f"samples: expected finite complex numbers (n,), n >= 1, got {samples.dtype} of shape {samples.shape}")
    if not (np.isfinite(sample_rate) and sample_rate > 0):
        raise ValueError(f"sample_rate: expected samples a second above zero, got {sample_rate}")
    content = samples.astype("<c8").tobytes()
    document = {
        "global": {
            "core:datatype": "cf32_le",
            "core:sample_rate": sample_rate,
            "core:version": VERSION,
            "core:num_channels": 1,
            "core:sha512": hashlib.sha512(content).hexdigest(),
            "core:recorder": "semdiff",
            **({"core:description": description} if description else {}),
            "core:extensions": [{"name": "semdiff", "version": "1.0.0", "optional": True}],
            **{f"semdiff:{name}": value for name, value in extension.items()},
        },
        "captures": [{"core:sample_start": 0}],
        "annotations": sorted(map(dict, annotations), key=lambda a: a["core:sample_start"]),
    }
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"  # before anything is written: it may be refused
    write_atomically(data, content)
    write_atomically(meta, text.encode())


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the global object of a .sigmf-meta. ValueError, naming the file, where it is none."""
    return _document(path)[0]


def sample_rate(metadata: Mapping[str, Any], name: str) -> float | None:
    """Return core:sample_rate of a global object; None where there is none. name: of the file, for messages.

    TypeError or ValueError where it is no rate.
    """
    told = metadata.get("core:sample_rate")
    if told is None:
        return None
    rate = to_finite(told, f"{name}: core:sample_rate")
    if rate <= 0:
        raise ValueError(f"{name}: core:sample_rate: expected samples a second above zero, got {rate:g}")
    return rate


def _document(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """Read the global object, the captures and the annotations."""
    meta, _ = _pair(path)
    try:
        document = json.loads(meta.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # also of the encoding
        raise ValueError(f"{meta}: expected SigMF metadata, but it is no JSON ({error})") from None
    found = document.get("global") if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{meta}: expected SigMF metadata, an object with 'global', got other JSON")
    version = found.get("core:version")
    if not isinstance(version, str) or not version.startswith("1."):
        raise ValueError(f"{meta}: core:version: expected 1.x, got {version!r}")
    lists = [document.get(name, []) for name in ("captures", "annotations")]
    for name, entries in zip(("captures", "annotations"), lists, strict=True):
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise ValueError(f"{meta}: {name}: expected a list of objects")
    return found, *lists


def read_recording(path: Path) -> Recording:
    """Read path (.sigmf-meta) and its .sigmf-data. Whole numbers become fractions of full scale.

    FileNotFoundError where one of the two is absent; ValueError, naming the file and the field, for metadata that are none, data in a form
    that is not read here, and data that are truncated or altered (where the metadata have the SHA-512).
    """
    meta, data = _pair(path)
    found, captures, notes = _document(path)
    datatype = found.get("core:datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ValueError(f"{meta}: core:datatype: expected one of {', '.join(DATATYPES)}, got {datatype!r}")
    if found.get("core:num_channels", 1) != 1:
        raise ValueError(f"{meta}: core:num_channels: expected 1, got {found['core:num_channels']!r}")
    for name in MUST_BE_ABSENT:
        if found.get(name) or any(capture.get(name) for capture in captures):
            raise ValueError(f"{meta}: {name}: expected none, a recording with its samples alone in {data.name}")
    if not data.is_file():
        raise FileNotFoundError(f"{data}: expected the samples of {meta.name}, but there is no such file")
    content = data.read_bytes()
    digest = found.get("core:sha512")
    if digest is not None and str(digest).lower() != (actual := hashlib.sha512(content).hexdigest()):
        raise ValueError(f"{data}: truncated or altered, core:sha512 of {meta.name} is {str(digest)[:12]}..., of the data {actual[:12]}...")
    kind, scale, middle = DATATYPES[datatype]
    size = 2 * np.dtype(kind).itemsize
    if len(content) == 0 or len(content) % size:
        raise ValueError(f"{data}: expected samples of {size} bytes each ({datatype}), got {len(content)} bytes")
    numbers = (np.frombuffer(content, kind).astype(np.float32) - np.float32(middle)) / np.float32(scale)
    samples = numbers.view(np.complex64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{data}: expected finite numbers, got NaN or infinity")
    return Recording(samples, found, notes)


def _pair(path: Path) -> tuple[Path, Path]:
    if path.suffix != ".sigmf-meta":
        raise ValueError(f"{path}: expected a name that ends in .sigmf-meta (the samples lie beside it, in .sigmf-data)")
    return path, path.with_suffix(".sigmf-data")

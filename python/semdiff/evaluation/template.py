# SPDX-License-Identifier: Apache-2.0
"""Say what the fields of a configuration are, from `Config` and the readers that check them: a file to begin with, and the reference."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import NamedTuple

from semdiff.evaluation.config import READERS, Config, to_toml_value

BEGIN = {  # what the file to begin with has; the other fields stand there as comments, with their defaults
    "systems": [{"name": "link", "options": {"model": "fashion-mnist"}}, "capacity"],
    "snr_db": [0, 10],
    "data": "samples",
    "channels": ["awgn", {"name": "rayleigh", "coherence": "block"}],
    "cbr": ["1/12"],
    "steps": ["auto"],
    "realism": [0.0, 1.0],
    "metrics": ["psnr", "ssim"],
    "pictures": 4,
}


class Field(NamedTuple):
    """Describe a field of a configuration.

    Attributes:
        name: of the field.
        takes: what its reader takes.
        default: as TOML; empty where it has none and must be given, or is left out.
        required: whether it must be given.
        meaning: as `Config` says.
    """

    name: str
    takes: str
    default: str
    required: bool
    meaning: str


def config_fields() -> Iterator[Field]:
    """Describe the fields of a configuration, in order."""
    meanings, plain = _meanings(), Config(systems=(), snr_db=()).to_mapping()
    for field in fields(Config):
        required = field.default is MISSING
        default = to_toml_value(plain[field.name]) if not required and field.name in plain else ""
        yield Field(field.name, READERS[field.name].takes, default, required, meanings[field.name])


def _meanings() -> dict[str, str]:
    """Read what the docstring of `Config` says of each field; several may share a line."""
    section = re.search(r"Attributes:\n(.*?)\n\n", inspect.getdoc(Config) or "", flags=re.S)
    found = re.findall(r"^    ([a-z_, ]+): (.*(?:\n     +.*)*)", section[1] if section else "", flags=re.M)
    return {name: re.sub(r"\s+", " ", text) for names, text in found for name in names.split(", ")}


def template() -> str:
    """Write a TOML file with every field and what it means, which runs as it is."""
    lines = [
        "# An evaluation: every combination of systems, channels, SNRs, bandwidths, steps, realism and seeds, on one set of images.",
        "# semdiff evaluate THIS.toml --out results, and then: semdiff report results. Lines that begin with # are comments.",
    ]
    for name, takes, default, _, meaning in config_fields():
        lines += ["", f"# {meaning[0].upper()}{meaning[1:]}", f"# Takes {takes}."]
        value = to_toml_value(BEGIN[name]) if name in BEGIN else default
        lines.append(f"{'' if name in BEGIN else '# '}{name} = {value}".rstrip(" ="))
    return "\n".join(lines) + "\n"

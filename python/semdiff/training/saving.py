# SPDX-License-Identifier: Apache-2.0
"""A trained link as a folder that is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from semdiff._util.atomic import folder_atomically
from semdiff.link.base import ImageLink
from semdiff.models.int8 import FILE, quantize
from semdiff.models.store import write_checksums


def save_link(link: ImageLink, place: Path, eight_bits: bool = False) -> None:
    """Write a link's folder in one step, its weights in float16, or in eight bits (`semdiff.models.int8`); loading widens them again."""
    with folder_atomically(place) as beside:
        link.to(torch.float16 if not eight_bits else torch.float32).save_pretrained(beside)
        if eight_bits:
            for file in beside.rglob(FILE):
                save_file(quantize(load_file(file)), file)
            write_checksums(beside)

# SPDX-License-Identifier: Apache-2.0
"""A trained link as a folder that is there whole or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import torch

from semdiff.link import SemanticLink
from semdiff.link.files import quiet


def save_link(link: SemanticLink, place: Path) -> None:
    """Half precision halves the files; it is widened again on loading. Written beside its place, then renamed."""
    beside = place.with_name(f".{place.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        with quiet():
            link.to(torch.float16).save_pretrained(beside)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(beside, place)
    finally:
        shutil.rmtree(beside, ignore_errors=True)

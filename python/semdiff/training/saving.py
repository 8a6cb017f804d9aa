# SPDX-License-Identifier: Apache-2.0
"""A trained link as a folder that is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import torch

from semdiff._util.atomic import folder_atomically
from semdiff.link import SemanticLink


def save_link(link: SemanticLink, place: Path) -> None:
    """The folder becomes the link's in one step. Half precision halves the files; it is widened again on loading."""
    with folder_atomically(place) as beside:
        link.to(torch.float16).save_pretrained(beside)

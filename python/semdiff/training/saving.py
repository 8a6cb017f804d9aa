# SPDX-License-Identifier: Apache-2.0
"""Save a trained link as a folder that is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from semdiff._util.atomic import folder_atomically
from semdiff.link.base import ImageLink
from semdiff.models.int8 import FILE, quantize
from semdiff.models.store import disk_errors, quiet, write_checksums

IMAGES_SEEN = "training.json"


def save_link(link: ImageLink, place: Path, eight_bits: bool = False, seen: Mapping[str, int] | None = None) -> None:
    """Write a link's folder in one step, its weights in float16, or in eight bits (`semdiff.models.int8`); loading widens them again.

    Args:
        link: the trained link; its weights become narrow.
        place: the folder.
        eight_bits: whether weights are stored so.
        seen: images that each stage has seen, which go into training.json.
    """
    with quiet(), disk_errors(place), folder_atomically(place) as beside:
        link.to(torch.float16 if not eight_bits else torch.float32).save_pretrained(beside)
        if eight_bits:
            # diffusers' own classes load float files alone
            quantize_files(beside, [name for name, part in link.components.items() if type(part).__module__.startswith("semdiff.")])
        if seen is not None:
            write_images_seen(beside, seen)
        write_checksums(beside)


def quantize_files(folder: Path, names: Iterable[str]) -> None:
    """Rewrite the weights of a model's networks in eight bits (`semdiff.models.int8`).

    Args:
        folder: of the model.
        names: of the networks, which are folders in it; those without weights stay as they are.
    """
    for name in names:
        file = folder / name / FILE
        if file.is_file():
            save_file(quantize(load_file(file)), file)


def write_images_seen(folder: Path, seen: Mapping[str, int]) -> None:
    """Write how many images each stage of a model has seen.

    Args:
        folder: of the model.
        seen: by stage; empty writes nothing.
    """
    if seen:
        (folder / IMAGES_SEEN).write_text(json.dumps(dict(seen), indent=1) + "\n", encoding="utf-8")


def images_seen(folder: Path) -> dict[str, int]:
    """Read how many images each stage of the model in a folder has seen; empty where the folder does not say."""
    place = folder / IMAGES_SEEN
    return {str(k): int(v) for k, v in json.loads(place.read_text("utf-8")).items()} if place.is_file() else {}

# SPDX-License-Identifier: Apache-2.0
"""What is killed: small forms of the commands and calls that write files. The same call, made again, goes on or begins anew."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from semdiff import Key, normal
from semdiff._util.tensor_files import load_tensors
from semdiff.data.pictures import read_picture, to_picture
from semdiff.evaluation import sweep
from semdiff.training.curve import Curve
from semdiff.training.engine import Plan, Stage, fit
from tests.python.small_links import any_size_link, pixel_link

LINK = any_size_link()
OTHER = pixel_link()


class Line(Stage):
    """y = W x, learned in 12 steps with a checkpoint after each."""

    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(40, 40)
        torch.nn.init.zeros_(self.line.weight)
        torch.nn.init.zeros_(self.line.bias)

    def forward(self, key: Key, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.line(x + 0.01 * normal(x.shape, key)) - 2 * x).square().mean()}


def train(out: Path) -> None:
    stage, plan, curve = Line(), Plan(12, 4, 0.05, 3), Curve(out / "curve.csv")
    data = (normal((20, 40), Key(1)),)
    options: dict[str, Any] = {"name": "line", "key": Key(2), "folder": out / "checkpoints", "save_every": 0.0, "progress": False}
    fit(stage, data, plan, curve=curve.of_stage("line", 4), **options)


def evaluate(out: Path) -> None:
    jpeg = {"name": "capacity", "options": {"codec": "jpeg"}}
    axes: dict[str, Any] = {"snr_db": [0.0, 5.0], "cbr": [1 / 4, 1 / 2], "seeds": [0, 1], "images": 3, "pictures": 1}
    sweep({"systems": [jpeg], "channels": ["awgn"], "metrics": ["psnr"], "data": "samples", **axes}, out)


def picture(i: int) -> torch.Tensor:
    return (normal((1, 3, 16, 24), Key(i)).sigmoid() * 255).round() / 255


def transmit(out: Path) -> None:
    """Three pictures, written by the command's own function for files."""
    from semdiff.cli.picture_files import save_frames
    from semdiff.data.animations import Animation

    for i in range(3):
        received = LINK.transmit(picture(i), 5.0, key=Key(7).fold_in(i), steps=1).images
        save_frames([to_picture(received[0])], Animation(received, [0.0]), out / f"{i}.png")


def save_pretrained(out: Path) -> None:
    """Over the folder of another link, of other files: what is there is the one or the other."""
    LINK.save_pretrained(out)


COMMANDS: dict[str, Callable[[Path], None]] = {
    "train": train,
    "evaluate": evaluate,
    "transmit": transmit,
    "save_pretrained": save_pretrained,
}


def prepare(name: str, out: Path) -> None:
    """What is there before the command."""
    if name == "save_pretrained":
        OTHER.save_pretrained(out)


def check_whole(path: Path) -> None:
    """ValueError or the like where a file is not what its name says."""
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            assert list(file.keys())
        if path.parent.name == "checkpoints":
            load_tensors(path)
    elif path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    elif path.suffix == ".png":
        read_picture(path)
    elif path.suffix == ".npy":
        np.load(path, allow_pickle=False)
    elif path.suffix == ".csv":
        rows = list(csv.reader(path.read_text("utf-8").splitlines()))
        assert rows
        assert len({len(row) for row in rows}) == 1
        assert path.read_bytes().endswith(b"\n")
    else:
        raise AssertionError(f"{path}: of no kind that the command writes")


def check_state(name: str, out: Path) -> None:
    """Every file is whole, and a model's folder is one of the two."""
    for path in out.rglob("*"):
        if path.is_file() and path.name != ".claims" and ".part" not in str(path.relative_to(out.parent)):
            check_whole(path)
    if name == "save_pretrained" and out.exists():
        from semdiff.link import SemanticLink
        from semdiff.models.store import verify_checksums

        verify_checksums(out)
        SemanticLink.from_pretrained(out)  # of either kind


def content(out: Path) -> dict[str, Any]:
    """The files by name, without what a clock says."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(out))] = _timeless(path)
    return found


def _timeless(path: Path) -> Any:
    if (path.suffix == ".json" and path.parent.name == "cells") or path.name == "results.json":
        document = json.loads(path.read_text("utf-8"))
        rows = [document["row"]] if "row" in document else document["rows"]
        return [{name: value for name, value in row.items() if name != "milliseconds"} for row in rows]
    if path.suffix == ".csv":
        rows = list(csv.DictReader(path.read_text("utf-8").splitlines()))
        return [{name: value for name, value in row.items() if name not in ("milliseconds", "seconds")} for row in rows]
    return path.read_bytes()

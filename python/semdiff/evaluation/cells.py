# SPDX-License-Identifier: Apache-2.0
"""Compute one cell of an evaluation: one system at one channel, SNR, bandwidth, steps, realism and seed, on all images.

A finished cell is one JSON file, cells/DIGEST.json, where DIGEST covers all that its numbers depend on: the cell, the weights, the data,
the metrics and the version of semdiff. So a file that is there is the cell's result, whoever computed it and when.
"""

from __future__ import annotations

import io
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from semdiff._build import build_info
from semdiff._util.atomic import write_atomically
from semdiff.evaluation.config import Config
from semdiff.evaluation.identity import object_identity
from semdiff.evaluation.image_sets import ImageSet
from semdiff.evaluation.json_files import json_digest, read_json, to_json
from semdiff.evaluation.scores import Metrics, compute_metrics
from semdiff.evaluation.systems import System
from semdiff.phy.channel import Channel
from semdiff.rng import Key
from semdiff.transmission.step_count import StepCount

if TYPE_CHECKING:
    from semdiff.link import Transmission

FORMAT, VERSION = "semdiff evaluation cell", 1
AXES = ("system", "channel", "snr_db", "cbr", "steps", "realism", "seed")
LEDGER = ("payload", "side_information", "pilots", "preamble", "cyclic_prefix")
COLUMNS = (*AXES, "images", *LEDGER, "uses", "cbr_used", "measured_snr_db", "t", "evaluations", "milliseconds")  # before the metrics'


@dataclass(frozen=True)
class Cell:
    """Name what one row of the results is about.

    Attributes:
        system, channel: labels.
        snr_db: of the channel.
        cbr: complex channel uses for each source value; None is the largest that the system offers.
        steps, realism: None where the system has no such thing.
        seed: of the random numbers.
    """

    system: str
    channel: str
    snr_db: float
    cbr: float | None
    steps: StepCount | None
    realism: float | None
    seed: int

    def __str__(self) -> str:
        return ", ".join(f"{k} {v}" for k, v in asdict(self).items() if v is not None)


def plan_cells(config: Config, systems: Iterable[System]) -> list[Cell]:
    """List every cell once, seed by seed, so that an interrupted evaluation has something of everything.

    A system without a sampler has one cell where others have many; at realism 0 none is run, whatever the steps.

    Args:
        config: of the evaluation.
        systems: to compare.
    """
    axes = [(s.label, *pair) for s in systems for pair in _receptions(config, s.axes)]
    return [
        Cell(label, channel.label, snr_db, cbr, steps, realism, seed)
        for seed in config.seeds
        for channel in config.channels
        for cbr in config.cbr
        for snr_db in config.snr_db
        for label, steps, realism in axes
    ]


def _receptions(config: Config, axes: tuple[str, ...]) -> list[tuple[StepCount | None, float | None]]:
    dials = config.realism if "realism" in axes else (None,)
    counts = config.steps if "steps" in axes else (None,)
    return list(dict.fromkeys((None if dial == 0 else count, dial) for dial in dials for count in counts))


@dataclass(frozen=True)
class Job:
    """Compute a cell: it has all that this takes.

    Attributes:
        cell, system, channel, data, metrics: what to compute.
        batch: images at a time.
        pictures: how many received images are kept.
        data_sha256: of the data.
        references: for metrics that compare with images that were not sent.
        ratio: bandwidth ratio to ask the system for in place of the cell's, so that it takes as many uses as the others.
        own_channel: what `object_identity` says of a user's channel.
    """

    cell: Cell
    system: System
    channel: Channel
    data: ImageSet
    metrics: Metrics
    batch: int
    pictures: int
    data_sha256: str
    references: ImageSet | None = None
    ratio: float | None = None
    own_channel: Any = None

    @cached_property
    def identity(self) -> dict[str, Any]:
        """Collect all that the numbers depend on, as it is when this is first asked: an object of a user's may change while it works."""
        own = any(metric is not None for metric in self.metrics.values())
        metrics = {name: object_identity(metric) for name, metric in self.metrics.items()} if own else list(self.metrics)
        sometimes: dict[str, Any] = {} if self.references is None else {"references_sha256": self.references.sha256}
        sometimes |= {} if self.ratio is None else {"ratio": self.ratio}
        sometimes |= {} if self.own_channel is None else {"channel": self.own_channel}
        return sometimes | {
            "format_version": VERSION,
            "semdiff": str(build_info()["version"]).partition("+")[0],  # a wheel's names its torch, which a build from source does not
            "cell": asdict(self.cell),
            "system": self.system.identity,
            "data_sha256": self.data_sha256,
            "batch": self.batch,  # the noise of a batch has a key of its own
            "metrics": metrics,
            "pictures": self.pictures,
        }

    @property
    def digest(self) -> str:
        """Compute the digest of the identity, which names the cell's files."""
        return json_digest(self.identity)

    def transmit(self, images: Tensor, key: Key) -> Transmission:
        """Send images as the cell says.

        Args:
            images: float (B, C, H, W) in [0, 1].
            key: of the random numbers.
        """
        axes = {k: v for k, v in (("steps", self.cell.steps), ("realism", self.cell.realism)) if v is not None}
        ratio = self.cell.cbr if self.ratio is None else self.ratio
        # A copy: a system of a user's may write into what it is given, and others come after it.
        return self.system.transmit(images.clone(), self.cell.snr_db, ratio, self.channel, key, **axes)

    def run(self, folder: Path) -> None:
        """Compute the cell and write its files; the one that says it is done comes last.

        Args:
            folder: of the evaluation.
        """
        received: list[Tensor] = []
        snr: list[Tensor] = []
        times: list[Tensor] = []
        milliseconds: list[float] = []
        for i, part in enumerate(self.data.images.split(self.batch)):
            # The same key for every system and SNR: rows differ by what they name, not by the noise's draw.
            key = Key(self.cell.seed).fold_in(i)
            done = self.transmit(part, key)
            if done.images.shape != part.shape:
                raise ValueError(f"systems.{self.cell.system}: expected images {tuple(part.shape)} back, got {tuple(done.images.shape)}")
            received.append(done.images.detach().cpu().float())
            snr.append(done.snr_db.detach().cpu().double())
            times.append(done.t.detach().cpu().double())
            milliseconds.append(1000 * done.seconds / len(part))
        images = torch.cat(received)
        ledger = asdict(done.ledger)
        row = asdict(self.cell) | {name: ledger.get(name, 0) for name in LEDGER}
        row |= {
            "images": len(images),
            "uses": done.ledger.total,
            "cbr_used": done.ledger.cbr,
            "measured_snr_db": float(torch.cat(snr).mean()),
            "t": float(torch.cat(times).mean()),
            "evaluations": done.evaluations,
            "milliseconds": statistics.median(milliseconds),
        }
        references = None if self.references is None else self.references.images
        found = compute_metrics(self.metrics, images, self.data.images, self.data.labels, references)
        for name, (value, error) in found.items():
            row |= {name: value, f"{name}_se": error}
        if self.pictures:
            save_pictures(picture_path(folder, self.digest), images[: self.pictures])
        document = {"format": FORMAT, "format_version": VERSION, "identity": self.identity, "row": row, "environment": environment()}
        write_atomically(cell_path(folder, self.digest), to_json(document))


def cell_path(folder: Path, name: str) -> Path:
    """Return the path of a cell's file in an evaluation's folder; name is its digest."""
    return folder / "cells" / f"{name}.json"


def picture_path(folder: Path, name: str) -> Path:
    """Return the path of kept images in an evaluation's folder; name is a cell's json_digest, or originals."""
    return folder / "pictures" / f"{name}.npy"


def read_cell(folder: Path, name: str) -> dict[str, Any]:
    """Read a finished cell's file.

    Args:
        folder: of the evaluation.
        name: the cell's digest.

    Raises:
        ValueError: where it is damaged, or is not what its name says.
    """
    path = cell_path(folder, name)
    document = read_json(path, FORMAT, VERSION)
    if json_digest(document.get("identity")) != name or not isinstance(document.get("row"), dict):
        raise ValueError(f"{path}: altered, its content is not what its name says; delete it, and the same command computes it again")
    return document


def save_pictures(path: Path, images: Tensor) -> None:
    """Write images as 8-bit integers, rounded.

    Args:
        path: of the .npy file.
        images: (B, C, H, W) in [0, 1].
    """
    content = io.BytesIO()
    np.save(content, (images * 255).round().clamp(0, 255).to(torch.uint8).numpy(), allow_pickle=False)
    write_atomically(path, content.getvalue())


def environment() -> dict[str, Any]:
    """Describe the software and the machine that compute a cell."""
    found = build_info()
    return {
        "semdiff": found["version"],
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "isa": found["isa"],
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
    }

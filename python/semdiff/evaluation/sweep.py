# SPDX-License-Identifier: Apache-2.0
"""Run an evaluation: divide its cells among the processes, compute those that are missing, and assemble the table.

Every finished cell is a file (semdiff.evaluation.cells), so an evaluation that was stopped goes on where it was, and several processes or
machines that see one folder need nothing else in common: torchrun and accelerate tell each its RANK and WORLD_SIZE. Two evaluations of one
folder at once do no cell twice, since each claims the one that it computes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from semdiff._util.arguments import fits
from semdiff._util.claims import claimed
from semdiff.evaluation.cells import COLUMNS, Cell, Job, cell_path, picture_path, plan_cells, read_cell, save_pictures
from semdiff.evaluation.channels import check_channel, make_channel
from semdiff.evaluation.config import Config
from semdiff.evaluation.identity import object_identity
from semdiff.evaluation.image_sets import KODAK, SAMPLES, ImageSet, load_images, load_references, own_images
from semdiff.evaluation.results import Results
from semdiff.evaluation.scores import Metric, Metrics, check_references, compute_metrics, load_metrics, unpaired_metrics
from semdiff.evaluation.specs import ChannelSpec, ObjectSpec, SystemSpec, is_own
from semdiff.evaluation.systems import System, check_systems, equal_cost_ratios, load_system, wrap_system
from semdiff.phy.channel import Channel
from semdiff.rng import Key

CLAIMS = ".claims"  # in an evaluation's folder until it is complete: which of its cells are being computed
WAIT = 0.2  # seconds between looks at what others compute
WITHOUT_TRAINING = {
    "tensor": "a tensor",
    KODAK: "Kodak's, which have no training split",
    SAMPLES: "the samples, which have no training split",
}


def sweep(
    config: Config | str | Path | Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    *,
    systems: Mapping[str, Any] | Sequence[Any] | None = None,
    channels: Mapping[str, Any] | Sequence[Any] | str | None = None,
    metrics: Mapping[str, Metric] | Sequence[Any] | str | None = None,
    data: Any = None,
    progress: bool = False,
    **changes: Any,
) -> Results:
    """Compute every metric of every combination of systems, channels, SNRs, bandwidths, steps, realism and seeds.

    Under torchrun or accelerate each process computes its share; the one that comes last has the whole table (`Results.complete`) and
    writes results.json, results.csv and summary.csv.

    Args:
        config: a Config, a TOML file of it (or the name of one in the package), a dict, or None.
        out: the folder of the results; the same call goes on where another was stopped. None keeps nothing on disk.
        systems: names as in a configuration, or a dict of label to a name or to any object with transmit(...).
        channels: names as in a configuration, or a dict of label to a name, a table of name and arguments, or a `semdiff.Channel`.
        metrics: names in semdiff.metrics, or a dict of name to a function (received, originals) or (received, originals, labels) -> (B,),
            in which {"psnr": "psnr"} is the package's.
        data: as in a configuration, or a tensor or NumPy array (N, C, H, W) in [0, 1], or a pair of it and labels (N,).
        progress: a bar on stderr, where that is a terminal.
        changes: fields of the configuration by name, which replace those of `config`.

    Returns:
        The table.

    Raises:
        ValueError, TypeError, ImportError: naming the field, before the work begins.

    Example:
        >>> from semdiff.baselines import ADJSCC
        >>> from semdiff.data import sample_images
        >>> from semdiff.evaluation import sweep
        >>> results = sweep(systems={"adjscc": ADJSCC.default()}, snr_db=[0, 10], data=sample_images(), metrics=["psnr"])
        >>> [(row["system"], row["snr_db"]) for row in results.rows]
        [('adjscc', 0.0), ('adjscc', 10.0)]
    """
    settings = _config(config, systems, channels, metrics, data, changes)
    parts = _prepare(settings, systems, channels, metrics, data)
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return _run(settings, parts, Path(folder), progress, keep=False)
    return _run(settings, parts, Path(out), progress, keep=True)


def _config(
    config: Config | str | Path | Mapping[str, Any] | None, systems: Any, channels: Any, metrics: Any, data: Any, changes: Mapping[str, Any]
) -> Config:
    if isinstance(config, (str, Path)):
        config = Config.from_toml(config)
    fields = dict(config.to_mapping() if isinstance(config, Config) else config or {})
    fields |= changes
    if isinstance(systems, Mapping):
        named = [_named_system(label, value) for label, value in systems.items()]
        systems = [found if isinstance(found, SystemSpec) else found[0] for found in named]
    if isinstance(channels, Mapping):
        channels = [ChannelSpec(label) for label in channels]
    for name, given in (("systems", systems), ("channels", channels), ("metrics", metrics)):
        if given is not None:
            fields[name] = list(given) if isinstance(given, Mapping) else given
    if data is not None:
        fields["data"] = data if _named(data) else "tensor"
    return Config.from_mapping(fields)


def _named(data: Any) -> bool:
    return data is None or isinstance(data, (str, Path, Mapping))


class Parts(NamedTuple):
    """Hold what an evaluation is made of, checked.

    Attributes:
        systems: to compare.
        channels: by label.
        own_channels: what `object_identity` says of a user's, by label.
        metrics: from `load_metrics`.
        images: what is sent.
        references: what unpaired metrics compare with, or None.
    """

    systems: list[System]
    channels: dict[str, Channel]
    own_channels: dict[str, Any]
    metrics: Metrics
    images: ImageSet
    references: ImageSet | None


def _prepare(config: Config, systems: Any, channels: Any, metrics: Any, data: Any) -> Parts:
    """Make and check all parts; the cheap ones come first, so that a wrong name is told before anything is loaded."""
    given = systems if isinstance(systems, Mapping) else {}
    specs = [_named_system(label, value) for label, value in given.items()] if given else list(config.systems)
    check_systems(tuple(spec for spec in specs if isinstance(spec, SystemSpec)))
    measures = load_metrics(metrics if isinstance(metrics, Mapping) else config.metrics)
    if isinstance(channels, Mapping):
        on_air = {ChannelSpec(label).label: _named_channel(label, value) for label, value in channels.items()}
        own = {label: object_identity(channel) for label, channel in on_air.items()}
    else:
        on_air = {spec.label: make_channel(spec) for spec in config.channels}
        own = {spec.label: object_identity(on_air[spec.label]) for spec in config.channels if is_own(spec.name)}
    images = load_images(config.data, config.images, config.grey) if _named(data) else own_images(data, "tensor", config.images)
    references = _references(config, measures, images)
    ready = [load_system(spec) if isinstance(spec, SystemSpec) else wrap_system(*spec) for spec in specs]
    _check_shapes(ready, images)
    return Parts(ready, on_air, own, measures, images, references)


def _named_system(label: str, value: Any) -> SystemSpec | tuple[str, Any]:
    """Return what a dict of systems has under a label: the name of one, or an object."""
    if isinstance(value, (str, Mapping)):
        table = {"name": value} if isinstance(value, str) else value
        return Config.from_mapping({"systems": [{**table, "label": label}], "snr_db": 0}).systems[0]
    return value if isinstance(value, SystemSpec) else (label, value)


def _named_channel(label: str, value: Any) -> Channel:
    """Make what a dict of channels has under a label, or check it where it is an object."""
    if isinstance(value, (str, Mapping)):
        return make_channel(Config.from_mapping({"systems": "link", "snr_db": 0, "channels": value}).channels[0])
    return check_channel(value, f"channels.{label}")


def _run(config: Config, parts: Parts, folder: Path, progress: bool, keep: bool) -> Results:
    ready, channels, own_channels, measures, images, references = parts
    by_label = {system.label: system for system in ready}
    sha256 = images.sha256
    first = config.seeds[0]
    ratios = {cbr: equal_cost_ratios(ready, cbr, tuple(images.images.shape[1:])) for cbr in config.cbr}
    same: dict[str, Any] = {"data": images, "metrics": measures, "batch": config.batch, "data_sha256": sha256, "references": references}
    jobs = [
        Job(
            c, by_label[c.system], channels[c.channel], pictures=config.pictures if c.seed == first else 0,
            ratio=ratios[c.cbr].get(c.system), own_channel=own_channels.get(c.channel), **same,
        )
        for c in plan_cells(config, ready)
    ]  # fmt: skip
    names = {job.cell: job.digest for job in jobs}
    if config.pictures:
        save_pictures(picture_path(folder, "originals"), images.images[: config.pictures])
    rank, size = process_rank()
    # By digest: dealing them out in the order of the plan could give one process all cells of the slowest system.
    share = {name for i, name in enumerate(sorted(names.values())) if i % size == rank}
    missing = [job for job in jobs if names[job.cell] in share and not cell_path(folder, names[job.cell]).exists()]
    _rehearse(missing)
    with _bar(len(missing), len(jobs), progress) as bar:
        _compute(missing, {cell: cell_path(folder, name) for cell, name in names.items()}, folder, bar)
    done = [job.cell for job in jobs if cell_path(folder, names[job.cell]).exists()]
    results = _assemble(config, folder if keep else None, folder, done, names, images, sha256, ready, measures)
    if references is not None and results.complete:
        results.header["references"] = _floor(references, measures, images)
    if keep and results.complete:
        results.write(folder)
        (folder / CLAIMS).unlink(missing_ok=True)
    return results


def _compute(missing: Sequence[Job], places: Mapping[Cell, Path], folder: Path, bar: Any) -> None:
    """Compute the cells that no process has, and wait for those that another one is at."""
    while missing:
        others = []
        for job in missing:
            with claimed(folder / CLAIMS, places[job.cell].name) as ours:
                if not ours:
                    others.append(job)
                    continue
                if not places[job.cell].exists():
                    bar.set_postfix_str(str(job.cell))
                    job.run(folder)
            bar.update()
        if len(others) == len(missing):
            time.sleep(WAIT)
        missing = others


def process_rank() -> tuple[int, int]:
    """Read (rank, world size) from the environment that torchrun and accelerate set; (0, 1) without them.

    Raises:
        ValueError: naming the variables, where they are no such numbers.
    """
    try:
        rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    except ValueError:
        rank, size = -1, 0
    if not 0 <= rank < size:
        found = f"RANK={os.environ.get('RANK')!r}, WORLD_SIZE={os.environ.get('WORLD_SIZE')!r}"
        raise ValueError(f"RANK, WORLD_SIZE: expected whole numbers, 0 <= RANK < WORLD_SIZE, in the environment, got {found}")
    return rank, size


def _references(config: Config, measures: Metrics, images: ImageSet) -> ImageSet | None:
    """What metrics that want references are given. ValueError where they contain what is sent, or there are none."""
    if not unpaired_metrics(measures):
        return None
    why = "of a module of yours" if isinstance(config.data, ObjectSpec) else WITHOUT_TRAINING.get(images.name)
    if config.references is None and why:
        raise ValueError(f"references: expected the name of a data set or a folder, for images that are {why}; got nothing")
    found = load_references(config.references or config.data, config.grey)
    check_references(found.images, images.images)
    return found


def _floor(references: ImageSet, measures: Metrics, images: ImageSet) -> dict[str, Any]:
    """What the references are, and how far from them the originals lie themselves: no receiver is expected to be nearer."""
    names = unpaired_metrics(measures)
    found = compute_metrics(dict.fromkeys(names), images.images, images.images, images.labels, references.images)
    floor = {name: found[name].value for name in names}
    return {"name": references.name, "images": len(references.images), "sha256": references.sha256, "originals": floor}


def _check_shapes(systems: list[System], data: ImageSet) -> None:
    shape = tuple(data.images.shape[1:])
    for system in systems:
        if system.image_shape is not None and not fits(shape, system.image_shape):
            raise ValueError(
                f"systems.{system.label}: expected a system for images of shape {shape}, which {data.name} has, "
                f"got one for {system.image_shape}"
            )


def _rehearse(jobs: list[Job]) -> None:
    """One transmission for each way to send: what cannot work is known before the work, and no first call is timed.

    A user's metrics are computed once, too.
    """
    seen: set[tuple[Any, ...]] = set()
    warm: set[str] = set()
    measured = False
    for job in jobs:
        c = job.cell
        way = (c.system, c.channel, c.cbr, c.steps, c.realism)
        if way in seen:
            continue
        seen.add(way)
        few = job.data.images[: 1 if c.system in warm else job.batch]
        warm.add(c.system)
        try:
            done = job.transmit(few, Key(0))
        except (ValueError, TypeError) as error:
            raise type(error)(f"systems.{c.system}: cannot transmit at {c}: {error}") from error
        own = {name: metric for name, metric in job.metrics.items() if metric is not None}
        if own and not measured:
            labels = None if job.data.labels is None else job.data.labels[: len(few)]
            compute_metrics(own, done.images.detach().cpu().float(), few, labels)
            measured = True


def _bar(missing: int, planned: int, shown: bool) -> Any:
    try:
        from tqdm import tqdm
    except ImportError as error:
        raise ImportError("an evaluation shows its progress with tqdm: pip install 'semdiff-torch[eval]'") from error
    hidden = None if shown else True  # None: hidden unless stderr is a terminal
    return tqdm(total=missing, disable=hidden, file=sys.stderr, unit="cell", desc=f"{missing} of {planned} cells", dynamic_ncols=True)


def _assemble(
    config: Config, kept: Path | None, folder: Path, done: list[Cell], names: dict[Cell, str], data: ImageSet, sha256: str,
    systems: list[System], metrics: Metrics,
) -> Results:  # fmt: skip
    documents = [read_cell(folder, names[cell]) for cell in done]
    environments: list[dict[str, Any]] = []
    for document in documents:
        if document["environment"] not in environments:
            environments.append(document["environment"])
    header = {
        "config": config.to_mapping(),
        "data": {"name": data.name, "shape": list(data.images.shape), "sha256": sha256},
        "systems": {s.label: s.identity | {"path": s.path, "trained_on": list(s.trained_on), "outputs": s.outputs} for s in systems},
        "metrics": list(metrics),
        "seeds": list(config.seeds),
        "pictures": config.pictures if kept else 0,
        "cells": len(names),
        "digests": [names[cell] for cell in done],
        "environments": environments,
    }
    columns = [*COLUMNS, *(f"{m}{end}" for m in metrics for end in ("", "_se"))]
    return Results(header, [{name: d["row"].get(name) for name in columns} for d in documents], kept)

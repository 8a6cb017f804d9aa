# SPDX-License-Identifier: Apache-2.0
"""The models in the package, and digests of a model's files: a damaged or altered one is noticed before its numbers are believed."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers.utils import logging

from semdiff._util.atomic import folder_atomically, keep_others

NAME = "checksums.json"
WEIGHTS = Path(__file__).parents[1] / "weights"


def shipped_models(kind: str = "") -> dict[str, Path]:
    """The links in the package, or the baselines of a kind such as adjscc by the name of the link that they are compared with: folders by
    name."""
    if kind:
        return {folder.name.removesuffix(f"-{kind}"): folder for folder in sorted(WEIGHTS.glob(f"*-{kind}"))}
    return {folder.name: folder for folder in sorted(WEIGHTS.iterdir()) if (folder / "model_index.json").is_file()}


def model_index(folder: Path) -> dict[str, Any]:
    """What a saved pipeline's model_index.json says, its class as _class_name. ValueError where it is damaged."""
    place = folder / "model_index.json"
    try:
        found = json.loads(place.read_text("utf-8"))
        if not isinstance(found, dict):
            raise TypeError(f"it is a {type(found).__name__}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{place}: expected a JSON object, as save_pretrained writes it, but it is damaged ({error})") from None
    return found


def find_model(model: str | os.PathLike[str], argument: str = "model", kind: str = "") -> Path:
    """The folder of a trained model: one of `shipped_models` by its name, or any. FileNotFoundError, naming the argument, for neither."""
    models = shipped_models(kind)
    folder = models.get(os.fspath(model), Path(model))
    if not folder.is_dir():
        known = f", or one of {', '.join(models)}" if models else ""
        raise FileNotFoundError(f"{argument}: expected a folder of a trained model{known}, got {os.fspath(model)!r}")
    return folder


def write_checksums(folder: Path) -> None:
    """Writes folder/checksums.json: the sha256 of every other file below."""
    (folder / NAME).write_text(json.dumps(_digests(folder), indent=1) + "\n", encoding="utf-8")


def verify_checksums(folder: Path) -> None:
    """Compares the files with folder/checksums.json, where there is one. ValueError naming a file that is missing, truncated or altered."""
    listing = folder / NAME
    if not listing.is_file():
        return
    try:
        digests = dict(json.loads(listing.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{listing}: expected a JSON object of sha256 digests, but it does not parse ({error})") from error
    for name, digest in digests.items():
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: this file of the model is missing")
        found = _digest(folder / name)
        if found != digest:
            raise ValueError(f"{folder / name}: truncated or altered, expected sha256 {digest}, got {found}")


def digest(folder: str | os.PathLike[str]) -> str:
    """The sha256 of a model's files, by name and content, wherever it lies."""
    return hashlib.sha256(json.dumps(_digests(Path(folder))).encode()).hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != NAME)
    return {p.relative_to(folder).as_posix(): _digest(p) for p in files}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def saved(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Where to write a model's files, diffusers being quiet. With checksums they become the folder, in one step; what else lies in it
    stays, and has its checksum too."""
    with quiet(), folder_atomically(Path(folder)) as beside:
        yield beside
        keep_others(Path(folder), beside)
        write_checksums(beside)


@contextmanager
def quiet() -> Iterator[None]:
    """diffusers without its progress bar and its remarks, which do not concern a link's user; then as it was."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()

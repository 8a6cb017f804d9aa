# SPDX-License-Identifier: Apache-2.0
"""Find the models in the package, and keep digests of a model's files: a damaged or altered one is noticed before its numbers are used."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffusers.utils import logging
from safetensors import SafetensorError

from semdiff._util.atomic import folder_atomically, keep_others
from semdiff.models.hub import READ, fetch_model, is_repository

CHECKSUMS = "checksums.json"
WEIGHTS = Path(__file__).parents[1] / "weights"
BASELINES_VARIABLE = "SEMDIFF_WEIGHTS"
CLONE = Path(__file__).parents[3]  # of a package that is used where it lies


def baselines_folder() -> Path:
    """Return the folder of the baselines' weights, which no wheel holds: $SEMDIFF_WEIGHTS, or weights/ of the clone that is in use."""
    return Path(os.environ.get(BASELINES_VARIABLE) or CLONE / "weights")


def shipped_models(kind: str = "") -> dict[str, Path]:
    """List the models that come with the package or lie in the repository: folders by name.

    Args:
        kind: empty for links, which are in the package; for baselines of a kind such as adjscc, the folders in `baselines_folder()` by the
            name of the link that they are compared with.
    """
    if kind:
        return {folder.name.removesuffix(f"-{kind}"): folder for folder in sorted(baselines_folder().glob(f"*-{kind}"))}
    return {folder.name: folder for folder in sorted(WEIGHTS.iterdir()) if (folder / "model_index.json").is_file()}


def find_baseline(model: str, kind: str, name: str, recipe: str) -> Path:
    """Find the folder of a baseline in `baselines_folder()`.

    Args:
        model: name of the link that it is compared with.
        kind: as in `shipped_models`.
        name: of its class, for the message.
        recipe: the command that trains one, likewise.

    Raises:
        FileNotFoundError: where there is none; it says how to get one.
    """
    folder = shipped_models(kind).get(model)
    if folder is None:
        where = f"{baselines_folder()} (weights/ of a clone of the repository; {BASELINES_VARIABLE} names another place)"
        hint = f"export {BASELINES_VARIABLE}=CLONE/weights, or train one by {recipe}"
        raise FileNotFoundError(f"no {name} of the name {model!r} lies in {where}; {hint}")
    return folder


def model_index(folder: Path) -> dict[str, Any]:
    """Read a saved pipeline's model_index.json; its class is under _class_name.

    Args:
        folder: of the pipeline.

    Raises:
        ValueError: where it is damaged.
    """
    place = folder / "model_index.json"
    try:
        found = json.loads(place.read_text("utf-8"))
        if not isinstance(found, dict):
            raise TypeError(f"it is a {type(found).__name__}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{place}: expected a JSON object, as save_pretrained writes it, but it is damaged ({error})") from None
    return found


def find_model(model: str | os.PathLike[str], argument: str = "model", kind: str = "", **hub: Any) -> Path:
    """Find the folder of a trained model.

    Args:
        model: the name of one in the package, a folder, or user/model on the Hub, in this order.
        argument: name of the argument, for the message.
        kind: as in `shipped_models`.
        hub: options of `semdiff.models.hub.fetch_model`.

    Raises:
        FileNotFoundError: naming the argument, where it is none of them.
    """
    models = shipped_models(kind)
    folder = models.get(os.fspath(model), Path(model))
    if folder.is_dir():
        return folder
    if is_repository(model):
        return fetch_model(str(model), argument, **hub)
    known = f", one of {', '.join(models)}" if models else ""
    raise FileNotFoundError(f"{argument}: expected a folder of a trained model{known}, or user/model on the Hub, got {os.fspath(model)!r}")


def write_checksums(folder: Path) -> None:
    """Write folder/checksums.json: the sha256 of every other file below."""
    (folder / CHECKSUMS).unlink(missing_ok=True)  # it may be a link to that of an older model, which stays as it is
    (folder / CHECKSUMS).write_text(json.dumps(_digests(folder), indent=1) + "\n", encoding="utf-8")


def verify_checksums(folder: Path) -> None:
    """Compare the files that are read of a model with folder/checksums.json, where there is one.

    Args:
        folder: of the model.

    Raises:
        ValueError: naming a file that is missing, truncated or altered.
    """
    listing = folder / CHECKSUMS
    if not listing.is_file():
        return
    try:
        digests = json.loads(listing.read_text(encoding="utf-8"))
        if not isinstance(digests, dict):
            raise TypeError(f"it is a {type(digests).__name__}")
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{listing}: expected a JSON object of sha256 digests, but it does not parse ({error})") from error
    for name, digest in digests.items():
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{listing}: expected names of files in this folder, got {name!r}")
        if not name.endswith(READ):
            continue  # such as README.md, which is edited on the Hub
        if not (folder / name).is_file():
            raise ValueError(f"{folder / name}: this file of the model is missing")
        found = _digest(folder / name)
        if found != digest:
            raise ValueError(f"{folder / name}: truncated or altered, expected sha256 {digest}, got {found}")


def files_digest(folder: str | os.PathLike[str]) -> str:
    """Compute the sha256 of a model's files, by name and content, wherever the folder lies."""
    return hashlib.sha256(json.dumps(_digests(Path(folder))).encode()).hexdigest()


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != CHECKSUMS)
    return {p.relative_to(folder).as_posix(): _digest(p) for p in files}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextmanager
def saved(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a place to write a model's files to, with diffusers quiet, and put them into the folder in one step with checksums.

    What else lies in the folder stays, and has its checksum too.

    Args:
        folder: of the model.

    Yields:
        The folder to write to.
    """
    with quiet(), disk_errors(folder), folder_atomically(Path(folder)) as beside:
        yield beside
        keep_others(Path(folder), beside)
        write_checksums(beside)


@contextmanager
def disk_errors(place: str | os.PathLike[str]) -> Iterator[None]:
    """Raise an OSError that names a place where safetensors could not write inside the block: its own error is of no such kind.

    Args:
        place: what is written.
    """
    try:
        yield
    except SafetensorError as error:
        code = re.search(r"\(os error (\d+)\)", str(error))
        if code is None:
            raise
        raise OSError(int(code[1]), os.strerror(int(code[1])), os.fspath(place)) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Silence diffusers' progress bar and remarks, which do not concern a link's user, inside the block."""
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()

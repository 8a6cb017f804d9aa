# SPDX-License-Identifier: Apache-2.0
"""Check that a results.json holds all that tables, figures and pages are made of."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from semdiff.evaluation.cells import COLUMNS, LEDGER


def _text(value: Any) -> bool:
    """Half a surrogate pair, which JSON can hold, is none: no page and no figure can show it."""
    return isinstance(value, str) and not any("\ud800" <= letter <= "\udfff" for letter in value)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _or_none(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or fits(value)


def _all(fits: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and len(value) >= least and all(map(fits, value))


def _digest(value: Any) -> bool:
    """A name that stays in its folder."""
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


def _object(**fields: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and all(name in value and fits(value[name]) for name, fits in fields.items())


def _system(value: Any) -> bool:
    lists = ("trained_on", "outputs")  # where there are any
    return _object(name=_text, weights_sha256=_or_none(_text))(value) and all(_all(_text)(value.get(name) or []) for name in lists)


# field: (what fits, in words)
HEADER: dict[str, tuple[Callable[[Any], bool], str]] = {
    "rows": (_all(_object()), "a list of objects"),
    "metrics": (_all(_text, 1), "names, at least one"),
    "seeds": (_all(_whole, 1), "integers, at least one"),
    "cells": (_whole, "an integer"),
    "digests": (_all(_digest), "sha256 digests in 64 hexadecimal digits"),
    "pictures": (_whole, "an integer"),
    "config": (_object(), "an object"),
    "data": (_object(name=_text, shape=_all(_whole, 4), sha256=_text), "an object with name, shape (four integers) and sha256"),
    "systems": (lambda v: isinstance(v, dict) and all(map(_system, v.values())), "an object of objects with name and weights_sha256"),
    "environments": (_all(_object(machine=_text, isa=_text, threads=_whole)), "a list of objects with machine, isa and threads"),
}
ROW: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(COLUMNS, (_or_none(_number), "a number or null")),
    **dict.fromkeys(("system", "channel"), (_text, "text")),
    **dict.fromkeys(("snr_db", "evaluations", "milliseconds"), (_number, "a number")),
    **dict.fromkeys(("seed", "images", "uses", *LEDGER), (_whole, "an integer")),
    "steps": (lambda v: v is None or v == "auto" or _whole(v), "an integer or null, or auto"),
}


def check_results(place: Path, document: dict[str, Any]) -> None:
    """Check the document of a results.json.

    Args:
        place: its path, for messages.
        document: its content.

    Raises:
        ValueError: naming the file and the field, where something is missing or is of another kind.
    """
    _check(place, "", document, HEADER)
    if len(document["digests"]) != len(document["rows"]):
        raise ValueError(f"{place}: digests: expected one for each of {len(document['rows'])} rows, got {len(document['digests'])}")
    errors = [f"{metric}_se" for metric in document["metrics"]]  # which a row may lack
    kinds = dict.fromkeys((*document["metrics"], *errors), (_or_none(_number), "a number or null")) | ROW
    for row in document["rows"]:
        _check(place, "rows: ", dict.fromkeys(errors) | row, kinds)
        if row["system"] not in document["systems"]:
            raise ValueError(f"{place}: rows: system: expected one of the header's, got {row['system']!r}")


def _check(place: Path, where: str, found: dict[str, Any], kinds: dict[str, tuple[Callable[[Any], bool], str]]) -> None:
    for name, (fits, words) in kinds.items():
        if name not in found:
            expected = f"expected the column {name} in each" if where else f"{name}: expected this field"
            raise ValueError(f"{place}: {where}{expected}, it is missing")
        if not fits(found[name]):
            raise ValueError(f"{place}: {where}{name}: expected {words}, got {str(found[name])[:200]!r}")

# SPDX-License-Identifier: Apache-2.0
"""Read fields of a configuration: (field, what TOML gives) -> what Config holds, or an error that names the field.

Each reader says in `takes` what it takes; the reference of the fields is made of that.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from semdiff.evaluation.specs import ChannelSpec, ObjectSpec, SystemSpec, is_own


@dataclass(frozen=True)
class Reader:
    """Read one field.

    Attributes:
        takes: what it takes, in words.
        read: (field, value) -> value.
    """

    takes: str
    read: Callable[[str, Any], Any]

    def __call__(self, name: str, value: Any) -> Any:
        """Read a value; name is the field's, for the message."""
        return self.read(name, value)


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Say that a name is unknown: the nearest known one, then all.

    Args:
        kind: what it is the name of.
        name: the unknown name.
        known: the known names.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name.lower(), names, 1)
    return f"unknown {kind} {name!r}{f', did you mean {near[0]!r}?' if near else ';'} known: {', '.join(names)}"


def several(one: Reader) -> Reader:
    """Return a reader of one or a list of different values.

    Args:
        one: reads each of them.
    """

    def read(name: str, value: Any) -> tuple[Any, ...]:
        values = list(value) if isinstance(value, (list, tuple, range)) else [value]
        if not values:
            raise ValueError(f"{name}: expected at least one, got none")
        found = tuple(one(name, v) for v in values)
        for i, v in enumerate(found):
            if v in found[:i]:
                raise ValueError(f"{name}: expected different values, got {values[i]!r} twice")
        return found

    return Reader(f"{one.takes}; or a list of these", read)


def number(low: float = -math.inf, high: float = math.inf) -> Reader:
    """Return a reader of a finite number from low to high."""
    bounds = f" in [{low:g}, {high:g}]" if math.isfinite(low) else ""

    def read(name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name}: expected a number{bounds}, got {value!r}")
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"{name}: expected a finite number{bounds}, got {value}")
        return float(value)

    return Reader(f"a number{bounds}", read)


def whole(low: int) -> Reader:
    """Return a reader of a whole number from low on."""

    def read(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}: expected a whole number, {low} or more, got {value!r}")
        if value < low:
            raise ValueError(f"{name}: expected a whole number, {low} or more, got {value}")
        return value

    return Reader(f"a whole number, {low} or more", read)


def optional(one: Reader) -> Reader:
    """Return a reader that also takes None, which is what a field has that is left out.

    Args:
        one: reads what is given.
    """
    return Reader(one.takes, lambda name, value: None if value is None else one(name, value))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, (str, Path)) or not str(value):
        raise TypeError(f"{name}: expected text, got {value!r}")
    return str(value)


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected true or false, got {value!r}")
    return value


def _ratio(name: str, value: Any) -> float:
    try:
        ratio = float(Fraction(value)) if isinstance(value, str) else value
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'{name}: expected a ratio such as 0.08 or "1/12", got {value!r}') from None
    if isinstance(ratio, bool) or not isinstance(ratio, (int, float)):
        raise TypeError(f'{name}: expected a ratio such as 0.08 or "1/12", got {value!r}')
    if not (math.isfinite(ratio) and ratio > 0):
        raise ValueError(f'{name}: expected a ratio above zero such as 0.08 or "1/12", got {value!r}')
    return float(ratio)


def _steps(name: str, value: Any) -> int | str:
    return "auto" if value == "auto" else int(whole(1)(name, value))


def _system(name: str, value: Any) -> SystemSpec:
    if isinstance(value, SystemSpec):
        return value
    table: Any = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise TypeError(f"{name}: expected a name or a table of name, path, label and options, got {value!r}")
    for key, entry in table.items():
        if key not in ("name", "path", "label", "options"):
            raise ValueError(f"{name}.{key}: {unknown('field', key, ('name', 'path', 'label', 'options'))}")
        if key != "options":
            _text(f"{name}.{key}", entry)
        elif not isinstance(entry, Mapping):
            raise TypeError(f"{name}.options: expected a table of the constructor's arguments, got {entry!r}")
    options = tuple(sorted(table.get("options", {}).items()))
    return SystemSpec(table["name"], table.get("path"), table.get("label") or table["name"].rpartition(":")[2], options)


def _systems(name: str, value: Any) -> tuple[SystemSpec, ...]:
    found: tuple[SystemSpec, ...] = several(Reader("", _system))(name, value)
    if (label := _twice([s.label for s in found])) is not None:
        raise ValueError(f"{name}: expected labels that differ, got {label!r} twice; a table's label tells two of one name apart")
    return found


def _channel(name: str, value: Any) -> ChannelSpec:
    if isinstance(value, ChannelSpec):
        return value
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise TypeError(f"{name}: expected a name or a table with name and the channel's arguments, got {value!r}")
    kind = table["name"] if is_own(table["name"]) else table["name"].lower()
    return ChannelSpec(kind, tuple(sorted((k, v) for k, v in table.items() if k != "name")))


def _channels(name: str, value: Any) -> tuple[ChannelSpec, ...]:
    found: tuple[ChannelSpec, ...] = several(Reader("", _channel))(name, value)
    if (label := _twice([c.label for c in found])) is not None:
        both = " and ".join(repr(c.name) for c in found if c.label == label)
        raise ValueError(f"{name}: expected names that differ in the results, got {both}, both {label}")
    return found


def _object(name: str, value: Any) -> str | ObjectSpec:
    """Text as it is; "module:Name" and a table of name and arguments as an ObjectSpec."""
    if isinstance(value, ObjectSpec):
        return value
    if isinstance(value, Mapping):
        if not isinstance(value.get("name"), str) or not is_own(value["name"]):
            raise TypeError(f'{name}: expected text or a table of name = "module:Name" and its arguments, got {value!r}')
        return ObjectSpec(value["name"], tuple(sorted((k, v) for k, v in value.items() if k != "name")))
    text = _text(name, value)
    return ObjectSpec(text) if is_own(text) else text


def _metrics(name: str, value: Any) -> tuple[str | ObjectSpec, ...]:
    found: tuple[str | ObjectSpec, ...] = several(Reader("", _object))(name, value)
    if (column := _twice([str(metric) for metric in found])) is not None:
        raise ValueError(f"{name}: expected names that differ, got two that make the column {column!r}")
    return found


def _twice(labels: list[str]) -> str | None:
    """Return the first label that is there twice; None where all differ."""
    return next((label for label in labels if labels.count(label) > 1), None)


OWN = 'a name ("module:Name" for one of yours)'
text = Reader("text", _text)
truth = Reader("true or false", _truth)
steps = Reader('a whole number, 1 or more, or "auto"', _steps)
ratio = Reader('a ratio such as 0.08 or "1/12"', _ratio)
systems = Reader(f"{OWN} or a table of name, path, label and options; or a list of these", _systems)
channels = Reader(f"{OWN} or a table of name and arguments; or a list of these", _channels)
images = Reader(f"{OWN}, a folder, or a table of name and arguments for one of yours", _object)
metrics = Reader(f"{OWN} or a table of name and arguments for one of yours; or a list of these", _metrics)

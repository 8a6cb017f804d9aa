# SPDX-License-Identifier: Apache-2.0
"""Describe an evaluation: every combination of systems, channels, SNRs, bandwidths, steps, realism and seeds, on one data set.

A configuration is a TOML file with the fields of `Config`; configs/fashion-mnist.toml is one. Bandwidth ratios may be written "1/12".
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SystemSpec:
    """Name a system of an evaluation.

    Attributes:
        name: as registered.
        path: a folder of weights.
        label: in the results.
        options: the constructor's arguments, for systems that take them; of a link also match and solver, as in `SemanticLink.transmit`.
    """

    name: str
    path: str | None = None
    label: str = ""
    options: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class ChannelSpec:
    """Name a channel of an evaluation.

    Attributes:
        name: of its class in semdiff, in any case.
        options: the constructor's arguments.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """Return the channel's label in the results: its name and arguments."""
        return self.name + (f"({', '.join(f'{k}={v}' for k, v in self.options)})" if self.options else "")


@dataclass(frozen=True)
class Config:
    """Hold the configuration of an evaluation. Fields without a default must be given.

    Attributes:
        systems: names, or tables of name, path, label and options.
        snr_db: SNRs in dB.
        data: fashion-mnist, cifar10 (the test split), photos, kodak, or a folder of images of one size.
        references: what the *_unpaired metrics compare with, as data; None is the training split of data.
        grey: read a folder's images as luma.
        images: how many; None is all.
        channels: names, or tables of name and the constructor's arguments.
        cbr: complex uses for each source value; None is the largest that each system has.
        steps, realism, seeds: of receivers, and of the random numbers.
        metrics: names in semdiff.metrics.
        batch: images at a time.
        pictures: how many received images of the first seed are kept.

    Example:
        >>> from semdiff.evaluation import Config
        >>> config = Config.from_mapping({"systems": "adjscc", "snr_db": [0, 10], "cbr": "1/12"})
        >>> config.snr_db, round(config.cbr[0], 4)
        ((0.0, 10.0), 0.0833)
    """

    systems: tuple[SystemSpec, ...]
    snr_db: tuple[float, ...]
    data: str = "fashion-mnist"
    references: str | None = None
    grey: bool = False
    images: int | None = None
    channels: tuple[ChannelSpec, ...] = (ChannelSpec("awgn"),)
    cbr: tuple[float | None, ...] = (None,)
    steps: tuple[int, ...] = (8,)
    realism: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0,)
    metrics: tuple[str, ...] = ("psnr",)
    batch: int = 100
    pictures: int = 0

    @classmethod
    def from_toml(cls, path: str | Path) -> Config:
        """Read a configuration from a TOML file.

        Args:
            path: the file, or the name of one in the package.

        Raises:
            FileNotFoundError: where there is no file.
            ValueError, TypeError: naming the file and the field, for anything that does not fit.
        """
        place = find_config(path)
        try:
            with place.open("rb") as file:
                return cls.from_mapping(tomllib.load(file))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{place}: expected a TOML file, but it does not parse ({error})") from error
        except (ValueError, TypeError) as error:
            raise type(error)(f"{place}: {error}") from error

    @classmethod
    def from_mapping(cls, given: Mapping[str, Any]) -> Config:
        """Read a configuration from a dict.

        Args:
            given: fields by name; a single value may stand for a list of one.

        Raises:
            ValueError, TypeError: naming the field, for anything that does not fit.
        """
        known = {field.name for field in fields(cls)}
        for name in given:
            if name not in known:
                raise ValueError(f"{name}: {unknown('field', name, known)}")
        for name in ("systems", "snr_db"):
            if name not in given:
                raise ValueError(f"{name}: expected this field, which has no default; got only {', '.join(given) or 'nothing'}")
        return cls(**{name: _READERS[name](name, value) for name, value in given.items()})

    def to_mapping(self) -> dict[str, Any]:
        """Return the fields as plain lists and numbers, as `from_mapping` reads them, without what was left out."""
        document: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        document["systems"] = [_table(name=s.name, path=s.path, label=s.label, options=dict(s.options) or None) for s in self.systems]
        document["channels"] = [{"name": c.name} | dict(c.options) for c in self.channels]
        document |= {name: list(document[name]) for name in ("snr_db", "cbr", "steps", "realism", "seeds", "metrics")}
        if self.cbr == (None,):
            del document["cbr"]
        return _table(**document)

    def to_toml(self) -> str:
        """Return the configuration as a TOML file that `from_toml` reads back."""
        return "".join(f"{name} = {_toml(value)}\n" for name, value in self.to_mapping().items())


def find_config(path: str | Path) -> Path:
    """Find a configuration.

    Args:
        path: a TOML file, or the name of one in the package, without .toml.

    Raises:
        FileNotFoundError: where there is neither.
    """
    shipped = Path(__file__).with_name("configs")
    for place in (Path(path), shipped / f"{path}.toml"):
        if place.is_file():
            return place
    names = ", ".join(sorted(p.stem for p in shipped.glob("*.toml")))
    raise FileNotFoundError(f"config: expected a TOML file or the name of one in the package ({names}), got {str(path)!r}")


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


def _table(**values: Any) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None and v != ""}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


# Readers: (field, what TOML gives) -> what Config holds.


def _several(read: Callable[[str, Any], Any]) -> Callable[[str, Any], tuple[Any, ...]]:
    def reader(name: str, value: Any) -> tuple[Any, ...]:
        values = list(value) if isinstance(value, (list, tuple, range)) else [value]
        if not values:
            raise ValueError(f"{name}: expected at least one, got none")
        found = tuple(read(name, v) for v in values)
        for i, v in enumerate(found):
            if v in found[:i]:
                raise ValueError(f"{name}: expected different values, got {values[i]!r} twice")
        return found

    return reader


def _number(low: float = -math.inf, high: float = math.inf) -> Callable[[str, Any], float]:
    bounds = f" in [{low:g}, {high:g}]" if math.isfinite(low) else ""

    def reader(name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"{name}: expected a number{bounds}, got {value!r}")
        if not (math.isfinite(value) and low <= value <= high):
            raise ValueError(f"{name}: expected a finite number{bounds}, got {value}")
        return float(value)

    return reader


def _whole(low: int) -> Callable[[str, Any], int]:
    def reader(name: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name}: expected a whole number, {low} or more, got {value!r}")
        if value < low:
            raise ValueError(f"{name}: expected a whole number, {low} or more, got {value}")
        return value

    return reader


def _text(name: str, value: Any) -> str:
    if not isinstance(value, (str, Path)) or not str(value):
        raise TypeError(f"{name}: expected text, got {value!r}")
    return str(value)


def _truth(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{name}: expected true or false, got {value!r}")
    return value


def _optional(read: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    return lambda name, value: None if value is None else read(name, value)


def _ratio(name: str, value: Any) -> float:
    try:
        number = float(Fraction(value)) if isinstance(value, str) else value
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'{name}: expected a ratio such as 0.08 or "1/12", got {value!r}') from None
    if isinstance(number, bool) or not isinstance(number, (int, float)):
        raise TypeError(f'{name}: expected a ratio such as 0.08 or "1/12", got {value!r}')
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f'{name}: expected a ratio above zero such as 0.08 or "1/12", got {value!r}')
    return float(number)


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
    return SystemSpec(table["name"], table.get("path"), table.get("label") or table["name"], options)


def _systems(name: str, value: Any) -> tuple[SystemSpec, ...]:
    found: tuple[SystemSpec, ...] = _several(_system)(name, value)
    labels = [s.label for s in found]
    for label in labels:
        if labels.count(label) > 1:
            raise ValueError(f"{name}: expected labels that differ, got {label!r} twice; a table's label tells two of one name apart")
    return found


def _channel(name: str, value: Any) -> ChannelSpec:
    if isinstance(value, ChannelSpec):
        return value
    table = {"name": value} if isinstance(value, str) else value
    if not isinstance(table, Mapping) or not isinstance(table.get("name"), str):
        raise TypeError(f"{name}: expected a name or a table with name and the channel's arguments, got {value!r}")
    return ChannelSpec(table["name"].lower(), tuple(sorted((k, v) for k, v in table.items() if k != "name")))


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "systems": _systems,
    "snr_db": _several(_number()),
    "data": _text,
    "references": _optional(_text),
    "grey": _truth,
    "images": _optional(_whole(1)),
    "channels": _several(_channel),
    "cbr": _several(_optional(_ratio)),
    "steps": _several(_whole(1)),
    "realism": _several(_number(0, 1)),
    "seeds": _several(_whole(0)),
    "metrics": _several(_text),
    "batch": _whole(1),
    "pictures": _whole(0),
}

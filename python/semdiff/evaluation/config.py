# SPDX-License-Identifier: Apache-2.0
"""Describe an evaluation: every combination of systems, channels, SNRs, bandwidths, steps, realism and seeds, on one data set.

A configuration is a TOML file with the fields of `Config`; configs/fashion-mnist.toml is one. Bandwidth ratios may be written "1/12". A
name "module:Name" is that of an object of a module of yours (semdiff.evaluation.own_objects).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from semdiff.evaluation import readers
from semdiff.evaluation.readers import Reader, unknown
from semdiff.evaluation.specs import ChannelSpec, ObjectSpec, SystemSpec
from semdiff.transmission.step_count import StepCount


@dataclass(frozen=True)
class Config:
    """Hold the configuration of an evaluation. Fields without a default must be given.

    Attributes:
        systems: what is compared: link, adjscc and the others of `SYSTEMS`. A link's `model`, in its options, is a name or a folder.
        snr_db: average SNRs of the channel in dB.
        data: images to send: fashion-mnist or cifar10 (test splits), photos, kodak, samples (ten of the package), or a folder of one size.
        references: images that the *_unpaired metrics compare with, as data; by default the training split of data.
        grey: whether a folder's images are read as luma.
        images: how many are sent; by default all.
        channels: classes of semdiff by their names, with their constructors' arguments.
        cbr: complex channel uses for each source value; by default the most that each system offers.
        steps: evaluations of a sampler's denoiser, or "auto", as many as a model says that pay at the SNR.
        realism: of receivers, 0 for the picture of least error, 1 for the one of most detail.
        seeds: of the random numbers.
        metrics: names in `semdiff.metrics.METRICS`.
        batch: how many images are sent at a time.
        pictures: how many received images of the first seed are kept, for the report.

    Example:
        >>> from semdiff.evaluation import Config
        >>> config = Config.from_mapping({"systems": "adjscc", "snr_db": [0, 10], "cbr": "1/12"})
        >>> config.snr_db, round(config.cbr[0], 4)
        ((0.0, 10.0), 0.0833)
    """

    systems: tuple[SystemSpec, ...]
    snr_db: tuple[float, ...]
    data: str | ObjectSpec = "fashion-mnist"
    references: str | ObjectSpec | None = None
    grey: bool = False
    images: int | None = None
    channels: tuple[ChannelSpec, ...] = (ChannelSpec("awgn"),)
    cbr: tuple[float | None, ...] = (None,)
    steps: tuple[StepCount, ...] = ("auto",)
    realism: tuple[float, ...] = (1.0,)
    seeds: tuple[int, ...] = (0,)
    metrics: tuple[str | ObjectSpec, ...] = ("psnr",)
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
        return cls(**{name: READERS[name](name, value) for name, value in given.items()})

    def to_mapping(self) -> dict[str, Any]:
        """Return the fields as plain lists and numbers, as `from_mapping` reads them, without what was left out."""
        document: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        document["systems"] = [_table(name=s.name, path=s.path, label=s.label, options=dict(s.options) or None) for s in self.systems]
        document["channels"] = [{"name": c.name} | dict(c.options) for c in self.channels]
        document |= {name: list(document[name]) for name in ("snr_db", "cbr", "steps", "realism", "seeds")}
        document["metrics"] = [_own(metric) for metric in self.metrics]
        document |= {name: _own(document[name]) for name in ("data", "references")}
        if self.cbr == (None,):
            del document["cbr"]
        return _table(**document)

    def to_toml(self) -> str:
        """Return the configuration as a TOML file that `from_toml` reads back."""
        return "".join(f"{name} = {to_toml_value(value)}\n" for name, value in self.to_mapping().items())


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


def _own(value: Any) -> Any:
    if isinstance(value, ObjectSpec):
        return {"name": value.name} | dict(value.options) if value.options else value.name
    return value


def _table(**values: Any) -> dict[str, Any]:
    return {k: v for k, v in values.items() if v is not None and v != ""}


def to_toml_value(value: Any) -> str:
    """Write a value of a configuration as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {to_toml_value(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(to_toml_value, value)) + "]"
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


READERS: dict[str, Reader] = {
    "systems": readers.systems,
    "snr_db": readers.several(readers.number()),
    "data": readers.images,
    "references": readers.optional(readers.images),
    "grey": readers.truth,
    "images": readers.optional(readers.whole(1)),
    "channels": readers.channels,
    "cbr": readers.several(readers.optional(readers.ratio)),
    "steps": readers.several(readers.steps),
    "realism": readers.several(readers.number(0, 1)),
    "seeds": readers.several(readers.whole(0)),
    "metrics": readers.metrics,
    "batch": readers.whole(1),
    "pictures": readers.whole(0),
}

# SPDX-License-Identifier: Apache-2.0
"""Name the parts of an evaluation: systems, channels, and objects of a user's modules."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_own(name: str) -> bool:
    """Check whether a name is "module:Name", an object of a user's module."""
    return OWN.fullmatch(name) is not None


def _with_arguments(name: str, options: tuple[tuple[str, Any], ...]) -> str:
    return name + (f"({', '.join(f'{k}={v}' for k, v in options)})" if options else "")


@dataclass(frozen=True)
class SystemSpec:
    """Name a system of an evaluation.

    Attributes:
        name: as registered, or "module:Name".
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
        name: of its class in semdiff, in any case, or "module:Name".
        options: the constructor's arguments.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    @property
    def label(self) -> str:
        """Return the channel's label in the results: its name and arguments."""
        return _with_arguments(self.name.rpartition(":")[2], self.options)


@dataclass(frozen=True)
class ObjectSpec:
    """Name a metric or a set of images of a user's module.

    Attributes:
        name: "module:Name".
        options: arguments.
    """

    name: str
    options: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        return _with_arguments(self.name.rpartition(":")[2], self.options)

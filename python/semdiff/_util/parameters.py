# SPDX-License-Identifier: Apache-2.0
"""A model's tensors as a file holds them: all of them, no others, of the right shapes, finite. A name that does not fit is an error, since
what is not filled keeps whatever memory held."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from torch import Tensor

SHOWN = 4  # names in a message


def check_tensors(where: str, given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """ValueError, naming the tensors, unless `given` has exactly the names and shapes of `wanted`, and finite numbers."""
    check_names(where, wanted.keys() - given.keys(), given.keys() - wanted.keys())
    for name, tensor in wanted.items():
        if given[name].shape != tensor.shape:
            raise ValueError(f"{where}: {name}: expected shape {tuple(tensor.shape)}, got {tuple(given[name].shape)}")
    check_finite(where, given)


def check_names(where: str, missing: Collection[str], unknown: Collection[str]) -> None:
    """ValueError where there are any."""
    found = [f"{word} {_listed(names)}" for word, names in (("without", missing), ("with the unknown", unknown)) if names]
    if found:
        raise ValueError(f"{where}: expected the network's tensors, got them {' and '.join(found)}")


def check_finite(where: str, tensors: Mapping[str, Tensor]) -> None:
    """ValueError where a tensor holds NaN or infinity."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ValueError(f"{where}: {name}: expected finite weights, got NaN or infinity")


def _listed(names: Collection[str]) -> str:
    first = sorted(names)[:SHOWN]
    more = len(names) - len(first)
    return ", ".join(first) + (f" and {more} more" if more else "")

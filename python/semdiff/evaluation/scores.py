# SPDX-License-Identifier: Apache-2.0
"""How received images are judged: the one place where an evaluation meets semdiff.metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from semdiff.evaluation.config import unknown

# (received, originals, labels or None) -> (B,), one number an image, or an object with value and standard_error for all of them
Metric: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Any]


class Measured(NamedTuple):
    """A metric's mean over the images, and the standard error of that mean: NaN where there is none."""

    value: float
    standard_error: float


def check_metrics(names: Sequence[str]) -> None:
    """ValueError for a name that semdiff.metrics does not have."""
    known = _metrics().METRICS
    for name in names:
        if name not in known:
            raise ValueError(f"metrics: {unknown('metric', name, known)}")


def unpaired(metrics: Sequence[str] | Mapping[str, Metric]) -> list[str]:
    """Those names in semdiff.metrics that compare with references."""
    return [] if isinstance(metrics, Mapping) else [name for name in metrics if _metrics().METRICS[name].against == "references"]


def check_references(references: Tensor, originals: Tensor) -> None:
    """ValueError where the references contain images that are sent."""
    import_module("semdiff.metrics.registry").check_references(references, originals)


def judge(
    metrics: Sequence[str] | Mapping[str, Metric],
    images: Tensor,
    originals: Tensor,
    labels: Tensor | None,
    references: Tensor | None = None,
) -> dict[str, Measured]:
    """Every metric of the received images (B, C, H, W) in [0, 1]. metrics: names in semdiff.metrics, or functions by name."""
    if isinstance(metrics, Mapping):
        found = {name: metric(images, originals, labels) for name, metric in metrics.items()}
    else:
        found = _metrics().measure(list(metrics), images, originals, labels, references)
    return {name: _reduce(name, found[name]) for name in metrics}


def _reduce(name: str, found: Any) -> Measured:
    if not isinstance(found, Tensor):
        return Measured(float(found.value), math.nan if found.standard_error is None else float(found.standard_error))
    if found.dim() != 1:
        raise ValueError(f"metrics.{name}: expected one number an image, shape (B,), got {tuple(found.shape)}")
    each = found.double()
    return Measured(float(each.mean()), float(each.std() / math.sqrt(len(each))) if len(each) > 1 else math.nan)


def _metrics() -> Any:
    try:
        return import_module("semdiff.metrics")
    except ImportError as error:
        raise ImportError(f"metrics: semdiff.metrics is not here ({error}): pip install 'semdiff-torch[eval]'") from error

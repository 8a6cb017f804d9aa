# SPDX-License-Identifier: Apache-2.0
"""Measure received images: the one place where an evaluation calls semdiff.metrics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from semdiff.evaluation.config import unknown

# (received, originals, labels or None) -> (B,), one number an image, or an object with value and standard_error for all of them
Metric: TypeAlias = Callable[[Tensor, Tensor, Tensor | None], Any]


class MetricMean(NamedTuple):
    """Hold a metric's mean over the images, and the standard error of that mean.

    Attributes:
        value: the mean.
        standard_error: NaN where there is none.
    """

    value: float
    standard_error: float


def check_metrics(names: Sequence[str]) -> None:
    """Check that semdiff.metrics has these names.

    Raises:
        ValueError: for one that it has not.
    """
    known = _metrics().METRICS
    for name in names:
        if name not in known:
            raise ValueError(f"metrics: {unknown('metric', name, known)}")


def unpaired_metrics(metrics: Sequence[str] | Mapping[str, Metric]) -> list[str]:
    """List those metrics, by name in semdiff.metrics, that compare with references."""
    return [] if isinstance(metrics, Mapping) else [name for name in metrics if _metrics().METRICS[name].against == "references"]


def check_references(references: Tensor, originals: Tensor) -> None:
    """Check that references were not sent.

    Args:
        references, originals: images in [0, 1].

    Raises:
        ValueError: where the references contain originals.
    """
    import_module("semdiff.metrics.registry").check_references(references, originals)


def compute_metrics(
    metrics: Sequence[str] | Mapping[str, Metric],
    images: Tensor,
    originals: Tensor,
    labels: Tensor | None,
    references: Tensor | None = None,
) -> dict[str, MetricMean]:
    """Compute every metric of received images.

    Args:
        metrics: names in semdiff.metrics, or functions by name.
        images: received, float (B, C, H, W) in [0, 1].
        originals: likewise.
        labels: int64 (B,), or None.
        references: images that were not sent, or None.

    Returns:
        Mean and standard error by name.
    """
    if isinstance(metrics, Mapping):
        found = {name: metric(images, originals, labels) for name, metric in metrics.items()}
    else:
        found = _metrics().measure(list(metrics), images, originals, labels, references)
    return {name: _reduce(name, found[name]) for name in metrics}


def _reduce(name: str, found: Any) -> MetricMean:
    if not isinstance(found, Tensor):
        return MetricMean(float(found.value), math.nan if found.standard_error is None else float(found.standard_error))
    if found.dim() != 1:
        raise ValueError(f"metrics.{name}: expected one number an image, shape (B,), got {tuple(found.shape)}")
    each = found.double()
    return MetricMean(float(each.mean()), float(each.std() / math.sqrt(len(each))) if len(each) > 1 else math.nan)


def _metrics() -> Any:
    try:
        return import_module("semdiff.metrics")
    except ImportError as error:
        raise ImportError(f"metrics: semdiff.metrics is not here ({error}): pip install 'semdiff-torch[eval]'") from error

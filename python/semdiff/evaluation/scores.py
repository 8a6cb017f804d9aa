# SPDX-License-Identifier: Apache-2.0
"""Measure received images: the one place where an evaluation calls semdiff.metrics."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor

from semdiff._util.arguments import as_tensor
from semdiff._util.signatures import check_call
from semdiff.evaluation.own_objects import make_function
from semdiff.evaluation.readers import unknown
from semdiff.evaluation.specs import ObjectSpec

Metric: TypeAlias = Callable[..., Any]  # (received, originals) or (received, originals, labels) -> as `compute_metrics` says
Metrics: TypeAlias = Mapping[str, Metric | None]  # functions by name; None is semdiff.metrics' own of that name


class MetricMean(NamedTuple):
    """Hold a metric's mean over the images, and the standard error of that mean.

    Attributes:
        value: the mean.
        standard_error: NaN where there is none.
    """

    value: float
    standard_error: float


def load_metrics(given: Sequence[str | ObjectSpec] | Mapping[str, Metric]) -> Metrics:
    """Find the metrics of an evaluation.

    Args:
        given: names in semdiff.metrics and objects of a user's modules; or functions by name, among which {"psnr": "psnr"} is
            that of semdiff.metrics.

    Raises:
        ValueError: for a name that semdiff.metrics has not.
        TypeError: for what cannot be called as a metric is.
    """
    known = _metrics().METRICS
    if isinstance(given, Mapping):
        named = {name for name, metric in given.items() if isinstance(metric, str) and metric == name in known}
        return {name: None if name in named else _checked(name, metric) for name, metric in given.items()}
    for name in given:
        if isinstance(name, str) and name not in known:
            raise ValueError(f"metrics: {unknown('metric', name, known)}")
    return {
        str(metric): None if isinstance(metric, str) else _checked(str(metric), make_function(metric.name, dict(metric.options), "metrics"))
        for metric in given
    }


def _checked(name: str, metric: Any) -> Metric:
    """A user's metric as a function of (received, originals, labels)."""
    function = getattr(metric, "function", metric)  # of a semdiff.metrics.Metric
    if not callable(function):
        raise TypeError(f"metrics.{name}: expected a function of (images, originals), got {type(metric).__name__}")
    three = takes_labels(function)
    check_call(
        function, f"metrics.{name}: {getattr(function, '__name__', name)}", "images, originals, labels" if three else "images, originals"
    )
    return metric  # type: ignore[no-any-return]


def takes_labels(function: Callable[..., Any]) -> bool:
    """Check whether a metric takes labels: its third argument has no default, or is called labels.

    Args:
        function: the metric.
    """
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some built-in functions have none
        return False
    third = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)][2:3]
    return any(p.name == "labels" or p.default is p.empty for p in third)


def unpaired_metrics(metrics: Metrics) -> list[str]:
    """List those metrics, by name in semdiff.metrics, that compare with references."""
    return [name for name, own in metrics.items() if own is None and _metrics().METRICS[name].against == "references"]


def check_references(references: Tensor, originals: Tensor) -> None:
    """Check that references were not sent.

    Args:
        references, originals: images in [0, 1].

    Raises:
        ValueError: where the references contain originals.
    """
    import_module("semdiff.metrics.registry").check_references(references, originals)


def compute_metrics(
    metrics: Metrics, images: Tensor, originals: Tensor, labels: Tensor | None, references: Tensor | None = None
) -> dict[str, MetricMean]:
    """Compute every metric of received images.

    A user's metric returns one number an image, a tensor or an array (B,), or one for all of them, with value and standard_error.

    Args:
        metrics: from `load_metrics`.
        images: received, float (B, C, H, W) in [0, 1].
        originals: likewise.
        labels: int64 (B,), or None.
        references: images that were not sent, or None.

    Returns:
        Mean and standard error by name.
    """
    named = [name for name, own in metrics.items() if own is None]
    found: dict[str, Any] = _metrics().measure(named, images, originals, labels, references) if named else {}
    for name, own in metrics.items():
        if own is not None:
            function = getattr(own, "function", own)
            found[name] = function(images, originals, labels) if takes_labels(function) else function(images, originals)
    return {name: _reduce(name, as_tensor(found[name]), len(images)) for name in metrics}


def _reduce(name: str, found: Any, count: int) -> MetricMean:
    wanted, else_ = "one number an image, shape (B,)", "one for all of them is an object with value and standard_error"
    if not isinstance(found, Tensor):
        if not hasattr(found, "value"):
            raise TypeError(f"metrics.{name}: expected {wanted}, got {type(found).__name__}; {else_}")
        error = getattr(found, "standard_error", None)
        return MetricMean(float(found.value), math.nan if error is None else float(error))
    if found.shape != (count,):
        raise ValueError(f"metrics.{name}: expected {wanted}, got {tuple(found.shape)} for B = {count}; {else_}")
    each = found.double()
    return MetricMean(float(each.mean()), float(each.std() / math.sqrt(len(each))) if len(each) > 1 else math.nan)


def _metrics() -> Any:
    try:
        return import_module("semdiff.metrics")
    except ImportError as error:
        raise ImportError(f"metrics: semdiff.metrics is not here ({error}): pip install 'semdiff-torch[eval]'") from error

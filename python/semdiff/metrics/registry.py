# SPDX-License-Identifier: Apache-2.0
"""List all metrics by name, and compute several at once.

A name that ends in _unpaired is the distance from references, images that were not sent; without it, from the originals themselves.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from semdiff.metrics.check import check_image_batch
from semdiff.metrics.classifier import accuracy
from semdiff.metrics.distribution import Score
from semdiff.metrics.full_reference import ms_ssim, psnr, ssim
from semdiff.metrics.lpips_distance import lpips, lpips_shifted
from semdiff.metrics.set_distances import fid, frechet_classifier, kid, kid_patches


@dataclass(frozen=True)
class Metric:
    """Describe a metric: how to call it and how to read its result.

    Attributes:
        function: (images, originals), (images, labels) or (images, references) -> result.
        better: whether higher or lower values are better.
        unit: of the result; "" for a pure number.
        per: image, a tensor (B,), or set, one `Score`.
        against: what images are compared with.

    Example:
        >>> from semdiff.metrics import METRICS
        >>> METRICS["psnr"].better, METRICS["psnr"].unit
        ('higher', 'dB')
    """

    function: Callable[..., Any]
    better: Literal["higher", "lower"]
    unit: str
    per: Literal["image", "set"]
    against: Literal["originals", "labels", "references"] = "originals"


METRICS: Mapping[str, Metric] = {
    "psnr": Metric(psnr, "higher", "dB", "image"),
    "ssim": Metric(ssim, "higher", "", "image"),
    "ms_ssim": Metric(ms_ssim, "higher", "", "image"),
    "lpips_alex": Metric(partial(lpips, net="alex"), "lower", "", "image"),
    "lpips_alex_shifted": Metric(lpips_shifted, "lower", "", "image"),
    "lpips_vgg": Metric(partial(lpips, net="vgg"), "lower", "", "image"),
    "accuracy": Metric(accuracy, "higher", "", "image", "labels"),
    "fid": Metric(fid, "lower", "", "set"),
    "kid": Metric(kid, "lower", "", "set"),
    "kid_patches": Metric(kid_patches, "lower", "", "set"),
    "frechet_classifier": Metric(frechet_classifier, "lower", "", "set"),
    "fid_unpaired": Metric(fid, "lower", "", "set", "references"),
    "kid_unpaired": Metric(kid, "lower", "", "set", "references"),
    "kid_patches_unpaired": Metric(kid_patches, "lower", "", "set", "references"),
    "frechet_classifier_unpaired": Metric(frechet_classifier, "lower", "", "set", "references"),
}


@torch.no_grad()
def measure(
    names: Sequence[str], images: Tensor, originals: Tensor, labels: Tensor | None = None, references: Tensor | None = None
) -> dict[str, Tensor | Score]:
    """Compute the named metrics of images.

    Args:
        names: keys of METRICS.
        images: float (B, C, H, W) in [0, 1].
        originals: of the images, likewise.
        labels: int64 (B,), for accuracy.
        references: (M, C, H, W), images that were not sent, for the unpaired metrics.

    Returns:
        For each name a tensor (B,) or a `Score`.

    Raises:
        TypeError: for names that are no sequence of names.
        ValueError: for a name that METRICS has not, where a metric needs labels or references and there are none, or where the references
            contain originals.

    Example:
        >>> from semdiff.data import sample_images
        >>> from semdiff.metrics import measure
        >>> found = measure(["psnr"], sample_images().clamp(0.1, 1), sample_images())
        >>> found["psnr"].shape
        torch.Size([10])
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        got = f"the string {names!r}" if isinstance(names, str) else type(names).__name__
        raise TypeError(f"names: expected a sequence of names, got {got}")
    check_image_batch(images, "images")
    names = list(names)
    against = {"originals": originals, "labels": labels, "references": references}
    missing = {"labels": "an int64 tensor (B,), which {} compares with", "references": "images that were not sent, which {} compares with"}
    for name in names:
        if name not in METRICS:
            raise ValueError(f"names: expected some of {', '.join(METRICS)}, got {name!r}")
        other = METRICS[name].against
        if against[other] is None:
            raise ValueError(f"{other}: expected {missing.get(other, 'images, which {} compares with').format(name)}, got None")
    if any(METRICS[name].against == "originals" for name in names):
        check_image_batch(originals, "originals")
    if references is not None and any(METRICS[name].against == "references" for name in names):
        check_image_batch(references, "references")
        check_references(references, originals)
    return {name: METRICS[name].function(images, against[METRICS[name].against]) for name in names}


def check_references(references: Tensor, originals: Tensor) -> None:
    """Check that references were not sent.

    Data sets hold some images twice, which does no harm: one in a hundred of the originals may be among the references.

    Args:
        references: (M, C, H, W) in [0, 1].
        originals: (B, C, H, W) in [0, 1].

    Raises:
        ValueError: where more are.
    """
    known = set(_digests(references))
    found = sum(digest in known for digest in _digests(originals))
    if found > 0.01 * len(originals):
        raise ValueError(f"references: expected images that were not sent, got {found} of the {len(originals)} originals among them")


def _digests(images: Tensor) -> list[bytes]:
    """One of each image as 8-bit files have it."""
    pixels = (images.detach().float() * 255).round().to("cpu", torch.uint8).contiguous().numpy()
    return [hashlib.sha256(image.tobytes()).digest() for image in pixels]

# SPDX-License-Identifier: Apache-2.0
"""All metrics by name, for loops over them.

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

from semdiff.metrics.check import check_images
from semdiff.metrics.classifier import accuracy
from semdiff.metrics.distribution import Score
from semdiff.metrics.fidelity import ms_ssim, psnr, ssim
from semdiff.metrics.perceptual import lpips, lpips_shifted
from semdiff.metrics.realism import fid, frechet_classifier, kid, kid_patches


@dataclass(frozen=True)
class Metric:
    """function(images, originals), function(images, labels) or function(images, references), and how to read what it returns."""

    function: Callable[..., Any]
    better: Literal["higher", "lower"]
    unit: str  # "" for a pure number
    per: Literal["image", "set"]  # a tensor (B,) or one Score
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
    """The named metrics of images (B, C, H, W) against their originals, labels (B,), or references (M, C, H, W), images that were not sent:
    for each a tensor (B,) or a Score.

    ValueError for a name that METRICS has not, where a metric needs labels or references and there are none, or where the references
    contain originals.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        got = f"the string {names!r}" if isinstance(names, str) else type(names).__name__
        raise TypeError(f"names: expected a sequence of names, got {got}")
    check_images(images, "images")
    names = list(names)
    against = {"originals": originals, "labels": labels, "references": references}
    wanted = {"labels": "an int64 tensor (B,), which {} compares with", "references": "images that were not sent, which {} compares with"}
    for name in names:
        if name not in METRICS:
            raise ValueError(f"names: expected some of {', '.join(METRICS)}, got {name!r}")
        other = METRICS[name].against
        if against[other] is None:
            raise ValueError(f"{other}: expected {wanted.get(other, 'images, which {} compares with').format(name)}, got None")
    if any(METRICS[name].against == "originals" for name in names):
        check_images(originals, "originals")
    if references is not None and any(METRICS[name].against == "references" for name in names):
        check_images(references, "references")
        check_references(references, originals)
    return {name: METRICS[name].function(images, against[METRICS[name].against]) for name in names}


def check_references(references: Tensor, originals: Tensor) -> None:
    """ValueError where references (M, C, H, W) contain images that are sent: more than one in a hundred of the originals. Some data sets
    hold an image twice, which does no harm.
    """
    known = set(_digests(references))
    found = sum(digest in known for digest in _digests(originals))
    if found > 0.01 * len(originals):
        raise ValueError(f"references: expected images that were not sent, got {found} of the {len(originals)} originals among them")


def _digests(images: Tensor) -> list[bytes]:
    """One of each image as 8-bit files have it."""
    pixels = (images.detach().float() * 255).round().to("cpu", torch.uint8).contiguous().numpy()
    return [hashlib.sha256(image.tobytes()).digest() for image in pixels]

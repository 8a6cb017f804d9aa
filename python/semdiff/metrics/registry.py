# SPDX-License-Identifier: Apache-2.0
"""All metrics by name, for loops over them."""

from __future__ import annotations

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
from semdiff.metrics.perceptual import lpips
from semdiff.metrics.realism import fid, frechet_classifier, kid, kid_patches


@dataclass(frozen=True)
class Metric:
    """function(images, originals), or function(images, labels), and how to read what it returns."""

    function: Callable[..., Any]
    better: Literal["higher", "lower"]
    unit: str  # "" for a pure number
    per: Literal["image", "set"]  # a tensor (B,) or one Score
    against: Literal["originals", "labels"] = "originals"


METRICS: Mapping[str, Metric] = {
    "psnr": Metric(psnr, "higher", "dB", "image"),
    "ssim": Metric(ssim, "higher", "", "image"),
    "ms_ssim": Metric(ms_ssim, "higher", "", "image"),
    "lpips_alex": Metric(partial(lpips, net="alex"), "lower", "", "image"),
    "lpips_vgg": Metric(partial(lpips, net="vgg"), "lower", "", "image"),
    "accuracy": Metric(accuracy, "higher", "", "image", "labels"),
    "fid": Metric(fid, "lower", "", "set"),
    "kid": Metric(kid, "lower", "", "set"),
    "kid_patches": Metric(kid_patches, "lower", "", "set"),
    "frechet_classifier": Metric(frechet_classifier, "lower", "", "set"),
}


@torch.no_grad()
def measure(names: Sequence[str], images: Tensor, originals: Tensor, labels: Tensor | None = None) -> dict[str, Tensor | Score]:
    """The named metrics of images (B, C, H, W) against their originals, or against labels (B,): for each a tensor (B,) or a Score.

    ValueError for a name that METRICS has not, or where a metric needs labels and there are none.
    """
    if isinstance(names, str) or not isinstance(names, Iterable):
        got = f"the string {names!r}" if isinstance(names, str) else type(names).__name__
        raise TypeError(f"names: expected a sequence of names, got {got}")
    check_images(images, "images")
    names = list(names)
    for name in names:
        if name not in METRICS:
            raise ValueError(f"names: expected some of {', '.join(METRICS)}, got {name!r}")
        if METRICS[name].against == "labels" and labels is None:
            raise ValueError(f"labels: expected an int64 tensor (B,), which {name} compares with, got None")
    if any(METRICS[name].against == "originals" for name in names):
        check_images(originals, "originals")
    against = {"originals": originals, "labels": labels}
    return {name: METRICS[name].function(images, against[METRICS[name].against]) for name in names}

# SPDX-License-Identifier: Apache-2.0
"""A small classifier of Fashion-MNIST: does a picture still show what it showed? And 64 features for a cheap Frechet distance.

The shipped weights are those of `semdiff.training.classifier`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import cache
from importlib.resources import files
from typing import Final

import torch
from torch import Tensor, nn

from semdiff.metrics.check import check_images, in_full, need

SHAPE: Final = (1, 28, 28)
FEATURES: Final = 64
WEIGHTS = "fashion-mnist-classifier"
FILE = "classifier.safetensors"


def _block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Classifier(nn.Module):
    """Ten logits (B, 10) of grey pictures (B, 1, 28, 28) in [0, 1]; `features` gives the 64 numbers before the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            _block(1, 32, 5, 2), _block(32, 64, 3, 2), _block(64, 64, 3, 1), _block(64, 128, 3, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        )
        self.neck = nn.Linear(128, FEATURES)
        self.head = nn.Linear(FEATURES, 10)

    def features(self, images: Tensor) -> Tensor:
        return self.neck(self.trunk(images * 2 - 1)).relu()  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))  # type: ignore[no-any-return]


@cache
def default_classifier(device: torch.device | str = "cpu") -> Classifier:
    """The shipped one, in float32. ImportError without safetensors; ValueError if its file is altered."""
    load = need("safetensors.torch").load
    folder = files("semdiff") / "weights" / WEIGHTS
    content = (folder / FILE).read_bytes()
    expected, found = json.loads((folder / "checksums.json").read_text())[FILE], hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(f"{WEIGHTS}/{FILE}: truncated or altered, expected sha256 {expected}, got {found}")
    with torch.device("cpu"):  # whatever the default device is: what is kept here serves every later call
        model = Classifier()
    model.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in load(content).items()})
    return model.eval().requires_grad_(False).to(device)


def _by_parts(function: Callable[[Tensor], Tensor], images: Tensor, name: str) -> Tensor:
    check_images(images, name)
    if tuple(images.shape[1:]) != SHAPE:
        raise ValueError(f"{name}: expected shape (B, 1, 28, 28), which the Fashion-MNIST classifier takes, got {tuple(images.shape)}")
    with in_full(images):
        return torch.cat([function(part.float()) for part in images.split(1000)])


@torch.no_grad()
def classifier_features(images: Tensor, name: str = "images") -> Tensor:
    """The classifier's 64 features (B, 64) of images (B, 1, 28, 28) in [0, 1]."""
    return _by_parts(default_classifier(images.device).features, images, name)


@torch.no_grad()
def accuracy(x: Tensor, labels: Tensor) -> Tensor:
    """1.0 where the classifier gives the image (B, 1, 28, 28) its label, 0.0 elsewhere: (B,). The mean is the accuracy.

    labels: int64 (B,), as `semdiff.data.fashion_mnist` gives them. On the original test images the mean is 0.917.
    """
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"labels: expected an int64 tensor (B,), got {getattr(labels, 'dtype', type(labels).__name__)}")
    check_images(x, "x")
    if labels.device.type not in ("cpu", x.device.type):
        raise ValueError(f"labels: expected them on the CPU or the device of x, {x.device}, got {labels.device}")
    found = _by_parts(default_classifier(x.device), x, "x").argmax(1)
    if labels.shape != (len(x),):
        raise ValueError(f"labels: expected shape ({len(x)},), got {tuple(labels.shape)}")
    if not bool(((labels >= 0) & (labels < 10)).all()):
        raise ValueError(f"labels: expected 0 to 9, got {labels.min().item()} to {labels.max().item()}")
    return (found == labels.to(found.device)).float()

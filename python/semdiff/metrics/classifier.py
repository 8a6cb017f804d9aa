# SPDX-License-Identifier: Apache-2.0
"""Small classifiers of Fashion-MNIST and CIFAR-10: does a picture still show what it showed? And 64 features for a cheap Frechet distance.

The shipped weights are those of `semdiff.training.recipes.classifier`.
"""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.resources import files
from typing import Final

import torch
from torch import Tensor, nn

from semdiff._util.parameters import check_tensors
from semdiff.metrics.check import check_images, in_full, need

FEATURES: Final = 64
# By data set: the shape of its images, and the convolutions of the trunk (channels, kernel, stride).
NETWORKS: Final = {
    "fashion-mnist": ((1, 28, 28), ((32, 5, 2), (64, 3, 2), (64, 3, 1), (128, 3, 2))),
    "cifar10": ((3, 32, 32), ((48, 3, 1), (48, 3, 2), (96, 3, 1), (96, 3, 2), (192, 3, 1), (192, 3, 2))),
}
FILE = "classifier.safetensors"


def _block(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class Classifier(nn.Module):
    """Ten logits (B, 10) of the data set's images in [0, 1]; `features` gives the 64 numbers before the last layer.

    data: "fashion-mnist", images (B, 1, 28, 28), or "cifar10", (B, 3, 32, 32).
    """

    def __init__(self, data: str = "fashion-mnist") -> None:
        super().__init__()
        (inputs, *_), layers = NETWORKS[data]
        blocks = []
        for outputs, kernel, stride in layers:
            blocks.append(_block(inputs, outputs, kernel, stride))
            inputs = outputs
        self.trunk = nn.Sequential(*blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.neck = nn.Linear(inputs, FEATURES)
        self.head = nn.Linear(FEATURES, 10)

    def features(self, images: Tensor) -> Tensor:
        return self.neck(self.trunk(images * 2 - 1)).relu()  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images))  # type: ignore[no-any-return]


@cache
def default_classifier(device: torch.device | str = "cpu", data: str = "fashion-mnist") -> Classifier:
    """The shipped one of a data set, in float32. ImportError without safetensors; ValueError if its file is altered or is not of this
    network."""
    load = need("safetensors.torch").load
    name = f"{data}-classifier"
    folder = files("semdiff") / "weights" / name
    content = (folder / FILE).read_bytes()
    expected, found = json.loads((folder / "checksums.json").read_text())[FILE], hashlib.sha256(content).hexdigest()
    if found != expected:
        raise ValueError(f"{name}/{FILE}: truncated or altered, expected sha256 {expected}, got {found}")
    with torch.device("cpu"):  # whatever the default device is: what is kept here serves every later call
        model = Classifier(data)
    tensors = load(content)
    check_tensors(f"{name}/{FILE}", tensors, model.state_dict())
    model.load_state_dict({n: t.float() if t.is_floating_point() else t for n, t in tensors.items()})
    return model.eval().requires_grad_(False).to(device)


def data_of(images: Tensor, name: str) -> str:
    """The data set whose classifier takes images of this shape. ValueError, naming the argument, where there is none."""
    check_images(images, name)
    for data, (shape, _) in NETWORKS.items():
        if tuple(images.shape[1:]) == shape:
            return data
    known = " or ".join(f"(B, {', '.join(map(str, shape))}) of {data}" for data, (shape, _) in NETWORKS.items())
    raise ValueError(f"{name}: expected shape {known}, for which there are classifiers, got {tuple(images.shape)}")


def _by_parts(kind: str, images: Tensor, name: str) -> Tensor:
    network = default_classifier(images.device, data_of(images, name))
    function = network.features if kind == "features" else network
    with in_full(images):
        return torch.cat([function(part.float()) for part in images.split(1000)])


@torch.no_grad()
def classifier_features(images: Tensor, name: str = "images") -> Tensor:
    """The 64 features (B, 64) of Fashion-MNIST's or CIFAR-10's images, by the classifier of the data set that has this shape, in [0, 1]."""
    return _by_parts("features", images, name)


@torch.no_grad()
def accuracy(x: Tensor, labels: Tensor) -> Tensor:
    """1.0 where the classifier gives the image, (B, 1, 28, 28) or (B, 3, 32, 32), its label, 0.0 elsewhere: (B,). The mean is the accuracy.

    labels: int64 (B,), as `semdiff.data.fashion_mnist` and `cifar10` give them. On Fashion-MNIST's original test images the mean is 0.917.
    """
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"labels: expected an int64 tensor (B,), got {getattr(labels, 'dtype', type(labels).__name__)}")
    check_images(x, "x")
    if labels.device.type not in ("cpu", x.device.type):
        raise ValueError(f"labels: expected them on the CPU or the device of x, {x.device}, got {labels.device}")
    found = _by_parts("logits", x, "x").argmax(1)
    if labels.shape != (len(x),):
        raise ValueError(f"labels: expected shape ({len(x)},), got {tuple(labels.shape)}")
    if not bool(((labels >= 0) & (labels < 10)).all()):
        raise ValueError(f"labels: expected 0 to 9, got {labels.min().item()} to {labels.max().item()}")
    return (found == labels.to(found.device)).float()

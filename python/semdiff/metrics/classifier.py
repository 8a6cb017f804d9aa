# SPDX-License-Identifier: Apache-2.0
"""Classify images of Fashion-MNIST and CIFAR-10, to measure whether they still show what they showed, and compute features of them.

The features are 64 numbers for a cheap Frechet distance. The shipped weights are those of `semdiff.training.recipes.classifier`.
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
from semdiff.metrics.check import check_image_batch, in_full, need

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
    """Classify images of a data set into its ten classes.

    Args:
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
        """Compute the 64 numbers before the last layer, (B, 64).

        Args:
            images: (B, C, H, W) in [0, 1].
        """
        return self.neck(self.trunk(images * 2 - 1)).relu()  # type: ignore[no-any-return]

    def forward(self, images: Tensor) -> Tensor:
        """Compute the ten logits, (B, 10).

        Args:
            images: (B, C, H, W) in [0, 1].
        """
        return self.head(self.features(images))  # type: ignore[no-any-return]


@cache
def default_classifier(device: torch.device | str = "cpu", data: str = "fashion-mnist") -> Classifier:
    """Load the shipped classifier of a data set, in float32. It is kept for later calls.

    Args:
        device: where it runs.
        data: the data set.

    Raises:
        ImportError: without safetensors.
        FileNotFoundError: where the package has none for this data set.
        ValueError: where its file is altered, or is not of this network.
    """
    load = need("safetensors.torch").load
    name = f"{data}-classifier"
    folder = files("semdiff") / "weights" / name
    if not folder.is_dir():
        trains = f"python -m semdiff.training.recipes.classifier {data} trains one"
        raise FileNotFoundError(f"data: no classifier of {data} comes with the package; {trains}")
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
    """Find the data set whose classifier takes images of this shape.

    Args:
        images: (B, C, H, W) in [0, 1].
        name: of the argument, for the message.

    Raises:
        ValueError: where there is none.
    """
    check_image_batch(images, name)
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
    """Compute features of images by the classifier of the data set that has their shape.

    Args:
        images: (B, 1, 28, 28) or (B, 3, 32, 32) in [0, 1].
        name: of the argument, for messages.

    Returns:
        float32 (B, 64).
    """
    return _by_parts("features", images, name)


_last: tuple[str, Tensor] | None = None  # digest and features


def kept_features(images: Tensor, name: str = "images") -> Tensor:
    """Compute `classifier_features`, or return those of the call before where it was of the same images: of thousands of references.

    Args:
        images, name: as of `classifier_features`.
    """
    global _last
    what = f"{tuple(images.shape)} {images.dtype} {images.device} "
    pixels = images.detach().cpu().contiguous().flatten().view(torch.uint8).numpy()
    digest = hashlib.sha256(what.encode() + pixels.tobytes()).hexdigest()
    last = _last  # another thread may put its own there
    if last is None or last[0] != digest:
        last = _last = digest, classifier_features(images, name)
    return last[1]


@torch.no_grad()
def accuracy(x: Tensor, labels: Tensor) -> Tensor:
    """Compare the classifier's class of each image with its label. The mean over images is the accuracy.

    On the original test images the mean is 0.917 for Fashion-MNIST and 0.875 for CIFAR-10.

    Args:
        x: (B, 1, 28, 28) or (B, 3, 32, 32) in [0, 1].
        labels: int64 (B,), as `semdiff.data.fashion_mnist` and `cifar10` give them.

    Returns:
        float32 (B,), 1.0 where they agree and 0.0 elsewhere.

    Raises:
        TypeError, ValueError: naming the argument.

    Example:
        >>> import torch
        >>> from semdiff.data import sample_images
        >>> from semdiff.metrics import accuracy
        >>> accuracy(sample_images(), torch.arange(10)).mean()
        tensor(1.)
    """
    if not isinstance(labels, Tensor) or labels.dtype != torch.int64:
        raise TypeError(f"labels: expected an int64 tensor (B,), got {getattr(labels, 'dtype', type(labels).__name__)}")
    check_image_batch(x, "x")
    if labels.device.type not in ("cpu", x.device.type):
        raise ValueError(f"labels: expected them on the CPU or the device of x, {x.device}, got {labels.device}")
    found = _by_parts("logits", x, "x").argmax(1)
    if labels.shape != (len(x),):
        raise ValueError(f"labels: expected shape ({len(x)},), got {tuple(labels.shape)}")
    if not bool(((labels >= 0) & (labels < 10)).all()):
        raise ValueError(f"labels: expected 0 to 9, got {labels.min().item()} to {labels.max().item()}")
    return (found == labels.to(found.device)).float()

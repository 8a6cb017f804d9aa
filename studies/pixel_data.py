# SPDX-License-Identifier: Apache-2.0
"""Describe the two data sets that the studies of links on pixels send."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from semdiff.baselines import ADJSCC, PerceptualADJSCC, PerceptualResidualJSCC, ResidualJSCC
from semdiff.data import cifar10, fashion_mnist
from semdiff.data.cifar10 import CIFAR10_CLASSES
from semdiff.data.fashion_mnist import CLASSES
from semdiff.link import PixelLink
from semdiff.models.store import shipped_models


@dataclass(frozen=True)
class PixelData:
    """A data set and the systems that are trained on it.

    Attributes:
        name, title: of the data set, in commands and in texts.
        suffix: of the names of its results.
        image_shape: (C, H, W).
        classes: what they show.
        uses: of the channel, complex, for an image.
        baselines: learned codes by their names in tables.
        shared: the baseline whose transmitter the link has.
    """

    name: str
    title: str
    suffix: str
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    uses: tuple[int, ...]
    baselines: dict[str, Any]
    shared: str

    def cbr(self, uses: int) -> float:
        """Uses of the channel for each source value."""
        return uses / math.prod(self.image_shape)

    def codes(self) -> dict[str, Any]:
        """The baselines whose weights are in the repository."""
        return {name: kind.default(self.name) for name, kind in self.baselines.items() if self.name in shipped_models(kind.weights)}

    def test_images(self, count: int) -> tuple[Tensor, Tensor]:
        """The first test images, in [0, 1], and their classes."""
        if self.name == "cifar10":
            pixels, labels = cifar10("test")
            return pixels[:count].float() / 255, labels[:count]
        images, labels = fashion_mnist("test")
        return images[:count], labels[:count]


EVERY = (
    PixelData(
        "fashion-mnist", "Fashion-MNIST", "", (1, 28, 28), CLASSES, (64, 32),
        {"ADJSCC": ADJSCC, "ADJSCC+LPIPS": PerceptualADJSCC}, "ADJSCC+LPIPS",
    ),
    PixelData(
        "cifar10", "CIFAR-10", "_cifar10", (3, 32, 32), CIFAR10_CLASSES, (512, 256, 128),
        {"ADJSCC": ADJSCC, "ResidualJSCC": ResidualJSCC, "ResidualJSCC+LPIPS": PerceptualResidualJSCC}, "ResidualJSCC+LPIPS",
    ),
)  # fmt: skip


def data_of(link: PixelLink) -> PixelData:
    """The data set that a link was trained on, by the shape of its images."""
    return next(data for data in EVERY if data.image_shape == tuple(link.image_shape))

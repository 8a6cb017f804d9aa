# SPDX-License-Identifier: Apache-2.0
"""Readers of image data sets that lie on this machine, and a few images that come with the package. Nothing is downloaded."""

from semdiff.data.fashion_mnist import FashionMNIST, fashion_mnist
from semdiff.data.samples import sample_images

__all__ = ["FashionMNIST", "fashion_mnist", "sample_images"]

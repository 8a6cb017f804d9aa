# SPDX-License-Identifier: Apache-2.0
"""How near a set of images is to a set of references, one number with the number of images: FID, KID (also of patches), and FD of a
classifier's features.

As references take images that were not sent. Against the very originals each reception is also near its own, which flatters receivers that
keep to the mean. FID's bias falls as 1/N: 10,000 images or more are usual, 2,048 the fewest that give full-rank covariances, and only
scores at the same N compare. KID has no bias, and a thousand will do.
"""

from __future__ import annotations

import os
import warnings

from torch import Tensor

from semdiff.metrics.check import check_sets
from semdiff.metrics.classifier import classifier_features
from semdiff.metrics.distribution import Score, frechet_distance, kernel_distance
from semdiff.metrics.inception import inception_features

FEWEST_FOR_FID = 2000  # images: with fewer FID is mostly bias
PATCH = 144  # pixels: a third of the height of the held-out photographs


def fid(x: Tensor, y: Tensor, weights: str | os.PathLike[str] | None = None, cached: bool = True) -> Score:
    """Frechet Inception distance of images x (N, 1 or 3, H, W) from the reference images y (M, ...), both in [0, 1], N, M >= 2.

    With fewer than 2,000 images on a side there is a UserWarning: such a number is mostly bias. Grey is repeated to three channels.
    cached: y's features are kept in the user's cache folder. FileNotFoundError, with the command that installs them, without weights.
    """
    check_sets(x, y, 2)
    found = Score(frechet_distance(*_features(x, y, weights, cached)), min(len(x), len(y)))
    if found.n < FEWEST_FOR_FID:
        text = f"FID of {found.n} images is mostly bias; take {FEWEST_FOR_FID} or more on both sides, or KID"
        warnings.warn(text, UserWarning, stacklevel=2)
    return found


def kid(x: Tensor, y: Tensor, weights: str | os.PathLike[str] | None = None, cached: bool = True) -> Score:
    """Kernel Inception distance, arguments as `fid`, N, M >= 3: unbiased for independent sets, over all images at once.

    Where x are receptions of the very images y, near ones make it slightly negative; take other originals as y to avoid that.
    """
    check_sets(x, y, 3)
    value, error = kernel_distance(*_features(x, y, weights, cached))
    return Score(value, min(len(x), len(y)), error)


def kid_patches(x: Tensor, y: Tensor, weights: str | os.PathLike[str] | None = None, cached: bool = True, size: int = PATCH) -> Score:
    """`kid` of squares of `size` pixels, as many as lie side by side about each image's middle: for few large images (N, 1 or 3, H, W).

    n counts squares; those of one image are no independent draws, so the standard error is too small. ValueError where none fits.
    """
    check_sets(x, y, 1)
    return kid(patches(x, size), patches(y, size), weights, cached)


def patches(images: Tensor, size: int) -> Tensor:
    """Images (N, C, H, W) as squares (N * (H // size) * (W // size), C, size, size) about their middles. ValueError where none fits."""
    n, c, *sides = images.shape
    if size < 1 or min(sides) < size:
        raise ValueError(f"images: expected at least {size}x{size} pixels for a patch, got {tuple(images.shape)}")
    rows, columns = (side // size for side in sides)
    top, left = ((side - count * size) // 2 for side, count in zip(sides, (rows, columns), strict=True))
    middle = images[:, :, top : top + rows * size, left : left + columns * size]
    return middle.reshape(n, c, rows, size, columns, size).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, size, size)


def frechet_classifier(x: Tensor, y: Tensor) -> Score:
    """FD-classifier: the Frechet distance of the 64 features of a shipped classifier, Fashion-MNIST's or CIFAR-10's. It is not FID.

    x, y: (N, 1, 28, 28) or (N, 3, 32, 32) in [0, 1], N >= 2, both of one shape.
    """
    check_sets(x, y, 2)
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"y: expected images of x's shape, {tuple(x.shape[1:])}, got {tuple(y.shape[1:])}")
    return Score(frechet_distance(classifier_features(x, "x"), classifier_features(y, "y")), min(len(x), len(y)))


def _features(x: Tensor, y: Tensor, weights: str | os.PathLike[str] | None, cached: bool) -> tuple[Tensor, Tensor]:
    return inception_features(x, weights, label="features of x"), inception_features(y, weights, cached, label="features of y")

# SPDX-License-Identifier: Apache-2.0
"""Compare a set of images with a set of references: FID, KID (also of patches), and the Frechet distance of a classifier's features.

Each is one number with the number of images. As references take images that were not sent. Against the originals themselves each received
image is also near its own, which favours receivers that keep to the mean. FID's bias falls as 1/N: 10,000 images or more are usual, 2,048
the fewest that give full-rank covariances, and only scores at the same N compare. KID has no bias, and a thousand images are enough.
"""

from __future__ import annotations

import os
import warnings

from torch import Tensor

from semdiff.metrics.check import check_sets
from semdiff.metrics.classifier import classifier_features, kept_features
from semdiff.metrics.distribution import Score, frechet_distance, kernel_distance
from semdiff.metrics.inception import inception_features

FEWEST_FOR_FID = 2000  # images: with fewer FID is mostly bias
PATCH = 144  # pixels: a third of the height of the held-out photographs


def fid(x: Tensor, y: Tensor, weights: str | os.PathLike[str] | None = None, cached: bool = True) -> Score:
    """Compute the Frechet Inception distance (Heusel et al., arXiv 1706.08500).

    With fewer than 2,000 images on a side there is a UserWarning: such a number is mostly bias. Grey is repeated to three channels.

    Args:
        x: images, float (N, 1 or 3, H, W) in [0, 1], N >= 2.
        y: references, likewise; their number and size may differ.
        weights: Inception's file, or a folder that holds it; None finds it.
        cached: keep y's features in the user's cache folder.

    Returns:
        The distance.

    Raises:
        TypeError, ValueError: naming the argument.
        FileNotFoundError: with the command that installs them, where there are no weights.

    Example:
        >>> from semdiff.data import fashion_mnist
        >>> from semdiff.metrics import fid
        >>> images = fashion_mnist("test").images
        >>> fid(images[:2000], images[2000:4000]).n  # doctest: +SKIP
        2000
    """
    check_sets(x, y, 2)
    found = Score(frechet_distance(*_features(x, y, weights, cached)), min(len(x), len(y)))
    if found.n < FEWEST_FOR_FID:
        text = f"FID of {found.n} images is mostly bias; take {FEWEST_FOR_FID} or more on both sides, or KID"
        warnings.warn(text, UserWarning, stacklevel=2)
    return found


def kid(x: Tensor, y: Tensor, weights: str | os.PathLike[str] | None = None, cached: bool = True) -> Score:
    """Compute the kernel Inception distance (Binkowski et al., arXiv 1801.01401), unbiased for independent sets, over all images at once.

    Where x are received images of the very originals y, good ones make it slightly negative; take other originals as y to avoid that.

    Args:
        x, y, weights, cached: as of `fid`, N, M >= 3.

    Returns:
        The distance and its standard error.

    Raises:
        TypeError, ValueError, FileNotFoundError: as `fid`.

    Example:
        >>> from semdiff.data import sample_images
        >>> from semdiff.metrics import kid
        >>> kid(sample_images()[:5], sample_images()[5:], cached=False).n
        5
    """
    check_sets(x, y, 3)
    value, error = kernel_distance(*_features(x, y, weights, cached))
    return Score(value, min(len(x), len(y)), error)


def kid_patches(x: Tensor, y: Tensor, weights: str | os.PathLike[str] | None = None, cached: bool = True, size: int = PATCH) -> Score:
    """Compute `kid` of squares that lie side by side about each image's middle: for few large images.

    Args:
        x, y, weights, cached: as of `fid`.
        size: pixels on the side of a square.

    Returns:
        The distance; n counts squares. Those of one image are no independent draws, so the standard error is too small.

    Raises:
        ValueError: where no square fits.

    Example:
        >>> from semdiff.data import sample_photos
        >>> from semdiff.metrics import kid_patches
        >>> kid_patches(sample_photos()[:2], sample_photos()[2:], cached=False).n
        4
    """
    check_sets(x, y, 1)
    return kid(patches(x, size), patches(y, size), weights, cached)


def patches(images: Tensor, size: int) -> Tensor:
    """Cut images into the squares that lie side by side about their middles.

    Args:
        images: (N, C, H, W).
        size: pixels on the side of a square.

    Returns:
        (N * (H // size) * (W // size), C, size, size).

    Raises:
        ValueError: where no square fits.
    """
    n, c, *sides = images.shape
    if size < 1 or min(sides) < size:
        raise ValueError(f"images: expected at least {size}x{size} pixels for a patch, got {tuple(images.shape)}")
    rows, columns = (side // size for side in sides)
    top, left = ((side - count * size) // 2 for side, count in zip(sides, (rows, columns), strict=True))
    middle = images[:, :, top : top + rows * size, left : left + columns * size]
    return middle.reshape(n, c, rows, size, columns, size).permute(0, 2, 4, 1, 3, 5).reshape(-1, c, size, size)


def frechet_classifier(x: Tensor, y: Tensor) -> Score:
    """Compute the Frechet distance of the 64 features of a shipped classifier, Fashion-MNIST's or CIFAR-10's. It is not FID.

    Args:
        x, y: (N, 1, 28, 28) or (N, 3, 32, 32) in [0, 1], N >= 2, both of one image shape. The features of the last y are kept, so the same
            references are looked at once.

    Returns:
        The distance.

    Raises:
        TypeError, ValueError: naming the argument.

    Example:
        >>> from semdiff.data import sample_images
        >>> from semdiff.metrics import frechet_classifier
        >>> score = frechet_classifier(sample_images(), sample_images())
        >>> score.n, round(score.value, 3)
        (10, 0.0)
    """
    check_sets(x, y, 2)
    if x.shape[1:] != y.shape[1:]:
        raise ValueError(f"y: expected images of x's shape, {tuple(x.shape[1:])}, got {tuple(y.shape[1:])}")
    return Score(frechet_distance(classifier_features(x, "x"), kept_features(y, "y")), min(len(x), len(y)))


def _features(x: Tensor, y: Tensor, weights: str | os.PathLike[str] | None, cached: bool) -> tuple[Tensor, Tensor]:
    return inception_features(x, weights, label="features of x"), inception_features(y, weights, cached, label="features of y")

# SPDX-License-Identifier: Apache-2.0
"""Load the images that an evaluation sends, and the references that sets of them are compared with, which are not sent.

Images are the test split of Fashion-MNIST or CIFAR-10, held-out photographs, Kodak's, a few that are in the
package, a folder of images of one size, or what a user's module gives.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from semdiff._util.arguments import as_tensor
from semdiff.data.folders import read_folder
from semdiff.data.pictures import middle
from semdiff.evaluation.own_objects import make_object
from semdiff.evaluation.specs import ObjectSpec

FASHION_MNIST, CIFAR10, PHOTOS, KODAK, SAMPLES = "fashion-mnist", "cifar10", "photos", "kodak", "samples"
REFERENCES = 10_000  # images of the training split
PHOTO_SIZE = (432, 480)  # the largest whole cells that fit into every held-out photograph


class ImageSet(NamedTuple):
    """Hold a named set of images.

    Attributes:
        name: of the set.
        images: float32 (N, C, H, W) in [0, 1].
        labels: int64 (N,), or None.
    """

    name: str
    images: Tensor
    labels: Tensor | None

    @property
    def sha256(self) -> str:
        """Compute the digest of the images' values."""
        return hashlib.sha256(self.images.numpy().tobytes()).hexdigest()


def load_images(data: str | ObjectSpec, limit: int | None = None, grey: bool = False) -> ImageSet:
    """Load the images of an evaluation.

    Args:
        data: fashion-mnist, cifar10, photos, kodak, samples, a folder, or images of a user's module.
        limit: the first so many; None is all.
        grey: read a folder's images as luma.

    Raises:
        FileNotFoundError: where a data set or folder is missing.
        ValueError: where there are fewer than `limit`, or a folder has none.
        TypeError: where a user's module gives something else.
    """
    if isinstance(data, ObjectSpec):
        found = own_images(make_object(data.name, dict(data.options), "data"), str(data), limit)
    elif data == FASHION_MNIST:
        from semdiff.data import fashion_mnist

        images, labels = fashion_mnist("test")
        found = ImageSet(data, images[:limit], labels[:limit])
    elif data == CIFAR10:
        from semdiff.data import cifar10

        pixels, labels = cifar10("test")
        found = ImageSet(data, pixels[:limit].float() / 255, labels[:limit])
    elif data == PHOTOS:
        found = ImageSet(data, _photos()[:limit], None)
    elif data == KODAK:
        found = ImageSet(data, _kodak()[:limit], None)
    elif data == SAMPLES:
        from semdiff.data import sample_images

        found = ImageSet(data, sample_images()[:limit], None)
    else:
        found = ImageSet(data, _folder(Path(data), limit, grey), None)
    if limit is not None and len(found.images) < limit:
        raise ValueError(f"images: expected at most the {len(found.images)} that {data} has, got {limit}")
    return found


def own_images(given: Any, name: str, limit: int | None = None) -> ImageSet:
    """Check a user's images.

    Args:
        given: images (N, C, H, W) in [0, 1], a tensor or a NumPy array, or a pair of them and of labels (N,).
        name: of the set.
        limit: the first so many; None is all.

    Raises:
        TypeError, ValueError: naming the field data, for anything else.
    """
    wanted = "a float tensor or array (N, C, H, W) in [0, 1], or a pair of it and labels (N,)"
    images, labels = given if isinstance(given, tuple) and len(given) == 2 else (given, None)
    images, labels = as_tensor(images), as_tensor(labels)
    if not isinstance(images, Tensor) or not images.is_floating_point():
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise TypeError(f"data: expected {wanted}, got {got}" + ("; images / 255 makes one of bytes" if got == torch.uint8 else ""))
    images = images.detach().cpu().float().contiguous()
    if images.dim() != 4 or not len(images) or not bool(((images >= 0) & (images <= 1)).all()):
        raise ValueError(f"data: expected {wanted}, with N >= 1, got shape {tuple(images.shape)}" + _values(images))
    if labels is not None and (not isinstance(labels, Tensor) or labels.shape != (len(images),)):
        form = tuple(labels.shape) if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"data: expected labels of shape ({len(images)},), got {form}")
    return ImageSet(name, images[:limit], None if labels is None else labels.long()[:limit])


def _values(images: Tensor) -> str:
    return f" and values from {images.min().item():.4g} to {images.max().item():.4g}" if images.numel() else ""


def load_references(data: str | ObjectSpec, grey: bool = False) -> ImageSet:
    """Load images of the same kind that are not sent.

    They are the first 10,000 of a training split, the training photographs that are large enough, all of Kodak's images, or a folder.

    Args:
        data, grey: as in `load_images`.

    Raises:
        FileNotFoundError, ValueError: as `load_images`.
    """
    if isinstance(data, ObjectSpec) or data == SAMPLES:
        return load_images(data)
    if data == FASHION_MNIST:
        from semdiff.data import fashion_mnist

        return ImageSet("fashion-mnist, training split", fashion_mnist("train").images[:REFERENCES], None)
    if data == CIFAR10:
        from semdiff.data import cifar10

        return ImageSet("cifar10, training split", cifar10("train").images[:REFERENCES].float() / 255, None)
    if data == PHOTOS:
        return ImageSet("photos, training split", _photos("train"), None)
    if data == KODAK:
        return ImageSet(data, _kodak(), None)
    return ImageSet(data, _folder(Path(data), None, grey), None)


def _photos(split: Literal["train", "test"] = "test") -> Tensor:
    """The middle of each photograph of the split that is large enough; the held-out ones all are."""
    from semdiff.data import photos

    large = [p for p in photos(split).values() if p.shape[1] >= PHOTO_SIZE[0] and p.shape[2] >= PHOTO_SIZE[1]]
    return torch.stack([middle(pixels, *PHOTO_SIZE) for pixels in large]).float() / 255


def _kodak() -> Tensor:
    """Kodak's pictures; the six that are higher than wide turned a quarter to the left."""
    from semdiff.data import kodak

    upright = kodak().values()
    return torch.stack([p.rot90(1, (1, 2)) if p.shape[1] > p.shape[2] else p for p in upright]).float() / 255


def _folder(folder: Path, limit: int | None, grey: bool) -> Tensor:
    if not folder.is_dir():
        known = f"{FASHION_MNIST}, {CIFAR10}, {PHOTOS}, {KODAK}, {SAMPLES} or a folder of pictures"
        raise FileNotFoundError(f"data: expected {known}, got {str(folder)!r}")
    try:
        pictures = read_folder(folder, limit, grey or None)
    except ValueError as error:
        raise ValueError(f"data: {error}") from error
    names, pixels = list(pictures), list(pictures.values())
    for name, picture in pictures.items():
        if picture.shape != pixels[0].shape:
            raise ValueError(
                f"data: expected pictures of one size and colour in {folder}, got {_size(pixels[0])} in {names[0]} "
                f"and {_size(picture)} in {name}"
            )
    return torch.stack(pixels).float() / 255


def _size(picture: Tensor) -> str:
    return f"{picture.shape[2]}x{picture.shape[1]} {'grey' if picture.shape[0] == 1 else 'colour'}"

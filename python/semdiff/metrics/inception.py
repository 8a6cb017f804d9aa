# SPDX-License-Identifier: Apache-2.0
"""Compute the 2,048 features of FID and KID: Inception-v3 of 2015-12-05, as in the reference code of both (arXiv 1706.08500).

Images are rounded to 8 bits, as image files are, resized to 299 x 299 as TensorFlow 1 did (bilinear, first pixel on first pixel, no
smoothing before) and scaled to (p - 128) / 128.
"""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from semdiff.metrics.check import at_least_float, in_colour, in_full, need
from semdiff.metrics.weights import INCEPTION, read_weights

SIZE = 299
FEATURES = 2048
BATCH = 16
STORED_TOGETHER = 256  # images in one file of the cache: an interrupted extraction goes on where it was
_RECENT: OrderedDict[str, Tensor] = OrderedDict()  # so that FID and KID of the same images share their features
_RECENT_MOST = 80  # times 256 images: 160 MiB


def inception_features(
    images: Tensor, weights: str | os.PathLike[str] | None = None, cached: bool = False, label: str = "Inception features"
) -> Tensor:
    """Compute Inception features of images. A CPU core takes about 0.3 s an image; a bar shows the progress on a terminal.

    Args:
        images: float (B, 1 or 3, H, W) in [0, 1].
        weights: the network's file, or a folder that holds it; None finds it.
        cached: keep the features in the user's cache folder under a digest of the pixels, and read them from there the next time.
        label: of the progress bar.

    Returns:
        float32 (B, 2048), on the images' device.

    Raises:
        FileNotFoundError: where there are no weights.
    """
    bar, cache = need("tqdm").tqdm, need("semdiff.data.cache")
    pixels = (at_least_float(in_colour(images, "images").detach()) * 255).round().to(torch.uint8)
    network: Callable[[Tensor], Tensor] | None = None
    parts = []
    with in_full(images), bar(total=len(pixels), desc=label, unit="image", disable=None, leave=False) as progress:
        for part in pixels.split(STORED_TOGETHER):
            digest = _digest(part)
            file = cache.cache_folder() / "inception" / f"{digest}.safetensors"
            features = _RECENT.pop(digest, None)
            if features is None and cached:
                features = (cache.load_cached(file) or {}).get("features")
            if features is None:
                network = network or _network(None if weights is None else os.fspath(weights), images.device)
                found = []
                for batch in part.split(BATCH):
                    found.append(network(normalized(batch)).cpu())
                    progress.update(len(batch))
                features = torch.cat(found)
            else:
                progress.update(len(part))
            if cached and not file.exists():
                cache.store_cached(file, {"features": features})
            _RECENT[digest] = features
            if len(_RECENT) > _RECENT_MOST:
                _RECENT.popitem(last=False)
            parts.append(features)
    return torch.cat(parts).to(images.device)


def normalized(pixels: Tensor) -> Tensor:
    """Convert pixels to the network's input.

    Args:
        pixels: uint8 (B, 3, H, W).

    Returns:
        float32 (B, 3, 299, 299) in [-1, 1).
    """
    rows, columns = (_interpolation(n).to(pixels.device) for n in pixels.shape[2:])
    return (rows @ pixels.float() @ columns.mT - 128) / 128


def _interpolation(n: int) -> Tensor:
    """(299, n): each row holds the shares of the two neighbours of the place i * n / 299."""
    place = torch.arange(SIZE, dtype=torch.float64, device="cpu") * n / SIZE
    low = place.long()
    share = (place - low).float()
    matrix, i = torch.zeros(SIZE, n, device="cpu"), torch.arange(SIZE, device="cpu")
    matrix[i, low] = 1 - share
    matrix[i, (low + 1).clamp(max=n - 1)] += share
    return matrix


@cache
def _network(weights: str | None, device: torch.device) -> Callable[[Tensor], Tensor]:
    content = io.BytesIO(read_weights(INCEPTION, weights))
    with warnings.catch_warnings():  # TorchScript is deprecated, but the network exists in no other form
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)  # as torch calls it from 2.14 on
        network = torch.jit.load(content, map_location=device).eval()
    return torch.no_grad()(network)  # type: ignore[no-any-return]


def _digest(pixels: Tensor) -> str:
    found = hashlib.sha256(f"{INCEPTION.sha256} {tuple(pixels.shape)} ".encode())
    found.update(pixels.cpu().numpy().tobytes())
    return found.hexdigest()

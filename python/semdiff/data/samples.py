# SPDX-License-Identifier: Apache-2.0
"""A few real images in the package, for first steps without any data set."""

from __future__ import annotations

import io
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor


def sample_images() -> Tensor:
    """The first test image of each of Fashion-MNIST's ten classes (Zalando SE, MIT licence): float32 (10, 1, 28, 28) in [0, 1]."""
    content = (files("semdiff.data") / "sample_images.npy").read_bytes()
    pixels = np.load(io.BytesIO(content), allow_pickle=False)
    return torch.from_numpy(pixels).unsqueeze(1).float() / 255

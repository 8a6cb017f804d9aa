#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turn CIFAR-10 kept as lossless mosaics into its binary version, or with --png into PNG files, either of which semdiff.data.cifar10 reads.

SOURCE holds test_00.webp and so on and train_00.webp and so on, each of 50 x 50 images of 32 x 32 row by row, and for both splits
SPLIT_labels.npy and SPLIT_lossless.npy: uint8 classes, and whether an image is the data set's own to the bit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, CLASSES = 50, ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def read(source: Path, split: str) -> NDArray[np.uint8]:
    """Pixels (N, 32, 32, 3)."""
    parts = []
    for path in sorted(source.glob(f"{split}_*.webp")):
        mosaic = np.asarray(Image.open(path).convert("RGB"))
        parts.append(mosaic.reshape(SIDE, 32, SIDE, 32, 3).transpose(0, 2, 1, 3, 4).reshape(-1, 32, 32, 3))
    if not parts:
        raise SystemExit(f"{source}: no {split}_00.webp and so on here")
    return np.concatenate(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--png", action="store_true", help="write SPLIT/CLASS/INDEX.png in place of the binary version")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for split, files in (("test", ["test_batch.bin"]), ("train", [f"data_batch_{i}.bin" for i in range(1, 6)])):
        pixels, labels = read(options.source, split), np.load(options.source / f"{split}_labels.npy")
        np.save(options.out / f"{split}_lossless.npy", np.load(options.source / f"{split}_lossless.npy"))
        if options.png:
            for i, (image, label) in enumerate(zip(pixels, labels, strict=True)):
                place = options.out / split / CLASSES[label] / f"{i:05}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(place)
            continue
        records = np.concatenate([labels[:, None], pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)], 1).astype(np.uint8)
        for name, part in zip(files, np.split(records, len(files)), strict=True):
            part.tofile(options.out / name)
    print(f"wrote CIFAR-10 to {options.out}")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Train the classifiers of `semdiff.metrics` on Fashion-MNIST and CIFAR-10: python -m semdiff.training.recipes.classifier --help

A few minutes on one core. One thread, so that a second run gives the same bits on the same kind of processor.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional as F

from semdiff._util.atomic import write_atomically
from semdiff.data import cifar10, fashion_mnist
from semdiff.metrics.classifier import FILE, Classifier
from semdiff.rng import Key, normal, uniform
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.engine import Plan, Stage, fit

PLAN = Plan(steps=3300, batch_size=128, learning_rate=3e-3, average=0.995)  # seven times through Fashion-MNIST's training images
CIFAR10_PLAN = Plan(steps=5850, batch_size=128, learning_rate=3e-3, average=0.995)  # fifteen times through CIFAR-10's


class ClassifierStage(Stage):
    """Train by cross entropy. Half of the images, drawn by the key, are mirrored.

    Args:
        classifier: what is trained.
        shift: the batch is moved by up to so many pixels, drawn by the key as well; its edges are repeated.
    """

    def __init__(self, classifier: Classifier, shift: int = 0) -> None:
        super().__init__()
        self.classifier, self.shift = classifier, shift

    def forward(self, key: Key, images: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Compute the loss and the accuracy of images (B, C, H, W) with labels (B,); key draws the changes."""
        mirrored = normal((len(images), 1, 1, 1), key, device=images.device) > 0
        if self.shift:
            top, left = (uniform(2, key.fold_in(0)) * (2 * self.shift + 1)).long().clamp(0, 2 * self.shift).tolist()
            padded = F.pad(images, (self.shift,) * 4, mode="replicate")
            images = padded[:, :, top : top + images.shape[2], left : left + images.shape[3]]
        logits = self.classifier(torch.where(mirrored, images.flip(-1), images))
        return {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean()}


def train(
    images: Tensor,
    labels: Tensor,
    plan: Plan = PLAN,
    seed: int = 0,
    folder: Path | None = None,
    progress: bool = True,
    data: str = "fashion-mnist",
) -> Classifier:
    """Train a classifier; it is returned in eval mode.

    Args:
        images: (N, C, H, W) in [0, 1].
        labels: int64 (N,).
        plan: steps and learning rate.
        seed: of all random numbers.
        folder: of the checkpoints; None keeps none.
        progress: show a bar.
        data: name of the data set.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in convolutions depend on their number
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            classifier = Classifier(data)
        stage = ClassifierStage(classifier, shift=3 if data == "cifar10" else 0)
        accelerator = prepare_accelerator("auto", cpu=True) if data == "cifar10" else None  # bfloat16 where the processor computes with it
        fit(stage, (images, labels), plan, name="classifier", key=Key(seed), folder=folder, accelerator=accelerator, progress=progress)
    finally:
        torch.set_num_threads(threads)
    return classifier


@torch.no_grad()
def correct_share(classifier: Classifier, images: Tensor, labels: Tensor) -> float:
    """Compute the share of images that the classifier gives their labels.

    Args:
        classifier: in eval mode.
        images: (N, C, H, W) in [0, 1].
        labels: int64 (N,).
    """
    hits = [(classifier(i).argmax(1) == n).sum() for i, n in zip(images.split(1000), labels.split(1000), strict=True)]
    return float(sum(hits)) / len(labels)


def save_classifier(classifier: Classifier, folder: Path) -> None:
    """Write the classifier's weights to a folder in half precision, with their digest."""
    state = {n: t.half() if t.is_floating_point() else t for n, t in classifier.state_dict().items()}
    content = save(state)
    write_atomically(folder / FILE, content)
    digests = {FILE: hashlib.sha256(content).hexdigest()}
    write_atomically(folder / "checksums.json", (json.dumps(digests, indent=1) + "\n").encode())


def main(arguments: list[str] | None = None) -> int:
    """Run the command with these arguments; None is those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m semdiff.training.recipes.classifier", description=__doc__)
    parser.add_argument("set", nargs="?", choices=("fashion-mnist", "cifar10"), default="fashion-mnist")
    parser.add_argument("--data", type=Path, help="folder of the data set's files; Debian's Fashion-MNIST or $SEMDIFF_CIFAR10 if left out")
    parser.add_argument("--out", type=Path, default=Path("runs/classifier"), help="folder for the weights and their digest")
    options = parser.parse_args(arguments)
    learned, held_out = (_read(options.set, split, options.data) for split in ("train", "test"))
    plan = PLAN if options.set == "fashion-mnist" else CIFAR10_PLAN
    classifier = train(*learned, plan, folder=options.out / "checkpoints", data=options.set)
    save_classifier(classifier, options.out / "weights")
    print(f"test accuracy {correct_share(classifier, *held_out):.4f}")
    return 0


def _read(data: str, split: Literal["train", "test"], folder: Path | None) -> tuple[Tensor, Tensor]:
    if data == "fashion-mnist":
        return fashion_mnist(split, folder)
    images, labels = cifar10(split, folder)
    return images.float() / 255, labels


if __name__ == "__main__":
    raise SystemExit(main())

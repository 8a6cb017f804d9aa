# SPDX-License-Identifier: Apache-2.0
"""The shipped classifier, its accuracy and distance; and the training that made it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import semdiff
from semdiff.data import cifar10, fashion_mnist, sample_images
from semdiff.metrics import Score, accuracy, classifier, frechet_classifier
from semdiff.metrics.classifier import classifier_features, default_classifier
from tests.python.photographs import noisy
from tests.python.pretrained import installed
from tools.cifar10_mosaics import read


@pytest.fixture(scope="module")
def clothes():
    return installed(lambda: fashion_mnist("test"))


def test_samples_are_told_apart():
    images = sample_images()
    right = accuracy(images, torch.arange(10))
    assert right.sum() >= 8
    assert set(right.tolist()) <= {0.0, 1.0}
    assert torch.equal(accuracy(images, torch.arange(10).roll(1)), torch.zeros(10))


@pytest.mark.slow
def test_accuracy_on_the_test_images(clothes):
    found = accuracy(*clothes).mean().item()
    assert found >= 0.91
    assert accuracy(noisy(clothes.images, 0.5), clothes.labels).mean() < found - 0.1


@pytest.mark.slow
def test_accuracy_on_test_images_of_cifar10():
    """Images of the shared folder's first mosaic, or those of $SEMDIFF_CIFAR10: 87 in 100 are told, to a standard error of 1."""
    mosaics = Path(__file__).parents[4] / "shared" / "data" / "cifar10"
    if (mosaics / "test_00.webp").is_file():
        count = 1000
        pixels = read(mosaics, "test")[:count].transpose(0, 3, 1, 2)
        images, labels = torch.from_numpy(pixels.copy()) / 255, torch.from_numpy(np.load(mosaics / "test_labels.npy")[:count]).long()
    else:
        images, labels = (t[:1000] for t in installed(lambda: cifar10("test")))
        images = images / 255
    found = accuracy(images, labels).mean().item()
    assert found == pytest.approx(0.875, abs=0.03)
    assert accuracy(noisy(images, 0.2), labels).mean() < found - 0.1
    assert frechet_classifier(*images.split(500)).value < 0.2 * frechet_classifier(noisy(images, 0.1)[:500], images[500:]).value


def test_an_image_does_not_depend_on_its_batch():
    images = sample_images()
    alone = torch.cat([classifier_features(i[None]) for i in images])
    torch.testing.assert_close(classifier_features(images), alone, rtol=1e-5, atol=1e-5)
    assert alone.shape == (10, 64)


@pytest.mark.slow
def test_frechet_distance_of_pictures(clothes):
    """Two halves of the test images are near, and noise is far; a set has no distance from itself."""
    a, b = clothes.images[:4000].split(2000)
    halves, same = frechet_classifier(a, b), frechet_classifier(a, a)
    assert halves == Score(halves.value, 2000, None)
    assert same.value == pytest.approx(0, abs=1e-9 * halves.value)
    distances = [frechet_classifier(noisy(a, s), a).value for s in (0.05, 0.2, 0.4)]
    assert sorted(distances) == distances
    assert halves.value < distances[1]


def test_altered_weights_are_refused(monkeypatch, tmp_path):
    folder = tmp_path / "weights" / "fashion-mnist-classifier"
    folder.mkdir(parents=True)
    (folder / classifier.FILE).write_bytes(b"other")
    (folder / "checksums.json").write_text(json.dumps({classifier.FILE: "0" * 64}))
    monkeypatch.setattr(classifier, "files", lambda package: tmp_path)
    with pytest.raises(ValueError, match=r"classifier.safetensors: truncated or altered, expected sha256 0000"):
        default_classifier.__wrapped__()


def test_a_data_set_without_a_classifier_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(classifier, "files", lambda package: tmp_path)
    with pytest.raises(FileNotFoundError, match=r"data: no classifier of cifar10 comes with the package; .* trains one"):
        default_classifier.__wrapped__("cpu", "cifar10")


def test_a_shape_without_a_classifier_is_refused():
    with pytest.raises(ValueError, match=r"images: expected shape .B, 1, 28, 28. of fashion-mnist or .B, 3, 32, 32. of cifar10"):
        classifier_features(torch.zeros(2, 3, 28, 28))


def test_training_learns_and_is_deterministic(tmp_path):
    """Bright and dark pictures: two classes that a few steps tell apart, twice with the same bits, and a file that can be loaded."""
    pytest.importorskip("accelerate")
    from semdiff.training.engine import Plan
    from semdiff.training.recipes import classifier as recipe

    labels = torch.arange(64) % 2
    images = (0.2 + 0.6 * labels.view(-1, 1, 1, 1) + 0.05 * semdiff.normal((64, 1, 28, 28), semdiff.Key(3))).clamp(0, 1)
    plan = Plan(steps=40, batch_size=16, learning_rate=3e-3, warm_up=2)
    first, again = (recipe.train(images, labels, plan, progress=False) for _ in range(2))
    assert recipe.correct_share(first, images, labels) == 1.0
    assert all(torch.equal(t, again.state_dict()[n]) for n, t in first.state_dict().items())
    recipe.save_classifier(first, tmp_path)
    assert (tmp_path / classifier.FILE).stat().st_size < 500_000
    assert list(json.loads((tmp_path / "checksums.json").read_text())) == [classifier.FILE]


def test_references_are_looked_at_once(monkeypatch):
    seen = []

    def counted(images, name="images"):
        seen.append(name)
        return classifier_features(images, name)

    monkeypatch.setattr(classifier, "classifier_features", counted)
    references = sample_images()[:6]
    first = classifier.kept_features(references, "y")
    assert torch.equal(first, classifier_features(references))
    assert torch.equal(classifier.kept_features(references.clone(), "y"), first)
    assert seen == ["y"]
    other = references.clone()
    other[3, 0, 14, 14] += 2**-20  # a bit of one pixel
    assert torch.equal(classifier.kept_features(other, "y"), classifier_features(other))
    assert torch.equal(classifier.kept_features(references.double(), "y"), classifier_features(references.double()))
    assert seen == ["y"] * 3

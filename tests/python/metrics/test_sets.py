# SPDX-License-Identifier: Apache-2.0
"""FID, KID and FD: the arithmetic against closed forms, torchmetrics and repeated draws; the Inception network where its weights are."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from semdiff import Key, normal
from semdiff.data.cache import cache_folder
from semdiff.metrics import fid, frechet_classifier, inception, kid, kid_patches, measure
from semdiff.metrics.distribution import frechet_distance, kernel_distance
from semdiff.metrics.inception import SIZE, inception_features, normalized
from semdiff.metrics.set_distances import patches
from semdiff.metrics.weights import INCEPTION, locate
from tests.python.photographs import crops, noisy, photographs
from tests.python.pretrained import installed


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def draws(n: int, d: int, seed: int) -> Tensor:
    return normal((n, d), Key(seed), torch.float64)


# Frechet's distance


@pytest.mark.parametrize("n", [300, 20], ids=["full rank", "fewer vectors than features"])
def test_frechet_distance_in_closed_form(n):
    """The same set, moved by v and stretched by c about its mean: |v|^2 + (c - 1)^2 tr S."""
    x = draws(n, 50, 1) @ draws(50, 50, 2)
    v = draws(1, 50, 3)
    spread = x.var(0).sum().item()
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-11 * spread)
    assert frechet_distance(x, x + v) == pytest.approx(v.square().sum().item(), rel=1e-9)
    assert frechet_distance(x, x.mean(0) + 3 * (x - x.mean(0))) == pytest.approx(4 * spread, rel=1e-9)


def test_frechet_distance_of_known_gaussians():
    """Commuting covariances: sum of (sqrt a - sqrt b)^2. Rows are the corners of a box, whose covariance is exact."""
    corners = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=torch.float64)] * 4) * (15 / 16) ** 0.5
    a, b = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([4.0, 2.0, 1.0, 0.5])
    expected = (a - b).double().square().sum().item()
    assert frechet_distance(corners * a, corners * b) == pytest.approx(expected, rel=1e-9)


class Vectors(nn.Module):
    """The vectors are the features."""

    num_features = 12

    def forward(self, x):
        return x


def test_frechet_distance_is_that_of_torchmetrics():
    module = pytest.importorskip("torchmetrics.image.fid")
    x, y = draws(200, 12, 4) @ draws(12, 12, 5), draws(150, 12, 6) @ draws(12, 12, 7) + 0.5
    theirs = module.FrechetInceptionDistance(feature=Vectors(), input_img_size=(12,)).set_dtype(torch.float64)
    theirs.update(y, real=True)
    theirs.update(x, real=False)
    assert frechet_distance(x, y) == pytest.approx(theirs.compute().item(), rel=1e-6)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-12)


# The kernel's distance


def test_kernel_distance_is_that_of_torchmetrics():
    module = pytest.importorskip("torchmetrics.image.kid")
    x, y = draws(1500, 12, 8), draws(1500, 12, 9) * 1.2 + 0.1
    assert kernel_distance(x, y)[0] == pytest.approx(module.poly_mmd(y, x).item(), rel=1e-9)


def test_kernel_distance_of_one_distribution_is_zero_on_average_and_knows_its_error():
    """400 pairs of independent sets: the mean within 4 standard errors; the jackknife's error is sqrt 2 times too large."""
    found = torch.tensor([kernel_distance(draws(40, 6, 2 * i), draws(60, 6, 2 * i + 1)) for i in range(400)], dtype=torch.float64)
    values, errors = found.unbind(1)
    assert abs(values.mean()) < 4 * values.std() / 20
    assert (errors.square().mean().sqrt() / values.std()).item() == pytest.approx(2**0.5, rel=0.15)


def test_kernel_distance_and_its_error_of_different_distributions():
    """One dimension, a ~ N(0, 1), b ~ N(m, 1): E (a b + 1)^3 = E a^3 E b^3 + 3 E a^2 E b^2 + 3 E a E b + 1, all in closed form."""
    m = 0.7
    found = torch.tensor([kernel_distance(draws(80, 1, 2 * i), draws(80, 1, 2 * i + 1) + m) for i in range(400)], dtype=torch.float64)
    values, errors = found.unbind(1)
    second, third = 1 + m**2, m**3 + 3 * m
    expected = (1 + 3) + (third**2 + 3 * second**2 + 3 * m**2 + 1) - 2 * (1 + 3 * second)
    assert values.mean().item() == pytest.approx(expected, abs=4 * values.std().item() / 20)
    assert (errors.square().mean().sqrt() / values.std()).item() == pytest.approx(1, rel=0.15)


# The network's input


def test_resizing_is_that_of_tensorflow_1():
    """A ramp stays a ramp from the first pixel on, and ends flat: place i * n / 299, not the middle of pixels."""
    ramp = (torch.arange(64) * 4).to(torch.uint8).expand(1, 3, 64, 64)
    expected = (torch.arange(SIZE) * 64 / SIZE).clamp(max=63) * 4
    found = normalized(ramp) * 128 + 128
    torch.testing.assert_close(found[0, 0, 17], expected, rtol=0, atol=1e-3)
    torch.testing.assert_close(normalized(ramp.mT.contiguous()), normalized(ramp).mT, rtol=0, atol=1e-5)
    same = torch.randint(0, 256, (1, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    torch.testing.assert_close(normalized(same), (same.float() - 128) / 128)


# With the network


@pytest.fixture
def network():
    return installed(lambda: locate(INCEPTION))


@pytest.mark.slow
def test_features_and_their_cache(network):
    images = crops(2)
    first = inception_features(images, cached=True)
    assert first.shape == (2, 2048)
    assert first.min() >= 0  # averages after a ReLU
    (file,) = (cache_folder() / "inception").iterdir()
    assert torch.equal(inception_features(images, weights=network.parent, cached=True), first)
    inception._RECENT.clear()
    assert torch.equal(inception_features(images, cached=True), first)
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    inception._RECENT.clear()
    torch.testing.assert_close(inception_features(images, cached=True), first)  # a damaged file is not believed
    torch.testing.assert_close(inception_features(images[1:2]), first[1:2], rtol=1e-3, atol=1e-4)
    grey = images.mean(1, keepdim=True)
    torch.testing.assert_close(inception_features(grey), inception_features(grey.repeat(1, 3, 1, 1)))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FID of 8 images:UserWarning")
def test_fid_and_kid_rise_with_noise(network):
    y = crops(8)
    assert fid(y, y).value == pytest.approx(0, abs=1e-3)
    found = [(fid(x, y), kid(x, y)) for x in (noisy(y, s) for s in (0.02, 0.1, 0.3))]
    for scores in zip(*found, strict=True):
        assert scores[0].value < scores[1].value < scores[2].value
        assert {s.n for s in scores} == {8}
    assert found[1][0].value == pytest.approx(318.47, rel=0.01)
    assert found[1][1].value == pytest.approx(0.06089, rel=0.02)
    assert found[1][0].standard_error is None
    assert found[1][1].standard_error == pytest.approx(0.0353, rel=0.02)


def test_patches_lie_side_by_side_about_the_middle():
    images = torch.arange(2 * 3 * 8 * 11).view(2, 3, 8, 11).float()
    found = patches(images, 3)
    assert found.shape == (2 * 2 * 3, 3, 3, 3)
    assert torch.equal(found[7], images[1, :, 1:4, 4:7])
    assert torch.equal(patches(images, 8), images[..., 1:9])
    with pytest.raises(ValueError, match="images: expected at least 9x9 pixels for a patch"):
        patches(images, 9)


@pytest.mark.slow
def test_kid_of_patches_is_that_of_the_squares(network):
    y = photographs(64)[:2]
    x = noisy(y, 0.1)
    squares = [torch.cat([v[:, :, a : a + 32, b : b + 32] for a in (0, 32) for b in (0, 32)]) for v in (x, y)]
    assert kid_patches(x, y, size=32).n == 8
    assert kid_patches(x, y, size=32).value == pytest.approx(kid(*squares).value, abs=1e-6)


def test_absent_network_says_how_to_get_it(monkeypatch):
    monkeypatch.delenv("SEMDIFF_METRIC_WEIGHTS", raising=False)
    monkeypatch.setattr("semdiff.metrics.weights.find_spec", lambda name: None)
    inception._network.cache_clear()
    images = crops(4, 32)
    for metric in (fid, kid):
        with pytest.raises(FileNotFoundError, match=re.escape(INCEPTION.command)):
            metric(images * 0.5, images)


@pytest.mark.parametrize(("metric", "fewest"), [(fid, 2), (frechet_classifier, 2), (kid, 3)])
def test_too_few_images_are_named(metric, fewest):
    images = torch.rand(4, 1, 28, 28)
    with pytest.raises(ValueError, match=f"x: expected at least {fewest} images, got {fewest - 1}"):
        metric(images[: fewest - 1], images)


# Against images that were not sent


def test_unpaired_metrics_compare_with_the_references():
    grey = crops(88, 28).mean(1, keepdim=True).split([24, 24, 40])
    found = measure(["frechet_classifier", "frechet_classifier_unpaired"], grey[0], grey[1], references=grey[2])
    assert found["frechet_classifier"] == frechet_classifier(grey[0], grey[1])
    assert found["frechet_classifier_unpaired"] == frechet_classifier(grey[0], grey[2])
    assert found["frechet_classifier_unpaired"].n == 24


def test_references_that_hold_what_is_sent_are_refused():
    originals = normal((200, 1, 28, 28), Key(1)).sigmoid()
    others = normal((300, 1, 28, 28), Key(2)).sigmoid()
    names = ["frechet_classifier_unpaired"]
    measure(names, originals, originals, references=torch.cat([others, originals[:2]]))  # an image that a data set holds twice
    with pytest.raises(ValueError, match="references: expected images that were not sent, got 3 of the 200 originals among them"):
        measure(names, originals, originals, references=torch.cat([others, originals[7:10]]))
    with pytest.raises(ValueError, match="references: expected images that were not sent, which frechet_classifier_unpaired compares with"):
        measure(names, originals, originals)


def test_fid_of_few_images_warns():
    installed(lambda: locate(INCEPTION))
    x, y = crops(6, 32).split(3)
    with pytest.warns(UserWarning, match="FID of 3 images is mostly bias; take 2000 or more"):
        fid(x, y, cached=False)

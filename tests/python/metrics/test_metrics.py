# SPDX-License-Identifier: Apache-2.0
"""PSNR, SSIM and MS-SSIM against scikit-image, torchmetrics and closed forms; the registry; bad input."""

from __future__ import annotations

import math
import sys

import pytest
import torch

import semdiff
from semdiff.data import sample_images
from semdiff.metrics import METRICS, Score, measure, ms_ssim, psnr, ssim
from semdiff.metrics.check import by_parts
from tests.python.photographs import noisy, photographs

FIDELITY = {"psnr": (psnr, math.inf), "ssim": (ssim, 1.0), "ms_ssim": (ms_ssim, 1.0)}


def test_psnr_of_a_known_error():
    x = torch.zeros(2, 3, 8, 8)
    y = torch.stack([torch.full((3, 8, 8), 0.1), torch.full((3, 8, 8), 1.0)])
    torch.testing.assert_close(psnr(x, y), torch.tensor([20.0, 0.0]))


def test_psnr_is_that_of_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio

    y = photographs(200)
    x = noisy(y, 0.07)
    expected = [peak_signal_noise_ratio(b.numpy(), a.numpy(), data_range=1.0) for a, b in zip(x, y, strict=True)]
    torch.testing.assert_close(psnr(x, y).double(), torch.tensor(expected, dtype=torch.float64), rtol=1e-5, atol=0)


def test_ssim_is_that_of_scikit_image():
    """The two mirror borders differently, so the pictures lie in a grey frame as wide as the window."""
    from skimage.metrics import structural_similarity

    frame = torch.nn.functional.pad
    y = frame(photographs(180), (11,) * 4, value=0.5)
    x = frame(noisy(photographs(180), 0.1), (11,) * 4, value=0.5)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0, "channel_axis": 0, "full": True}
    expected = [structural_similarity(a.double().numpy(), b.double().numpy(), **options)[1].mean() for a, b in zip(x, y, strict=True)]
    torch.testing.assert_close(ssim(x, y).double(), torch.tensor(expected), rtol=0, atol=1e-5)


def test_ms_ssim_is_the_product_over_scales():
    """Contrast terms of four scales and the whole index of the fifth, from torchmetrics' SSIM of averaged pictures."""
    from torchmetrics.functional.image import structural_similarity_index_measure as index

    y = photographs(192)
    x = noisy(y, 0.1)
    a, b, expected = x, y, torch.ones(3)
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        for i in range(3):  # one by one: an image's result does not depend on the others
            whole, contrast = index(a[i : i + 1], b[i : i + 1], data_range=1.0, return_contrast_sensitivity=True)
            expected[i] *= (whole if scale == 4 else contrast).item() ** weight
        a, b = (torch.nn.functional.avg_pool2d(t, 2) for t in (a, b))
    torch.testing.assert_close(ms_ssim(x, y), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", FIDELITY)
def test_identical_images_are_best_and_noise_lowers(name):
    function, best = FIDELITY[name]
    y = photographs(176)
    torch.testing.assert_close(function(y, y), torch.full((3,), best))
    values = torch.stack([function(noisy(y, s), y) for s in (0.02, 0.05, 0.1, 0.2, 0.5)])
    assert (values.diff(dim=0) < 0).all()


@pytest.mark.parametrize("name", FIDELITY)
def test_an_image_does_not_depend_on_its_batch(name):
    function = FIDELITY[name][0]
    y = photographs(176)
    x = noisy(y, 0.1)
    alone = torch.cat([function(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(function(x, y), alone, rtol=1e-6, atol=1e-6)


def test_a_long_batch_is_the_same_in_parts():
    y = photographs(64).repeat(5, 1, 1, 1)
    x = noisy(y, 0.1)
    sizes = []

    def part(a, b):
        sizes.append(len(a))
        return psnr(a, b)

    torch.testing.assert_close(by_parts(part, x, y, values=4 * x[0].numel()), psnr(x, y), rtol=0, atol=0)
    assert sizes == [4, 4, 4, 3]


def test_known_numbers():
    y = photographs(192)
    x = noisy(y, 0.1)
    found = measure(["psnr", "ssim", "ms_ssim"], x, y)
    torch.testing.assert_close(found["psnr"], torch.tensor([20.382, 20.089, 20.635]), rtol=0, atol=0.005)
    torch.testing.assert_close(found["ssim"], torch.tensor([0.2624, 0.3067, 0.3130]), rtol=0, atol=0.001)
    torch.testing.assert_close(found["ms_ssim"], torch.tensor([0.7541, 0.8294, 0.7763]), rtol=0, atol=0.001)


def test_measure_returns_what_the_registry_says():
    images = sample_images()
    names = ["psnr", "ssim", "accuracy", "frechet_classifier"]
    found = measure(names, noisy(images, 0.1), images, torch.arange(10))
    assert list(found) == names
    for name, value in found.items():
        assert METRICS[name].per == ("set" if isinstance(value, Score) else "image")
        assert isinstance(value, Score) or value.shape == (10,)
    torch.testing.assert_close(found["psnr"], psnr(noisy(images, 0.1), images))
    assert found["frechet_classifier"].n == 10


def test_registry_tells_better_from_worse():
    images = sample_images()
    labels = torch.arange(10)
    names = ["psnr", "ssim", "accuracy", "frechet_classifier"]
    good, bad = (measure(names, noisy(images, s), images, labels) for s in (0.05, 0.8))
    for name in names:
        a, b = (v[name].value if METRICS[name].per == "set" else v[name].mean().item() for v in (good, bad))
        assert (a > b) == (METRICS[name].better == "higher"), name


IMAGES = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("names", "labels", "error", "message"),
    [
        (["psnr", "vmaf"], None, ValueError, r"names: expected some of psnr, .*kid.*, got 'vmaf'"),
        ("psnr", None, TypeError, "names: expected a sequence"),
        (["accuracy"], None, ValueError, "labels: expected .* got None"),
        (["accuracy"], torch.zeros(3, dtype=torch.int64), ValueError, r"labels: expected shape \(2,\), got \(3,\)"),
        (["accuracy"], torch.zeros(2), TypeError, "labels: expected an int64 tensor .* got torch.float32"),
        (["accuracy"], torch.tensor([0, 10]), ValueError, "labels: expected 0 to 9, got 0 to 10"),
        (["ms_ssim"], None, ValueError, "at least 176 x 176 pixels for 5 scales of MS-SSIM, got 28 x 28"),
    ],
)
def test_bad_measurements_are_named(names, labels, error, message):
    with pytest.raises(error, match=message):
        measure(names, IMAGES, IMAGES, labels)


@pytest.mark.parametrize("function", [psnr, ssim, ms_ssim, semdiff.metrics.lpips, semdiff.metrics.fid, semdiff.metrics.kid])
@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (IMAGES.mul(255).byte(), TypeError, r"x: expected a float tensor .* got torch.uint8; images.float\(\) / 255"),
        (IMAGES * 2 - 1, ValueError, r"x: expected values in \[0, 1\], got values from -"),
        (IMAGES * torch.nan, ValueError, r"x: expected values in \[0, 1\]"),
        (IMAGES[0], ValueError, r"x: expected .* got shape \(1, 28, 28\)"),
        (IMAGES[:0], ValueError, r"x: expected .* got shape \(0, 1, 28, 28\)"),
        (IMAGES.numpy(), TypeError, "x: expected .* got ndarray"),
    ],
)
def test_bad_images_are_named(function, x, error, message):
    with pytest.raises(error, match=message):
        function(x, IMAGES)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"y: expected the shape of x, \(2, 1, 28, 28\), got \(1, 1, 28, 28\)"):
        psnr(IMAGES, IMAGES[:1])
    with pytest.raises(ValueError, match=r"at least 11 x 11 pixels \(the window of SSIM\), got 28 x 10"):
        ssim(IMAGES[..., :10], IMAGES[..., :10])
    with pytest.raises(ValueError, match=r"x: expected shape \(B, 1, 28, 28\)"):
        semdiff.metrics.accuracy(IMAGES[..., :20], torch.zeros(2, dtype=torch.int64))


def test_an_absent_extra_is_named_and_psnr_needs_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchmetrics.functional.image", None)
    with pytest.raises(ImportError, match=r"pip install 'semdiff-torch\[eval\]'"):
        ssim(IMAGES, IMAGES)
    assert psnr(IMAGES, IMAGES.flip(0)).isfinite().all()

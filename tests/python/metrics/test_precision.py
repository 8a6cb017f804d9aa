# SPDX-License-Identifier: Apache-2.0
"""Metrics compute in float32 or wider whatever comes, and whatever autocast is around them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import semdiff
from semdiff import Key
from semdiff.metrics import accuracy, frechet_classifier, ms_ssim, psnr, ssim
from semdiff.metrics.classifier import classifier_features
from semdiff.metrics.lpips_distance import lpips
from tests.python.pretrained import require_lpips

PAIR = {psnr: (1, 16), ssim: (1, 16), ms_ssim: (1, 176)}
each = pytest.mark.parametrize("metric", PAIR, ids=lambda f: f.__name__)
NARROW = (torch.bfloat16, torch.float16)


def pair(metric: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
    """Two pictures that are near, of numbers that every type holds exactly."""
    channels, size = PAIR[metric]
    x = semdiff.normal((2, channels, size, size), Key(1)).mul(0.1).add(0.5).clamp(0, 1).bfloat16().half().bfloat16()
    return x, (x.float() + 2.0**-6 * semdiff.normal(x.shape, Key(2)).sign()).clamp(0, 1).bfloat16().half().bfloat16()


@each
@pytest.mark.parametrize("dtype", NARROW, ids=str)
def test_narrow_pictures(metric: Callable[..., Tensor], dtype: torch.dtype) -> None:
    x, y = pair(metric)
    got = metric(x.to(dtype), y.to(dtype))
    assert got.dtype == torch.float32
    assert torch.equal(got, metric(x.float(), y.float()))
    assert torch.allclose(got.double(), metric(x.double(), y.double()), rtol=1e-3)


@each
@pytest.mark.parametrize("dtype", [*NARROW, torch.float32, torch.float64], ids=str)
def test_under_autocast(metric: Callable[..., Tensor], dtype: torch.dtype) -> None:
    x, y = (v.to(dtype) for v in pair(metric))
    want = metric(x, y)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(metric(x, y), want)


@each
def test_two_types_meet_in_the_wider(metric: Callable[..., Tensor]) -> None:
    x, y = pair(metric)
    assert torch.equal(metric(x.double(), y), metric(x.double(), y.double()))


def test_the_case_that_was_found() -> None:
    """SSIM of two constant pictures is (2 a b + c) / (a^2 + b^2 + c) with c = 1e-4 (the contrast terms are 1)."""
    x, y = (torch.full((1, 1, 16, 16), v, dtype=torch.bfloat16) for v in (0.703, 0.7))
    a, b = x[0, 0, 0, 0].double().item(), y[0, 0, 0, 0].double().item()
    assert ssim(x, y).item() == pytest.approx((2 * a * b + 1e-4) / (a * a + b * b + 1e-4), abs=1e-3)
    assert psnr(x, y).item() == pytest.approx(-20 * torch.tensor(abs(a - b)).log10().item(), abs=1e-3)


def test_networks_under_autocast() -> None:
    x = semdiff.normal((3, 1, 28, 28), Key(1)).abs().clamp(0, 1)
    labels = torch.arange(3)
    want = classifier_features(x), accuracy(x, labels), frechet_classifier(x, x.flip(-1))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(classifier_features(x), want[0])
        assert torch.equal(accuracy(x, labels), want[1])
        assert frechet_classifier(x, x.flip(-1)) == want[2]


def test_lpips_under_autocast_and_in_halves() -> None:
    require_lpips()
    x = semdiff.normal((1, 3, 64, 64), Key(1)).mul(0.1).add(0.5).clamp(0, 1).bfloat16()
    y = x.flip(-1)
    want = lpips(x.float(), y.float())
    assert torch.equal(lpips(x, y), want)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(lpips(x, y), want)

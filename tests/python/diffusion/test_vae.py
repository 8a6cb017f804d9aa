# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import pixel_shuffle

from semdiff import Key, gaussian_upsample, normal, reparameterize


def test_reparameterize_is_mean_plus_deviation_times_normal() -> None:
    mu, logvar = normal((3, 4, 5), Key(1), torch.float64), normal((3, 4, 5), Key(2), torch.float64)
    n = normal((3, 4, 5), Key(3), torch.float64)
    assert torch.allclose(reparameterize(mu, logvar, Key(3)), mu + (logvar / 2).exp() * n, rtol=1e-13)


@pytest.mark.parametrize("logvar", [-6.0, 0.0, 2.0])
def test_draws_have_the_moments_asked_for(logvar: float) -> None:
    """A million draws, 4 standard errors."""
    size = 1 << 20
    draws = reparameterize(torch.full((size,), 3.0), torch.full((size,), logvar), Key(1)).double()
    sigma = math.exp(logvar / 2)
    assert float(draws.mean()) == pytest.approx(3, abs=4 * sigma / 1024)
    assert float(draws.var()) == pytest.approx(sigma**2, rel=4 * math.sqrt(2) / 1024)


def test_expected_gradients_are_those_of_the_expectation() -> None:
    """E x^2 = mu^2 + sigma^2, so d/dmu = 2 mu and d/dlogvar = sigma^2."""
    size = 1 << 18
    mu, logvar = torch.full((size,), 0.7).requires_grad_(), torch.full((size,), -1.0).requires_grad_()
    reparameterize(mu, logvar, Key(1)).square().sum().backward()
    assert mu.grad is not None
    assert logvar.grad is not None
    assert float(mu.grad.mean()) == pytest.approx(1.4, rel=0.01)
    assert float(logvar.grad.mean()) == pytest.approx(math.exp(-1), rel=0.01)


@pytest.mark.parametrize("extreme", [-1e3, 1e3, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_log_variances_stay_finite(extreme: float, dtype: torch.dtype) -> None:
    mu, logvar = torch.zeros(2, 8, dtype=dtype), torch.full((2, 8), extreme, dtype=dtype).requires_grad_()
    draw = reparameterize(mu, logvar, Key(1))
    assert bool(draw.isfinite().all())
    (gradient,) = torch.autograd.grad(draw.sum(), logvar)
    assert bool(gradient.isfinite().all())
    features = torch.full((1, 4, 2, 2), extreme, dtype=dtype)
    features[:, :2] = 0
    sample, mean, bounded = gaussian_upsample(features.requires_grad_(), 1, Key(1))
    assert torch.allclose(bounded, torch.full_like(bounded, math.copysign(10, extreme)))
    (gradient,) = torch.autograd.grad((sample + mean + bounded).sum(), features)
    assert bool(gradient.isfinite().all())


def test_nan_stays_nan() -> None:
    """Whatever its payload: a NaN's bits must not become a number on the way through exp."""
    bits = torch.tensor([0x7FC00000, 0x7FC00001, 0x7FFFFFFF, -0x400000, -1], dtype=torch.int32)
    nan = bits.view(torch.float32)
    assert bool(reparameterize(torch.zeros(5), nan, Key(1)).isnan().all())
    assert bool(reparameterize(nan, torch.zeros(5), Key(1)).isnan().all())


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (16, 16), (3, 700)])
def test_upsample_is_pixel_shuffle_and_split(scale: int, size: tuple[int, int]) -> None:
    c, (h, w) = 3, size
    features = normal((2, 2 * c * scale**2, h, w), Key(1), torch.float64)
    sample, mean, logvar = gaussian_upsample(features, scale, Key(2))
    want_mean, raw = pixel_shuffle(features, scale).chunk(2, 1)
    assert torch.equal(mean, want_mean)
    assert torch.allclose(logvar, 10 * torch.tanh(raw / 10), rtol=1e-12, atol=1e-14)
    assert torch.equal(sample, reparameterize(mean, logvar, Key(2)))
    assert sample.shape == (2, c, h * scale, w * scale)


def test_upsample_is_named() -> None:
    out = gaussian_upsample(torch.zeros(1, 8, 2, 2), 2, Key(1))
    assert (out.sample.shape, out.mean.shape, out.logvar.shape) == ((1, 1, 4, 4),) * 3


def test_the_gradient_of_one_output_alone() -> None:
    features = normal((1, 8, 3, 3), Key(1), torch.float64).requires_grad_()
    for index in range(3):
        out = gaussian_upsample(features, 2, Key(2))
        (got,) = torch.autograd.grad(out[index].sum(), features)
        mean, raw = pixel_shuffle(features, 2).chunk(2, 1)
        logvar = 10 * torch.tanh(raw / 10)
        n = normal(mean.shape, Key(2), torch.float64)
        (want,) = torch.autograd.grad((mean + (logvar / 2).exp() * n, mean, logvar)[index].sum(), features)
        assert torch.allclose(got, want, rtol=1e-10, atol=1e-12)


def test_a_small_deviation_beside_a_large_mean_costs_the_gradient_digits() -> None:
    """The backward takes the draw's deviation from (sample - mu), not from new random numbers: its error is mu's rounding, no more."""
    mu, logvar = torch.full((4096,), 100.0), torch.full((4096,), -8.0).requires_grad_()
    (got,) = torch.autograd.grad(reparameterize(mu, logvar, Key(1)).sum(), logvar)
    want = 0.5 * math.exp(-4) * normal((4096,), Key(1), torch.float64)
    assert float((got - want).abs().max()) <= 0.5 * 100 * torch.finfo(torch.float32).eps / 2 + 1e-7

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from semdiff import Key, normal, upsampler_loss

SHAPE = (3, 4, 5, 6)


def inputs(dtype: torch.dtype = torch.float64, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor, Tensor]:
    mu, logvar, z = (normal(shape, k, dtype) for k in Key(1).split(3))
    return mu, logvar, z


@pytest.mark.parametrize("alpha_bar", [0.3, torch.tensor([0.1, 0.5, 0.99], dtype=torch.float64)], ids=["number", "per sample"])
def test_terms_are_torchs_kl_divergences(alpha_bar: float | Tensor) -> None:
    mu, logvar, z = inputs()
    a = torch.as_tensor(alpha_bar, dtype=torch.float64).expand(3).reshape(3, 1, 1, 1)
    predicted = Normal(mu, (logvar / 2).exp())
    loss = upsampler_loss(mu, logvar, z, alpha_bar, 0.3, 0.7, Key(2))
    x_t = a.sqrt() * z + (1 - a).sqrt() * normal(SHAPE, Key(2), torch.float64)
    assert float(loss.reconstruction) == pytest.approx(float((mu - x_t).square().mean()), rel=1e-12)
    assert float(loss.prior) == pytest.approx(float(kl_divergence(predicted, Normal(0.0, 1.0)).mean()), rel=1e-12)
    # The order of arguments matters: target || prediction.
    target = Normal(a.sqrt() * z, (1 - a).sqrt().expand(SHAPE))
    assert float(loss.match) == pytest.approx(float(kl_divergence(target, predicted).mean()), rel=1e-12)
    assert float(loss.total) == pytest.approx(float(loss.reconstruction + 0.3 * loss.prior + 0.7 * loss.match), rel=1e-12)


def test_the_same_with_and_without_gradients() -> None:
    mu, logvar, z = inputs(torch.float32)
    plain = upsampler_loss(mu, logvar, z, 0.5, 0.1, 0.1, Key(2))
    training = upsampler_loss(mu.requires_grad_(), logvar, z, 0.5, 0.1, 0.1, Key(2))
    for a, b in zip(plain, training, strict=True):
        assert torch.equal(a, b.detach())
    with torch.no_grad():
        assert not upsampler_loss(mu, logvar, z, 0.5, 0.1, 0.1, Key(2)).total.requires_grad


def test_only_the_total_carries_a_gradient() -> None:
    mu, logvar, z = inputs()
    loss = upsampler_loss(mu.requires_grad_(), logvar.requires_grad_(), z, 0.5, 0.1, 0.1, Key(2))
    assert [v.requires_grad for v in loss] == [True, False, False, False]
    with pytest.raises(RuntimeError, match="does not require grad"):
        loss.match.backward()


def test_targets_refuse_a_gradient() -> None:
    mu, logvar, z = inputs()
    with pytest.raises(ValueError, match="z: upsampler_loss has no gradient for it"):
        upsampler_loss(mu, logvar, z.requires_grad_(), 0.5, key=Key(1))
    with pytest.raises(ValueError, match="alpha_bar: upsampler_loss has no gradient for it"):
        upsampler_loss(mu, logvar, z.detach(), torch.tensor(0.5, requires_grad=True), key=Key(1))


def test_backward_twice_and_scaled() -> None:
    """The gradients are made with the loss and kept: using them must not change them."""
    mu, logvar, z = inputs()
    loss = upsampler_loss(mu.requires_grad_(), logvar.requires_grad_(), z, 0.5, 0.1, 0.1, Key(2)).total
    (once,) = torch.autograd.grad(loss, mu, retain_graph=True)
    for times in range(1, 4):
        loss.backward(retain_graph=True)
        assert mu.grad is not None
        assert torch.allclose(mu.grad, times * once, rtol=1e-14)
    mu.grad.mul_(0)  # as an optimiser's zeroing does
    assert torch.allclose(torch.autograd.grad(loss * 3, mu, retain_graph=True)[0], 3 * once, rtol=1e-14)
    assert torch.equal(torch.autograd.grad(loss, mu)[0], once)


@pytest.mark.parametrize("extreme", [-1e3, 1e3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_extreme_log_variances_are_finite_and_pushed_back(extreme: float, dtype: torch.dtype) -> None:
    mu, _, z = inputs(dtype)
    logvar = torch.full(SHAPE, extreme, dtype=dtype).requires_grad_()
    loss = upsampler_loss(mu.requires_grad_(), logvar, z, 0.5, 0.1, 0.1, Key(2))
    assert all(bool(v.isfinite()) for v in loss)
    g_mu, g_logvar = torch.autograd.grad(loss.total, (mu, logvar))
    assert bool(g_mu.isfinite().all())
    assert bool(g_logvar.isfinite().all())
    assert bool((g_logvar * extreme > 0).all())  # descent brings it back


def fitted(alpha_bar: float, lambda_prior: float, lambda_match: float, error: float = 0.0) -> tuple[float, float]:
    """mu / mbar and the variance that minimise the loss for one element, where mu* = sqrt(alpha_bar) z is known up to N(0, error) noise.

    One mu and one logvar for 65,536 values of z whose mean and variance are exactly 1 / sqrt(alpha_bar) and error / alpha_bar.
    """
    count = 1 << 16
    mbar = 1.0
    v = math.sqrt(error) * normal((count,), Key(1), torch.float64)
    v = (v - v.mean()) * (math.sqrt(error) / v.std(correction=0) if error else 0)
    z = ((mbar + v) / math.sqrt(alpha_bar)).reshape(1, -1)
    parameters = torch.tensor([0.9, math.log(1 - alpha_bar)], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([parameters], max_iter=200, tolerance_grad=1e-13, tolerance_change=0, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        mu, logvar = parameters[0].expand_as(z), parameters[1].expand_as(z)
        loss = upsampler_loss(mu, logvar, z, alpha_bar, lambda_prior, lambda_match, Key(2)).total
        loss.backward()
        return loss

    optimiser.step(closure)
    return float(parameters[0].detach()) / mbar, float(parameters[1].detach().exp())


@pytest.mark.parametrize(("snr_db", "optimum"), [(10, 0.304), (5, 0.492), (0, 0.708), (13, 0.222), (-5, 0.872)])
def test_equal_weights_inflate_the_variance(snr_db: int, optimum: float) -> None:
    """Theory 2.6, v = 0 and l1 = l2 = 0.1: s^4 = T^2 + (mu - mbar)^2 and mu = mbar (2 + l2/s^2) / (2 + l1 + l2/s^2), so s^2 is near T."""
    a = 1 / (1 + 10 ** (-snr_db / 10))
    shrunk, variance = fitted(a, 0.1, 0.1)
    # The table was made for a mean square of sqrt(alpha_bar) z; ours has mean 1, and a draw of 65,536 moves mu by 2 / 256 of T at most.
    assert variance == pytest.approx(optimum, rel=0.02)
    assert shrunk == pytest.approx((2 + 0.1 / variance) / (2.1 + 0.1 / variance), abs=0.02)
    assert variance**2 == pytest.approx(1 - a + (shrunk - 1) ** 2, rel=1e-6)


@pytest.mark.parametrize("error", [0.0, 0.05, 0.4])
def test_without_the_prior_the_variance_is_the_targets_plus_the_errors(error: float) -> None:
    """l1 = 0: mu = mbar and s^2 = T^2 + v, the default weights here."""
    a = 10 / 11
    mean, variance = fitted(a, 0.0, 0.1, error)
    assert mean == pytest.approx(1, abs=0.01)
    assert variance == pytest.approx(1 - a + error, abs=1e-4)


def test_no_key_is_a_new_draw_and_a_key_the_same_one() -> None:
    mu, logvar, z = inputs()
    losses = [float(upsampler_loss(mu, logvar, z, 0.5, key=k).reconstruction) for k in (Key(1), Key(1), None, None)]
    assert losses[0] == losses[1]
    assert len(set(losses)) == 3


def test_a_batch_is_the_mean_of_its_samples() -> None:
    mu, logvar, z = inputs()
    a = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    whole = upsampler_loss(mu, logvar, z, a, key=Key(1))
    parts = [upsampler_loss(mu[i : i + 1], logvar[i : i + 1], z[i : i + 1], a[i : i + 1], key=Key(1)) for i in range(3)]
    assert float(whole.match) == pytest.approx(sum(float(p.match) for p in parts) / 3, rel=1e-12)
    assert float(whole.prior) == pytest.approx(sum(float(p.prior) for p in parts) / 3, rel=1e-12)

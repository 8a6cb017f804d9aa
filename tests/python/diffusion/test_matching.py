# SPDX-License-Identifier: Apache-2.0
"""A matched state has the law of the forward process: checked on moments of x_t given z, and of x_t by itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from semdiff import AWGN, Key, NoiseSchedule, match, normal, pack, unpack

SCHEDULE = NoiseSchedule.scaled_linear()
COARSE = NoiseSchedule.from_alphas_cumprod(SCHEDULE.alphas_cumprod[1::20])  # the 50-step grid of the official code: 1, 21, ..., 981
MEDIUM = NoiseSchedule.from_alphas_cumprod(SCHEDULE.alphas_cumprod[1::2])  # its 500-step grid
SHAPE = (4, 4, 128, 128)
COUNT = math.prod(SHAPE)


def received(snr_db: float, shape: tuple[int, ...] = SHAPE) -> tuple[Tensor, Tensor, float]:
    z = normal(shape, Key(1), torch.float64)
    return z, unpack(AWGN()(pack(z), snr_db, Key(2)).y, shape), 10 ** (-snr_db / 10)


def assert_forward_law(x: Tensor, z: Tensor, a: float, noise_ratio: float = 1.0) -> None:
    """x = sqrt(a) z + noise of variance noise_ratio * (1 - a): mean, variance and kurtosis, each within 4.5 standard errors."""
    residual = x - math.sqrt(a) * z
    variance = noise_ratio * (1 - a)
    root = 4.5 / math.sqrt(COUNT)
    assert abs(float(residual.mean())) < root * math.sqrt(variance)
    assert float(residual.var()) == pytest.approx(variance, rel=root * math.sqrt(2))
    assert abs(float((residual * z).mean())) < root * math.sqrt(variance)
    assert float((residual**4).mean() / residual.var() ** 2) == pytest.approx(3, abs=root * math.sqrt(24))


@pytest.mark.parametrize("schedule", [SCHEDULE, COARSE, NoiseSchedule.cosine()], ids=repr)
@pytest.mark.parametrize("rounding", ["none", "ceil"])
@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 5.0, 10.0, 13.0, 20.0])
def test_exact_is_the_forward_law(schedule: NoiseSchedule, rounding: str, snr_db: float) -> None:
    z, y, v = received(snr_db)
    x, t = match(y, v, schedule, key=Key(3), rounding=rounding)
    assert t.shape == (4,)
    assert t.dtype == torch.float64
    a = float(schedule.alpha_bar(t)[0])
    if rounding == "none":
        assert a == pytest.approx(1 / (1 + v), rel=1e-12)
    else:
        assert float(t[0]) == int(t[0])
        assert a <= 1 / (1 + v)
    assert_forward_law(x, z, a)


def test_without_rounding_no_random_number_is_used() -> None:
    _, y, v = received(7.0, (2, 4, 4))
    x, _ = match(y, v, SCHEDULE, key=Key(1))
    assert torch.equal(x, match(y, v, SCHEDULE, key=Key(2)).x)
    assert torch.allclose(x, y / math.sqrt(1 + v), rtol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "snr_db", "ratio"),
    [(COARSE, 10.0, 0.83), (COARSE, 13.0, 0.78), (COARSE, 20.0, 0.50), (MEDIUM, -5.0, 0.9996), (MEDIUM, 13.0, 0.96)],
)
def test_papers_match_has_too_little_noise(schedule: NoiseSchedule, snr_db: float, ratio: float) -> None:
    """Theory 2.3: its variance against that of the step it claims to be, to the printed digits."""
    z, y, v = received(snr_db)
    x, t = match(y, v, schedule, mode="paper")
    a = float(schedule.alpha_bar(t)[0])
    missing = a * v / (1 - a)
    digits = len(str(ratio).split(".")[1])
    # The dossier gives .96 to .9996 as the ends of a range over SNRs from -5 to 13 dB.
    assert missing == pytest.approx(ratio, abs=0.5 * 10**-digits) or (schedule is MEDIUM and 0.955 <= missing <= 1)
    assert_forward_law(x, z, a, missing)
    assert torch.equal(x, match(y, v, schedule, mode="paper", key=Key(9)).x)


def test_papers_match_starts_at_the_published_steps() -> None:
    for snr_db, t in [(-10, 687), (0, 354), (10, 88), (20, 11)]:
        _, y, v = received(snr_db, (1, 8))
        assert int(match(y, v, SCHEDULE, mode="paper").t) == t


def test_calibrated_undoes_the_shrinkage_of_an_estimate() -> None:
    """The MMSE estimate of z has error variance v = N0 / (1 + N0) and shrinks by 1 - v: matched, it is the AWGN state again."""
    z, y, n0 = received(3.0)
    estimate = y / (1 + n0)
    v = n0 / (1 + n0)
    x, t = match(estimate, v, SCHEDULE, mode="calibrated")
    exact = match(y, n0, SCHEDULE)
    assert torch.allclose(t, exact.t, atol=1e-9)
    assert torch.allclose(x, exact.x, rtol=1e-9)
    assert float(SCHEDULE.alpha_bar(t)[0]) == pytest.approx(1 - v)
    assert_forward_law(x, z, 1 - v)
    rounded = match(estimate, v, COARSE, mode="calibrated", key=Key(3), rounding="ceil")
    assert_forward_law(rounded.x, z, float(COARSE.alpha_bar(rounded.t)[0]))


@pytest.mark.parametrize("mode", ["exact", "calibrated"])
def test_less_noise_than_the_first_step_is_topped_up(mode: str) -> None:
    z = normal(SHAPE, Key(1), torch.float64)
    for v in (0.0, 1e-5):
        x, t = match(z + math.sqrt(v) * normal(SHAPE, Key(2), torch.float64), v, SCHEDULE, mode=mode, key=Key(3))
        assert t.tolist() == [0] * 4
        a = float(SCHEDULE.alphas_cumprod[0])
        assert float((x - math.sqrt(a) * z).var()) == pytest.approx(1 - a, rel=0.02)


def test_more_noise_than_the_last_step_keeps_unit_variance() -> None:
    for snr_db in (-24.0, -40.0):
        _, y, v = received(snr_db)
        x, t = match(y, v, SCHEDULE)
        assert t.tolist() == [999] * 4
        assert float(x.var()) == pytest.approx(1, rel=0.02)


def test_each_sample_has_its_own_time_and_ignores_its_mates() -> None:
    z = normal((3, 50), Key(1), torch.float64)
    v = torch.tensor([0.1, 1.0, 10.0], dtype=torch.float64)
    x, t = match(z, v, SCHEDULE)
    for i in range(3):
        alone = match(z[i : i + 1], v[i : i + 1], SCHEDULE)
        assert torch.equal(alone.x[0], x[i])
        assert alone.t[0] == t[i]
    assert t.tolist() == sorted(t.tolist())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_dtypes_and_gradients(dtype: torch.dtype) -> None:
    y = normal((2, 64), Key(1), dtype).requires_grad_()
    x, t = match(y, 0.5, SCHEDULE)
    assert x.dtype == dtype
    assert t.dtype == torch.float64
    x.float().sum().backward()
    assert y.grad is not None
    assert torch.allclose(y.grad, torch.full_like(y, (1 / 1.5) ** 0.5), rtol=2 * torch.finfo(dtype).eps)


def test_an_empty_batch_matches_to_an_empty_state() -> None:
    x, t = match(torch.zeros(0, 4), 0.5, SCHEDULE)
    assert x.shape == (0, 4)
    assert t.shape == (0,)


def test_compiles_whole() -> None:
    def run(y: Tensor, v: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(match(y, v, SCHEDULE, key=key, rounding="ceil"))

    y, v = normal((2, 8), Key(1)), torch.tensor([0.1, 1.0])
    got = torch.compile(run, fullgraph=True, backend="aot_eager")(y, v, Key(2).tensor)
    for a, b in zip(got, run(y, v, Key(2).tensor), strict=True):
        assert torch.equal(a, b)

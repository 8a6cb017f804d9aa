# SPDX-License-Identifier: Apache-2.0
"""The diagnosis against priors for which every error is a formula (semdiff.oracle)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import semdiff
from semdiff import Key, NoiseSchedule
from semdiff.evaluation.diagnosis import Diagnosis, diagnose
from semdiff.evaluation.linear_estimate import elementwise_mmse, ledoit_wolf, linear_mmse
from semdiff.oracle import GaussianMixture

SCHEDULE = NoiseSchedule.scaled_linear()
N = 2000


def clusters() -> GaussianMixture:
    means = semdiff.normal((6, 16), Key(0), torch.float64)
    return GaussianMixture(means, torch.full((6,), 0.05)).standardized()


def gaussian() -> GaussianMixture:
    return GaussianMixture(torch.zeros(1, 16), torch.linspace(0.1, 1.9, 16)[None])


def of(prior: GaussianMixture, snr_db: list[float], n: int = N, steps: int = 8) -> Diagnosis:
    return diagnose(prior.sample(n, Key(1)), prior.denoiser(SCHEDULE), SCHEDULE, snr_db, steps=steps, key=Key(2))


# --- what the denoiser is compared with --------------------------------------------------------------------------------------------------


def test_linear_mmse_is_the_matrix_formula() -> None:
    z = semdiff.normal((40, 6), Key(3), torch.float64) @ torch.tril(torch.ones(6, 6, dtype=torch.float64)) + 0.3
    c = ledoit_wolf(z)
    inside = c.vectors.T @ torch.diag(c.values) @ c.vectors
    covariance = inside + c.floor * (torch.eye(6, dtype=torch.float64) - c.vectors.T @ c.vectors)
    y = z + semdiff.normal(z.shape, Key(4), torch.float64)
    expected = z.mean(0) + (y - z.mean(0)) @ torch.linalg.solve(covariance + torch.eye(6, dtype=torch.float64), covariance)
    torch.testing.assert_close(linear_mmse(y, 1.0, c), expected)


@pytest.mark.parametrize("n", [10, 300])
def test_shrinkage_is_scikit_learns_formula(n: int) -> None:
    """Ledoit and Wolf, 2004, sections 3.2-3.3, written out with D x D matrices; n < D too."""
    z = semdiff.normal((n, 20), Key(5), torch.float64) * torch.linspace(0.2, 2, 20)
    x = z - z.mean(0)
    s = x.T @ x / n
    mu = s.trace() / 20
    spread = sum((torch.outer(row, row) - s).square().sum() for row in x) / n**2
    distance = (s - mu * torch.eye(20)).square().sum()
    shrink = float(min(spread, distance) / distance)
    expected = (1 - shrink) * s + shrink * mu * torch.eye(20)
    c = ledoit_wolf(z)
    made = c.vectors.T @ torch.diag(c.values) @ c.vectors
    if n < 20:
        made = made + c.floor * (torch.eye(20, dtype=torch.float64) - c.vectors.T @ c.vectors)
    torch.testing.assert_close(made, expected)


@pytest.mark.parametrize("noise_var", [0.03, 1.0])
def test_elementwise_is_the_exact_posterior_mean(noise_var: float) -> None:
    prior = GaussianMixture([[-1.0], [0.5]], [1e-6, 0.4], [0.3, 0.7])
    z = prior.sample(200_000, Key(6), torch.float64)
    y = torch.linspace(-2, 2, 101, dtype=torch.float64)[:, None]
    torch.testing.assert_close(elementwise_mmse(y, noise_var, z), prior.posterior_mean(y, noise_var), rtol=0, atol=0.02)
    assert torch.equal(elementwise_mmse(y, 0.1, torch.full((3, 2), 0.7, dtype=torch.float64)), torch.full_like(y, 0.7))


# --- the errors --------------------------------------------------------------------------------------------------------------------------


def test_errors_are_the_oracles() -> None:
    """Of 16 x 2000 numbers: N0 (its own deviation is sqrt(2 / 32000)), the prior's MMSE, at most twice that for the sampler."""
    prior = clusters()
    for level in of(prior, [0.0, 10.0], steps=30).levels:
        noise_var = 10 ** (-0.1 * level.snr_db)
        best = float(prior.mmse(noise_var).value)
        assert level.observation == pytest.approx(noise_var, rel=5 * math.sqrt(2 / 32000))
        assert level.posterior_mean == pytest.approx(best, rel=0.05)
        assert best < level.sample < 2.1 * best
        assert level.posterior_mean < level.linear < level.observation
        assert level.t == pytest.approx(float(SCHEDULE.timestep(noise_var)))
        assert level.gain_db == pytest.approx(10 * math.log10(level.linear / level.posterior_mean))


def test_linear_is_the_wiener_filter_for_gaussian_data() -> None:
    prior = gaussian()
    for level in of(prior, [0.0, 10.0]).levels:
        expected = float(prior.mmse(10 ** (-0.1 * level.snr_db)).value)
        assert level.linear == pytest.approx(expected, rel=0.03)
        assert level.posterior_mean == pytest.approx(expected, rel=0.03)


# --- the verdicts ------------------------------------------------------------------------------------------------------------------------


def test_it_helps_where_there_is_structure() -> None:
    found = of(clusters(), [0.0, 10.0])
    assert found.helps
    assert found.verdict.startswith("diffusion helps at 0, 10 dB: ")
    assert (found.samples, found.dimensions) == (N, 16)


@pytest.mark.parametrize("spread", [torch.linspace(0.1, 1.9, 16), torch.ones(16)])
def test_no_gain_for_gaussian_data(spread: Tensor) -> None:
    found = of(GaussianMixture(torch.zeros(1, 16), spread[None]), [0.0, 5.0, 10.0])
    assert not found.helps
    assert found.verdict.startswith("no gain over linear")
    assert all(abs(level.gain_db) < 0.05 for level in found.levels)


def test_a_constellation_gains_nothing_beyond_each_element() -> None:
    """Independent +-1 (QPSK, two elements a symbol): far better than linear, and no better than looking at each element."""
    one = GaussianMixture([[-1.0], [1.0]], [1e-4, 1e-4])
    z = one.sample(8 * N, Key(3)).reshape(N, 8)
    exact = one.denoiser(SCHEDULE)

    def denoiser(x: Tensor, t: Tensor) -> Tensor:
        return exact(x.reshape(-1, 1), t.repeat_interleave(8)).reshape(x.shape)

    found = diagnose(z, denoiser, SCHEDULE, [0.0, 5.0], key=Key(1))
    assert not found.helps
    assert "none over an estimate that looks at each element alone" in found.verdict
    for level in found.levels:
        assert level.posterior_mean == pytest.approx(float(one.mmse(10 ** (-0.1 * level.snr_db)).value), rel=0.05)
        assert level.gain_db > 0.3
        assert abs(level.gain_elementwise_db) < 0.02


def test_a_wrong_denoiser_is_told() -> None:
    prior = clusters()
    found = diagnose(prior.sample(N, Key(1)), lambda x, t: torch.zeros_like(x), SCHEDULE, 5.0, key=Key(2))
    assert not found.helps
    assert "no gain over linear: it loses" in found.verdict


def test_too_few_latents_are_told() -> None:
    assert "40 latents of 16 elements leave the linear estimate short of its best: 64 would not" in of(clusters(), [0.0], n=40).verdict


def test_shape_batches_and_keys() -> None:
    """Latents of any shape; the batch changes nothing; the same key gives the same numbers."""
    prior = clusters()
    z = prior.sample(60, Key(1)).reshape(60, 4, 2, 2)
    first = diagnose(z, prior.denoiser(SCHEDULE), SCHEDULE, [3.0], steps=2, key=Key(5))
    again = diagnose(z, prior.denoiser(SCHEDULE), SCHEDULE, 3, steps=2, batch=7, key=Key(5))
    assert first.levels[0].posterior_mean == pytest.approx(again.levels[0].posterior_mean, rel=1e-6)
    assert first.levels[0].sample == pytest.approx(again.levels[0].sample, rel=1e-6)
    assert first.levels[0].linear == again.levels[0].linear


@pytest.mark.parametrize(
    ("latents", "error", "words"),
    [
        (torch.zeros(30, 4, dtype=torch.long), TypeError, "latents: expected a floating-point tensor"),
        (torch.randn(5, 4), ValueError, r"latents: expected shape \(N, \.\.\.\) with N >= 20, got \(5, 4\)"),
        (torch.full((30, 4), math.nan), ValueError, "latents: expected finite"),
        (torch.full((30, 4), 3.0), ValueError, "latents: expected about unit variance, .* got a mean square of 9"),
    ],
)
def test_bad_latents(latents: Tensor, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        diagnose(latents, lambda x, t: x, SCHEDULE)


def test_bad_levels() -> None:
    with pytest.raises(ValueError, match="snr_db: expected at least one"):
        diagnose(torch.randn(30, 4), lambda x, t: x, SCHEDULE, [])
    with pytest.raises(ValueError, match="snr_db: expected a finite number"):
        diagnose(torch.randn(30, 4), lambda x, t: x, SCHEDULE, math.nan)

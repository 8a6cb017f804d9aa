# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math

import diffusers
import pytest
import torch

from semdiff import NoiseSchedule, _reference

SCHEDULE = NoiseSchedule.scaled_linear()
SCHEDULES = [
    SCHEDULE,
    NoiseSchedule.linear(),
    NoiseSchedule.cosine(),
    NoiseSchedule.linear(1),
    NoiseSchedule.cosine(7),
    NoiseSchedule.linear(4000, 1e-5, 5e-3),
]

FINGERPRINTS = {
    0: 0.99915000, 1: 0.99829603, 88: 0.90885219, 170: 0.79899274,
    255: 0.66557360, 354: 0.49981740, 529: 0.23905579, 687: 0.09067855, 999: 0.00466010,
}  # fmt: skip
SNR_TO_STEP = {
    -10: 687, -5: 529, -3: 459, -1: 389, 0: 354, 1: 320, 3: 255, 5: 197,
    6: 170, 7: 146, 9: 105, 10: 88, 11: 73, 12: 61, 13: 50, 15: 33, 20: 11,
}  # fmt: skip


@pytest.mark.parametrize(("t", "value"), FINGERPRINTS.items())
def test_the_published_table(t: int, value: float) -> None:
    assert abs(float(SCHEDULE.alpha_bar(t)) - value) < 5e-9  # to the last printed digit


@pytest.mark.parametrize(("snr_db", "t"), SNR_TO_STEP.items())
def test_snr_to_step(snr_db: int, t: int) -> None:
    assert int(SCHEDULE.timestep(10 ** (-snr_db / 10), "ceil")) == t
    exact = float(SCHEDULE.timestep(10 ** (-snr_db / 10)))
    assert t - 1 < exact <= t
    assert float(SCHEDULE.noise_var(exact)) == pytest.approx(10 ** (-snr_db / 10), rel=1e-12)


def test_representable_snrs() -> None:
    assert -10 * math.log10(float(SCHEDULE.noise_var(999))) == pytest.approx(-23.30, abs=5e-3)
    assert -10 * math.log10(float(SCHEDULE.noise_var(0))) == pytest.approx(30.70, abs=5e-3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_round_trips(schedule: NoiseSchedule) -> None:
    steps = torch.arange(schedule.T)
    for rounding in ("none", "ceil", "nearest"):
        assert torch.equal(schedule.timestep(schedule.noise_var(steps), rounding), steps.double())
    between = torch.linspace(0, schedule.T - 1, 997, dtype=torch.float64)
    assert torch.allclose(schedule.timestep(schedule.noise_var(between)), between, rtol=0, atol=1e-7)
    assert torch.equal(schedule.alpha_bar(steps), schedule.alphas_cumprod)
    assert torch.allclose(schedule.alpha_bar(between), _reference.alpha_bar(schedule.alphas_cumprod, between), rtol=1e-13)


def test_between_steps_ln_snr_is_linear() -> None:
    logit = SCHEDULE.alphas_cumprod.logit()
    assert float(SCHEDULE.alpha_bar(100.25).logit()) == pytest.approx(float(0.75 * logit[100] + 0.25 * logit[101]), rel=1e-12)


def test_roundings_between_steps() -> None:
    variance = SCHEDULE.noise_var(torch.tensor([100.01, 100.4, 100.6, 100.99], dtype=torch.float64))
    assert SCHEDULE.timestep(variance, "ceil").tolist() == [101, 101, 101, 101]
    assert SCHEDULE.timestep(variance, "nearest").tolist() == [100, 100, 101, 101]
    # "First step at least as noisy" is a promise: a hair more noise than step 100's is step 101.
    step = float(SCHEDULE.noise_var(100))
    assert float(SCHEDULE.timestep(step * (1 + 1e-9), "ceil")) == 101
    assert float(SCHEDULE.timestep(step * (1 - 1e-9), "ceil")) == 100


@pytest.mark.parametrize("rounding", ["none", "ceil", "nearest"])
@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_saturates_at_both_ends(schedule: NoiseSchedule, rounding: str) -> None:
    ends = torch.tensor([0.0, 1e-300, 1e-17, 1e6 * float(schedule.noise_var(schedule.T - 1)), 1e300], dtype=torch.float64)
    assert schedule.timestep(ends, rounding).tolist() == [0, 0, 0, schedule.T - 1, schedule.T - 1]


def test_clean_data_has_a_time() -> None:
    assert float(SCHEDULE.alpha_bar(-1)) == 1
    assert float(SCHEDULE.noise_var(-1)) == 0


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("steps", [1000, 50])
def test_agrees_with_diffusers(kind: str, steps: int) -> None:
    scheduler = diffusers.DDPMScheduler(steps, beta_schedule=kind, beta_start=0.00085, beta_end=0.012)
    ours = {
        "linear": lambda: NoiseSchedule.linear(steps, 0.00085, 0.012),
        "scaled_linear": lambda: NoiseSchedule.scaled_linear(steps),
        "squaredcos_cap_v2": lambda: NoiseSchedule.cosine(steps),
    }[kind]()
    theirs = NoiseSchedule.from_diffusers(scheduler)
    # diffusers works in float32: two roundings a step, of 1 - beta relative to beta and of the product.
    table = ours.alphas_cumprod
    kept = table / torch.cat([torch.ones(1), table[:-1]])
    bound = 1.2e-7 * (1 / kept).cumsum(0)
    assert bool(((theirs.alphas_cumprod - table).abs() <= bound * table).all())
    assert theirs.alphas_cumprod.dtype == torch.float64
    assert torch.equal(theirs.alphas_cumprod.float(), scheduler.alphas_cumprod)


def test_from_diffusers_refuses_what_is_not_a_table() -> None:
    with pytest.raises(TypeError, match="scheduler: expected one with alphas_cumprod, got FlowMatchEulerDiscreteScheduler"):
        NoiseSchedule.from_diffusers(diffusers.FlowMatchEulerDiscreteScheduler())


def test_a_table_of_ones_own() -> None:
    table = torch.tensor([0.9, 0.5, 0.1])
    schedule = NoiseSchedule.from_alphas_cumprod(table)
    table[0] = 0  # a copy was taken
    assert schedule.T == 3
    assert torch.allclose(schedule.alphas_cumprod, torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64), atol=1e-7)
    assert NoiseSchedule.from_alphas_cumprod([0.9, 0.5]).T == 2
    assert "T=3" in repr(schedule)
    for bad, message in [
        ([0.5, 0.5], "strictly falling"),
        ([0.5, 0.6], "strictly falling"),
        ([1.1, 0.5], r"numbers in \[0, 1\]"),
        ([0.5, -0.1], r"numbers in \[0, 1\]"),
        ([float("nan"), 0.5], r"numbers in \[0, 1\]"),
        ([1.0, 0.0], "a number between 0 and 1"),
        ([[0.5]], r"shape \(T,\)"),
        ([], r"shape \(T,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            NoiseSchedule.from_alphas_cumprod(bad)


def test_shapes_and_kinds_of_times() -> None:
    assert SCHEDULE.alpha_bar(5).shape == ()
    assert SCHEDULE.alpha_bar(torch.zeros(2, 3)).shape == (2, 3)
    assert SCHEDULE.alpha_bar(torch.arange(3)).dtype == torch.float64
    assert SCHEDULE.timestep(torch.ones(0)).shape == (0,)

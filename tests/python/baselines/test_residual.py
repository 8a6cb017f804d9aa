# SPDX-License-Identifier: Apache-2.0
"""The analog layer of `Hybrid`: an orthonormal transform, a profile's bits, the allocation's optimality, and the error that it foresees."""

import math

import pytest
import torch

from semdiff import Key, normal
from semdiff.baselines.residual import (
    CELL,
    CLASSES,
    LEVEL_BITS,
    Plan,
    allocate,
    analyze,
    classify,
    describe,
    from_bits,
    make_plan,
    profile_bits,
    read_profile,
    synthesize,
    to_bits,
)

SHAPES = [(3, 32, 48), (1, 17, 30), (3, 5, 9)]


@pytest.mark.parametrize("shape", SHAPES)
def test_transform_and_back(shape):
    image = normal(shape, Key(1))
    torch.testing.assert_close(synthesize(analyze(image), shape), image, atol=2e-6, rtol=0)


def test_transform_is_scipys_and_keeps_energy():
    fft = pytest.importorskip("scipy.fft")
    image = normal((3, 2 * CELL, CELL), Key(2))
    coefficients = analyze(image)
    assert coefficients.shape == (2, 3, CELL, CELL)
    grey = image.sum(0).numpy() / math.sqrt(3)
    torch.testing.assert_close(coefficients[1, 0], torch.from_numpy(fft.dctn(grey[CELL:], norm="ortho")), atol=1e-5, rtol=0)
    assert coefficients.square().sum().item() == pytest.approx(image.square().sum().item(), rel=1e-5)


def test_a_grey_picture_has_no_colour_differences():
    coefficients = analyze(normal((1, 16, 16), Key(3)).expand(3, -1, -1))
    assert coefficients[:, 1:].abs().max() < 1e-5


@pytest.mark.parametrize("width", [1, 4, 8])
def test_bits_of_numbers(width):
    numbers = torch.arange(2**width)
    bits = to_bits(numbers, width)
    assert bits.tolist() == [int(b) for n in numbers.tolist() for b in f"{n:0{width}b}"]
    assert torch.equal(from_bits(bits, width), numbers)


def test_classes_are_of_equal_size_and_in_order_of_detail():
    amplitude = torch.arange(1.0, 41.0)[torch.randperm(40, generator=torch.Generator().manual_seed(4))]
    base = amplitude[:, None, None, None] * normal((1, 3, CELL, CELL), Key(5))
    classes = classify(base)
    assert torch.bincount(classes).tolist() == [5] * CLASSES
    assert torch.equal(classes, (amplitude.long() - 1) // 5)
    flat = classify(torch.zeros(3, 1, CELL, CELL))  # of one colour
    assert flat.min() >= 0
    assert flat.max() < CLASSES


@pytest.mark.parametrize("colours", [1, 3])
def test_profile_finds_the_variances_that_coefficients_were_drawn_with(colours):
    octave = torch.tensor([n.bit_length() for n in range(CELL)])
    # A product of powers of two of band and class, as the model has it.
    deviation = torch.exp2(-4.0 - octave[:, None] / 2 - octave / 2)[None] * torch.exp2(torch.arange(CLASSES)[:, None, None] / 2 - 2)
    classes = torch.arange(CLASSES).repeat_interleave(200)
    residual = deviation[classes][:, None] * normal((len(classes), colours, CELL, CELL), Key(6))
    profile = describe(residual, classes)
    ratio_db = 10 * (profile.variances(colours) / deviation.double().square()[:, None]).log10()
    assert ratio_db.abs().max() < 10 * math.log10(2) + 0.5  # half a step for shape and gain each, and chance
    bits = profile.to_bits()
    assert bits.shape == (profile_bits(colours),)
    assert profile_bits(colours) == LEVEL_BITS * (25 + CLASSES) * (2 if colours == 3 else 1)
    again = read_profile(bits, colours)
    assert torch.equal(again.shape, profile.shape)
    assert torch.equal(again.gain, profile.gain)


def total_error(variances, counts, factors, noise_var):
    return float((counts * variances * noise_var / (factors.square() * variances + noise_var)).sum())


def test_allocation_of_equal_variances_is_the_linear_bound():
    # As many slots as coefficients: each is heard at the channel's SNR, D = v / (1 + snr). Half as many: none, since a group is whole.
    v, n = torch.tensor([0.3], dtype=torch.float64), torch.tensor([100.0], dtype=torch.float64)
    factors = allocate(v, n, 100, 0.1)
    assert total_error(v, n, factors, 0.1) == pytest.approx(100 * 0.3 / 11)
    assert allocate(v, n, 50, 0.1).tolist() == [0.0]


@pytest.mark.parametrize("noise_var", [0.01, 0.3, 3.0])
@pytest.mark.parametrize("slots", [40, 150, 1000])
def test_allocation_is_optimal(slots, noise_var):
    v = torch.exp2(torch.arange(0.0, -12, -1)).double()
    n = torch.tensor([5.0, 20, 10, 30, 1, 40, 7, 60, 3, 80, 9, 100]).double()
    factors = allocate(v, n, slots, noise_var)
    sent = factors > 0
    assert n[sent].sum() <= slots
    assert float((n * factors.square() * v).sum()) == pytest.approx(slots)
    # Karush-Kuhn-Tucker: what is sent gains equally by power, what could be sent besides would gain less.
    slope = v * noise_var / (factors.square() * v + noise_var).square()  # -dD/dp at p = g^2 v, times v
    torch.testing.assert_close(slope[sent], slope[sent].mean().expand(int(sent.sum())), rtol=1e-9, atol=0)
    room = (n.cumsum(0) <= slots) & ~sent
    assert bool((slope[room] <= slope[sent].mean() * (1 + 1e-9)).all())
    # And no other division of the same power does better.
    least = total_error(v, n, factors, noise_var)
    for seed in range(20):
        other = factors.square() * torch.exp(0.5 * normal(v.shape, Key(seed)).double())
        other = other * slots / (n * other * v).sum()
        assert total_error(v, n, other.sqrt(), noise_var) > least


def test_nothing_to_send():
    assert not allocate(torch.zeros(3).double(), torch.ones(3).double(), 10, 0.1).any()
    assert not allocate(torch.ones(3).double(), torch.ones(3).double(), 0, 0.1).any()


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_the_error_is_the_one_foreseen(snr_db):
    noise_var, slots = 10 ** (-snr_db / 10), 60_000
    classes = torch.arange(CLASSES).repeat_interleave(100)
    pattern = normal((len(classes), 1, CELL, CELL), Key(7))
    profile = describe(0.05 * pattern * torch.exp2(-torch.arange(CELL) / 4), classes)
    plan = make_plan(profile, classes, 1, slots, noise_var)
    residual = plan.variances.sqrt() * normal(plan.variances.shape, Key(8))  # as the profile says, exactly
    numbers = plan.send(residual)
    assert numbers.shape == (slots,)
    assert float(numbers.square().mean()) == pytest.approx(1.0, rel=0.03)  # sum of 60,000 squares: 3 standard deviations are 0.02
    heard = 1.1 * numbers + noise_var**0.5 * normal(numbers.shape, Key(9))
    estimate = plan.receive(heard, 1.1, torch.full((slots,), noise_var))
    foreseen = plan.variances * noise_var / ((1.1 * plan.factors).square() * plan.variances + noise_var)
    assert float((estimate - residual).square().sum()) == pytest.approx(float(foreseen.sum()), rel=0.02)


def test_what_is_heard_with_infinite_noise_counts_for_nothing():
    ones = torch.ones(2, 1, CELL, CELL)
    plan = Plan(ones, ones, ones.numel())
    noise = torch.full((ones.numel(),), 1e-12)
    noise[0] = torch.inf
    estimate = plan.receive(torch.ones(ones.numel()), 1.0, noise).flatten()
    assert estimate[0] == 0
    torch.testing.assert_close(estimate[1:], torch.ones(ones.numel() - 1))

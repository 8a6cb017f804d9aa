# SPDX-License-Identifier: Apache-2.0
"""What the receiver of `Hybrid` knows of its error, and the network that is told so."""

import math

import pytest
import torch

from semdiff import Key, normal
from semdiff.data import sample_photos

pytest.importorskip("PIL")
pytest.importorskip("diffusers")
pytest.importorskip("sionna", reason="needs sionna-no-rt: pip install 'semdiff-torch[eval]'")

from semdiff.baselines import Hybrid
from semdiff.baselines.hybrid_reception import error_maps, receive_hybrid
from semdiff.baselines.residual import CELL, CLASSES, ORDERS, Plan, allocate, synthesize
from semdiff.models.restorer import Restorer

KEY = Key(31)


def plan_of(cells: int, slots_for_each: int, noise_var: float) -> Plan:
    """Variances that fall with the order, one class of cells, and the allocation of least error."""
    order = torch.arange(1, CELL + 1, dtype=torch.float64)
    variances = (0.01 / (order[:, None] * order) ** 2).expand(CLASSES, 3, CELL, CELL)
    counts = torch.zeros_like(variances)
    counts[0] = cells
    factors = allocate(variances, counts, cells * slots_for_each, noise_var)
    classes = torch.zeros(cells, dtype=torch.int64)
    return Plan(variances.float()[classes], factors.float()[classes], cells * slots_for_each)


def test_the_error_is_as_large_as_the_receiver_says():
    """Gaussian coefficients of the profile's variances: 4,096 cells, so a coefficient's mean square has a deviation of 2.2 %."""
    cells, noise_var, scale = 4096, 0.3, 0.9
    plan = plan_of(cells, 40, noise_var)
    residual = normal(plan.variances.shape, KEY) * plan.variances.sqrt()
    noise = torch.full((plan.slots,), noise_var)
    numbers = plan.send(residual) * scale + noise.sqrt() * normal((plan.slots,), KEY.fold_in(1))
    error = (plan.receive(numbers, scale, noise) - residual).square().mean(0)
    said = plan.error_variances(scale, noise)
    assert bool((said <= plan.variances).all())
    torch.testing.assert_close(error / said[0], torch.ones_like(error), atol=5 * math.sqrt(2 / cells), rtol=0)
    # The last map is the error of a pixel.
    picture = synthesize(plan.receive(numbers, scale, noise) - residual, (3, 64 * CELL, 64 * CELL))
    assert float(picture.square().mean()) == pytest.approx(float(error_maps(said, 64)[-1].exp().mean()), rel=0.02)


def test_maps_are_means_of_rings_of_coefficients():
    variances = normal((6, 3, CELL, CELL), KEY).square() + 0.1
    maps = error_maps(variances, 2)
    assert maps.shape == (2 * ORDERS + 1, 2, 3)
    one = variances[4]  # second row, second column
    for octave in range(ORDERS):
        inside = [(i, j) for i in range(CELL) for j in range(CELL) if max(i.bit_length(), j.bit_length()) == octave]
        rows, columns = (torch.tensor(axis) for axis in zip(*inside, strict=True))
        assert float(maps[octave, 1, 1].exp()) == pytest.approx(float(one[0, rows, columns].mean()), rel=1e-5)
        assert float(maps[ORDERS + octave, 1, 1].exp()) == pytest.approx(float(one[1:, rows, columns].mean()), rel=1e-5)


@pytest.mark.parametrize("size", [(128, 160), (97, 131)])
def test_an_untrained_network_shows_the_linear_estimate(size):
    images = sample_photos()[:1, :, : size[0], : size[1]]
    plain, ours = (Hybrid(codec="jpeg", restorer=r).transmit(images, 9.0, cbr=1 / 8, key=KEY).images for r in (None, Restorer()))
    torch.testing.assert_close(ours, plain, atol=1e-6, rtol=0)


def test_an_untrained_network_says_the_variance_of_the_linear_estimate():
    plan = plan_of(8 * 10, 12, 0.5)
    base = torch.rand(3, 8 * CELL, 10 * CELL)
    noise = torch.full((plan.slots,), 0.5)
    reception = receive_hybrid(base, plan, torch.zeros(plan.slots), 1.0, noise)
    assert torch.equal(reception.picture[0], base)  # nothing arrived
    restored = Restorer()(*reception)
    assert torch.equal(restored.mean, reception.picture)
    expected = reception.error_maps[:, -1:].repeat_interleave(CELL, 2).repeat_interleave(CELL, 3).expand(-1, 3, -1, -1)
    torch.testing.assert_close(restored.logvar, expected)


def test_grey_pictures_are_shown_as_they_arrive():
    images = sample_photos()[:1, :1, :128, :128]
    plain, ours = (Hybrid(codec="jpeg", restorer=r).transmit(images, 9.0, cbr=1 / 4, key=KEY).images for r in (None, Restorer()))
    assert torch.equal(ours, plain)

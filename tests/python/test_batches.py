# SPDX-License-Identifier: Apache-2.0
"""Batches: each a function of key and step, each row once an epoch, crops that are what they are said to be."""

import pytest
import torch

import semdiff
from semdiff.training.batches import RandomCrops, Rows

KEY = semdiff.Key(3)


def test_rows_come_once_an_epoch_in_another_order_each_time():
    rows = Rows((torch.arange(12), 10 * torch.arange(12)), 4, KEY)
    epochs = [torch.cat([rows.batch(3 * epoch + i)[0] for i in range(3)]) for epoch in range(2)]
    assert all(torch.equal(e.sort().values, torch.arange(12)) for e in epochs)
    assert not torch.equal(*epochs)
    first, second = rows.batch(1)
    assert torch.equal(second, 10 * first)
    assert torch.equal(torch.cat([rows.batch(1, rank, 2)[0] for rank in range(2)]).sort().values, first.sort().values)


def numbered(height, width, start):
    """Every pixel tells its picture, row and column: (start, row, column)."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.full_like(rows, start), rows, columns]).to(torch.uint8)


PICTURES = {"wide": numbered(20, 90, 0), "small": numbered(16, 16, 1)}


def test_crops_are_squares_of_the_pictures_some_of_them_mirrored():
    (batch,) = RandomCrops(PICTURES, 16, 400, KEY).batch(0)
    assert batch.shape == (400, 3, 16, 16)
    pixels = (batch * 255).round().long()
    which, top, columns = pixels[:, 0, 0, 0], pixels[:, 1, 0, 0], pixels[:, 2, 0]
    step = columns[:, 1] - columns[:, 0]
    assert set(step.tolist()) == {-1, 1}
    assert abs((step < 0).float().mean() - 0.5) < 0.1  # 4 standard deviations
    left = columns.amin(1)
    for crop, n, r, c, direction in zip(pixels, which, top, left, step, strict=True):
        expected = PICTURES["small" if n else "wide"][:, r : r + 16, c : c + 16].long()
        assert torch.equal(crop, expected if direction > 0 else expected.flip(2))
    assert set(top[which == 0].tolist()) == set(range(5))  # the ends too
    assert set(left[which == 0].tolist()) >= {0, 74}
    areas = torch.tensor([20 * 90.0, 16 * 16.0]).sqrt()
    assert abs((which == 1).float().mean() - areas[1] / areas.sum()) < 0.1


def test_crops_are_a_function_of_key_and_step_and_divide_among_processes():
    crops = RandomCrops(PICTURES, 16, 6, KEY)
    (whole,) = crops.batch(5)
    assert torch.equal(RandomCrops(PICTURES, 16, 6, KEY).batch(5)[0], whole)
    assert not torch.equal(crops.batch(6)[0], whole)
    assert not torch.equal(RandomCrops(PICTURES, 16, 6, semdiff.Key(4)).batch(5)[0], whole)
    parts = [crops.batch(5, rank, 2)[0] for rank in range(2)]
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)


def test_a_picture_smaller_than_a_crop_is_refused():
    with pytest.raises(ValueError, match=r"pictures: expected at least 17x17 pixels, got \(16, 16\) in small"):
        RandomCrops(PICTURES, 17, 4, KEY)

# SPDX-License-Identifier: Apache-2.0
"""Batches: each a function of key and step, each row once an epoch, crops that are what they are said to be."""

import pytest
import torch

import semdiff
from semdiff.training import batches
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


def ways(square):
    """The eight ways in which a square lies on itself."""
    return [s.rot90(k, (1, 2)) for s in (square, square.flip(2)) for k in range(4)]


@pytest.fixture
def as_exposed(monkeypatch):
    """Values as they are in the pictures."""
    monkeypatch.setattr(batches, "EXPOSURE", 0.0)
    monkeypatch.setattr(batches, "BALANCE", 0.0)


@pytest.fixture
def unscaled(monkeypatch):
    monkeypatch.setattr(batches, "NEAREST", 1.0)
    monkeypatch.setattr(batches, "FARTHEST", 1.0)


@pytest.mark.usefixtures("as_exposed", "unscaled")
def test_crops_are_squares_of_the_pictures_in_every_way():
    (batch,) = RandomCrops(PICTURES, 16, 400, KEY).batch(0)
    assert batch.shape == (400, 3, 16, 16)
    assert batch.min() >= 0
    assert batch.max() <= 1
    pixels = batch * 255
    which = pixels[:, 0, 0, 0].round()
    areas = torch.tensor([20 * 90.0, 16 * 16.0]).sqrt()
    assert abs((which == 1).float().mean() - areas[1] / areas.sum()) < 0.1  # 4 standard deviations
    lies, tops, lefts = [], set(), set()
    for crop, n in zip(pixels, which, strict=True):
        picture = PICTURES["small" if n else "wide"].float()
        upright = next(c for c in ways(crop) if c[1, 1, 0] > c[1, 0, 0] and c[2, 0, 1] > c[2, 0, 0])
        lies.append(next(k for k, way in enumerate(ways(upright)) if torch.equal(way, crop)))
        top, left = (round(float(v)) for v in upright[1:, 0, 0])
        torch.testing.assert_close(upright, picture[:, top : top + 16, left : left + 16], atol=1e-4, rtol=0)
        if n == 0:
            tops.add(top)
            lefts.add(left)
    assert tops == set(range(5))  # the ends too
    assert lefts >= {0, 74}
    assert sorted(set(lies)) == list(range(8))


@pytest.mark.usefixtures("as_exposed")
def test_crops_are_of_squares_from_a_third_to_twice_their_side_and_no_larger_than_the_picture():
    ramp = numbered(64, 64, 0)
    (batch,) = RandomCrops({"ramp": ramp}, 16, 400, KEY).batch(0)
    extents = torch.stack([(c[1:].flatten(1).amax(1) - c[1:].flatten(1).amin(1)).mean() * 255 / 15 for c in batch])
    for share, scale in ((0.0, 1 / 3), (0.25, 6**0.25 / 3), (0.5, 6**0.5 / 3), (0.75, 6**0.75 / 3), (1.0, 2.0)):
        assert abs(float(extents.quantile(share).log2() - torch.tensor(scale).log2())) < 0.25  # whole pixels, of 5 at least; 0.06 of chance
    noise = torch.randint(0, 256, (3, 64, 64), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    (batch,) = RandomCrops({"noise": noise}, 16, 400, KEY).batch(0)
    as_it_is = batch[(extents - 1).abs() < 0.03].flatten(1).std(1).mean()
    assert batch[extents > 1.8].flatten(1).std(1).mean() < 0.55 * as_it_is  # an average, no aliasing: 0.68 without antialiasing
    enlarged = batch[extents < 0.4]
    assert (enlarged[..., 1:] - enlarged[..., :-1]).square().mean() < 0.5 * enlarged.var()  # smooth; 2 for noise
    (batch,) = RandomCrops(PICTURES, 16, 400, KEY).batch(0)
    wide = batch[batch[:, 0, 0, 0] < 0.5 / 255]
    assert max((c[1] - c[1].min()).max() * 255 / 15 for c in wide) < 1.3  # 20 pixels high


def test_white_stays_white_when_scaled():
    (batch,) = RandomCrops({"white": torch.full((3, 40, 40), 255, dtype=torch.uint8)}, 16, 100, KEY).batch(0)
    assert batch.min() > 0.999
    assert batch.max() == 1  # and no more, which LPIPS would refuse


def test_exposure_and_white_balance_differ_from_crop_to_crop():
    grey = {"grey": torch.full((3, 20, 20), 51, dtype=torch.uint8)}
    (batch,) = RandomCrops(grey, 16, 400, KEY).batch(0)
    powers = (batch.log() / torch.tensor(0.2).log()).log2()
    assert powers.std((2, 3)).max() < 1e-5  # one for each channel of a crop
    powers = powers[:, :, 0, 0]
    most = (batches.EXPOSURE + batches.BALANCE) / 2
    assert powers.abs().max() < most
    assert powers.max() > 0.8 * most
    assert powers.min() < -0.8 * most
    apart = powers - powers.mean(1, keepdim=True)
    assert 0.7 < apart.square().sum(1).div(2).mean().sqrt() / (batches.BALANCE / 12**0.5) < 1.3


def test_crops_are_a_function_of_key_and_step_and_divide_among_processes():
    crops = RandomCrops(PICTURES, 16, 6, KEY)
    (whole,) = crops.batch(5)
    assert torch.equal(RandomCrops(PICTURES, 16, 6, KEY).batch(5)[0], whole)
    assert not torch.equal(crops.batch(6)[0], whole)
    assert not torch.equal(RandomCrops(PICTURES, 16, 6, semdiff.Key(4)).batch(5)[0], whole)
    parts = [crops.batch(5, rank, 2)[0] for rank in range(2)]
    assert torch.equal(torch.stack(parts, 1).flatten(0, 1), whole)


def test_a_checkpoint_of_other_crops_is_not_continued(monkeypatch):
    crops = RandomCrops(PICTURES, 16, 6, KEY)
    before = crops.identity()
    assert RandomCrops(PICTURES, 16, 6, semdiff.Key(4)).identity() == before  # the key is asked for elsewhere
    monkeypatch.setattr(batches, "NEAREST", 0.5)
    assert crops.identity() != before


def test_a_picture_smaller_than_a_crop_is_refused():
    with pytest.raises(ValueError, match=r"pictures: expected at least 17x17 pixels, got \(16, 16\) in small"):
        RandomCrops(PICTURES, 17, 4, KEY)

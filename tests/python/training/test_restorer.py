# SPDX-License-Identifier: Apache-2.0
"""The training of the network behind `Hybrid`: what it is given is what that code delivers, and it is resumed like every training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semdiff.data import sample_photos
from semdiff.rng import Key

pytest.importorskip("sionna", reason="needs sionna-no-rt: pip install 'semdiff-torch[eval]'")

from semdiff.baselines.hybrid import Hybrid
from semdiff.models.restorer import Restorer
from semdiff.training import hybrid_crops
from semdiff.training.engine import Plan
from semdiff.training.hybrid_crops import HybridCrops, code_pictures
from semdiff.training.recipes import restorer
from semdiff.training.saving import images_seen

CODE = Hybrid(0.8, codec="jpeg")


def pictures() -> dict[str, torch.Tensor]:
    photos = (sample_photos()[:, :, :160, :160] * 255).round().to(torch.uint8)
    return {str(i): photo for i, photo in enumerate(photos)}


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pictures a file, at good rates, where there is a residual in every class."""
    monkeypatch.setattr(hybrid_crops, "PART", 3)
    monkeypatch.setattr(hybrid_crops, "CBR", (0.2, 0.3))


def test_coded_pictures_are_read_where_they_are_and_made_where_they_are_not(three: None, tmp_path: Path) -> None:
    first = code_pictures(pictures(), 6, 128, tmp_path, CODE, Key(1))
    assert len(first) == 6
    written = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert sorted(written) == ["000.safetensors", "001.safetensors"]
    (tmp_path / "001.safetensors").unlink()
    again = code_pictures(pictures(), 6, 128, tmp_path, CODE, Key(1))
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert (tmp_path / "000.safetensors").stat().st_mtime_ns == written["000.safetensors"]


def test_a_crop_of_the_whole_is_what_the_code_sends(three: None, tmp_path: Path) -> None:
    """The plan of each class, cut out cell by cell, is the code's own plan of the picture."""
    coded = code_pictures(pictures(), 1, 128, tmp_path, CODE, Key(2))[0]
    image, base, plan = coded.crop(0, 0, 8)
    uses = plan.slots  # any number: compared is where the code sends something
    own = CODE.code(image, 4000, 2 * uses, float(coded.snr_db)).plan
    assert plan.variances.shape == own.variances.shape == (64, 3, 16, 16)
    assert plan.slots == int((plan.factors > 0).sum()) > 0
    assert image.shape == base.shape == (3, 128, 128)
    part = coded.crop(2, 3, 4)
    cells = torch.arange(64).view(8, 8)[2:6, 3:7].flatten()
    assert torch.equal(part[0], image[:, 32:96, 48:112])
    assert torch.equal(part[2].factors, plan.factors[cells])


def test_crops_are_nearer_to_the_image_than_their_base(three: None, tmp_path: Path) -> None:
    batches = HybridCrops(code_pictures(pictures(), 6, 128, tmp_path, CODE, Key(3)), 64, 16, Key(4))
    images, base, picture, maps = batches.batch(5)
    assert images.shape == base.shape == picture.shape == (16, 3, 64, 64)
    assert maps.shape == (16, 11, 4, 4)
    assert all(torch.equal(a, b) for a, b in zip(batches.batch(5), (images, base, picture, maps), strict=True))
    assert not torch.equal(batches.batch(6)[0], images)
    halves = [batches.batch(5, rank, 2) for rank in (0, 1)]
    assert torch.equal(torch.stack([halves[0][2], halves[1][2]], 1).flatten(0, 1), picture)
    error = lambda x: (x - images).square().mean()  # noqa: E731
    assert error(picture) < 0.9 * error(base)
    # Said by eight classes and 25 bands, so true on average alone.
    assert 0.5 < float(error(picture) / maps[:, -1].exp().mean()) < 2


def test_a_network_is_trained_on_from_its_folder(three: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(restorer, "PLAN", Plan(steps=4, batch_size=2, learning_rate=1e-2, warm_up=1))
    monkeypatch.setattr(restorer, "CODED", 3)
    monkeypatch.setattr(restorer, "CODED_SIZE", 128)
    monkeypatch.setattr(restorer, "CROP", 64)
    monkeypatch.setattr(restorer, "HELD_OUT", 2)
    monkeypatch.setattr(restorer, "hybrid", lambda: CODE)
    monkeypatch.setattr(restorer, "photos", lambda *_, **__: pictures())
    model = restorer.train(tmp_path / "first", budget=0.5, progress=False)
    assert images_seen(model) == {"restorer": 4}
    curve = (tmp_path / "first" / "curve.csv").read_text()
    assert "restored" in curve
    assert "calibration" in curve
    whole = restorer.train(tmp_path / "second", start=model, progress=False)
    assert images_seen(whole) == {"restorer": 8}
    first, second = (Restorer.from_pretrained(place).state_dict() for place in (model, whole))
    assert any(not torch.equal(t, second[n]) for n, t in first.items())
    # Nothing is left to do.
    third = Restorer.from_pretrained(restorer.train(tmp_path / "third", start=whole, progress=False)).state_dict()
    assert all(torch.equal(t, third[n]) for n, t in second.items())

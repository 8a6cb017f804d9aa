# SPDX-License-Identifier: Apache-2.0
"""The training of the networks behind `Hybrid`: what they are given is what that code delivers, and it is resumed like every training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from semdiff.data import sample_photos
from semdiff.rng import Key, normal

pytest.importorskip("sionna", reason="needs sionna-no-rt: pip install 'semdiff-torch[eval]'")

from semdiff.baselines.hybrid import Hybrid
from semdiff.baselines.hybrid_link import HybridLink
from semdiff.baselines.residual import analyze
from semdiff.models.restorer import PictureDenoiser, Restored
from semdiff.training import hybrid_crops
from semdiff.training.engine import Plan
from semdiff.training.hybrid_crops import HybridCrops, code_pictures
from semdiff.training.recipes import hybrid
from semdiff.training.saving import images_seen
from semdiff.training.stages.hybrid import PictureFlowStage

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


def test_a_mirrored_crop_sends_the_same_numbers_in_another_order(three: None, tmp_path: Path) -> None:
    coded = code_pictures(pictures(), 1, 128, tmp_path, CODE, Key(2))[0]
    numbers = lambda image, base, plan: plan.send(analyze(image - base)).abs().sort().values  # noqa: E731
    images = [coded.crop(1, 2, 5, symmetry)[0] for symmetry in range(hybrid_crops.SYMMETRIES)]
    assert len({tuple(image.flatten().tolist()) for image in images}) == hybrid_crops.SYMMETRIES
    assert torch.equal(images[6], images[0].flip(-1).mT)
    for symmetry in range(hybrid_crops.SYMMETRIES):
        turned, plain = (numbers(*coded.crop(1, 2, 5, s)) for s in (symmetry, 0))
        assert len(turned) > 1000
        torch.testing.assert_close(turned, plain, rtol=1e-4, atol=1e-4)


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


@pytest.fixture
def short(three: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe of four steps a network on three small pictures."""
    plan = Plan(steps=4, batch_size=2, learning_rate=1e-2, warm_up=1)
    monkeypatch.setattr(hybrid, "PLANS", dict.fromkeys(hybrid.PLANS, plan))
    for name, value in {"CODED_SIZE": 128, "CROP": 64, "HELD_OUT": 2, "hybrid": lambda: CODE}.items():
        monkeypatch.setattr(hybrid, name, value)
    monkeypatch.setattr(hybrid, "photos", lambda *_, **__: pictures())


def weights(model: Path) -> dict[str, dict[str, torch.Tensor]]:
    return {name: network.state_dict() for name, network in HybridLink.load(model).components.items()}


def test_a_link_is_trained_on_from_its_folder(short: None, tmp_path: Path) -> None:
    model = hybrid.train(tmp_path / "first", budget=0.5, stages=["restorer"], pictures=3, progress=False)
    assert images_seen(model) == {"restorer": 4}
    first = weights(model)
    assert list(first) == ["restorer"]
    whole = hybrid.train(tmp_path / "second", start=model, pictures=3, progress=False)
    assert images_seen(whole) == {"restorer": 8, "perceptual": 8, "denoiser": 8}
    second = weights(whole)
    assert any(not torch.equal(t, second["restorer"][n]) for n, t in first["restorer"].items())
    assert any(not torch.equal(t, second["restorer"][n]) for n, t in second["perceptual"].items())
    curve = (tmp_path / "second" / "denoiser.csv").read_text()
    assert all(name in curve for name in ("linear", '"sample, 1 steps"', '"sample, 4 steps"', "lpips"))
    # Nothing is left to do.
    third = weights(hybrid.train(tmp_path / "third", start=whole, pictures=3, progress=False))
    assert all(torch.equal(t, third[name][n]) for name, each in second.items() for n, t in each.items())


def test_a_network_that_another_needs_is_asked_for(short: None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stages: expected the first of restorer, perceptual, denoiser, or a start"):
        hybrid.train(tmp_path, stages=["denoiser"], pictures=3, progress=False)
    with pytest.raises(ValueError, match="stages: expected some of restorer, perceptual, denoiser, got decoder"):
        hybrid.train(tmp_path, stages=["decoder"], pictures=3, progress=False)


def test_the_flow_learns_gaussian_noise() -> None:
    """The estimate is the picture with noise of the variance that it says.

    start - x = s (e + k eps) and the state is x + left (start - x). Of flat grey pictures, one colour in all, the denoiser sees the noise
    itself: the error of its estimate falls well below 1, what a denoiser of zeros has.
    """
    torch.manual_seed(0)
    denoiser = PictureDenoiser(width=16, depth=1, deep_width=16, deep_depth=1)

    class Noisy(torch.nn.Module):
        def forward(self, base: torch.Tensor, picture: torch.Tensor, error_maps: torch.Tensor) -> Restored:
            return Restored(picture, torch.full_like(picture, 2e-3).log())

    stage = PictureFlowStage(Noisy(), denoiser)
    images = torch.full((8, 3, 32, 32), 0.5)
    optimizer = torch.optim.Adam(denoiser.parameters(), lr=5e-3)
    losses = []
    for step in range(60):
        noise = normal(images.shape, Key(step).fold_in(1)) * 2e-3**0.5
        loss = stage(Key(step), images, images, images + noise, torch.zeros(8, 11, 2, 2))["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] == pytest.approx(1.0, abs=0.05)  # the deviation over 24,576 pixels is .01
    assert sum(losses[-5:]) / 5 < 0.3

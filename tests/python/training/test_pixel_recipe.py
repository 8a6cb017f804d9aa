# SPDX-License-Identifier: Apache-2.0
"""The recipe of links on pixels: a model's folder says what its stages have seen, and is trained on from there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from semdiff.baselines import PerceptualADJSCC, ResidualJSCC
from semdiff.data import sample_images
from semdiff.link import PixelLink
from semdiff.link.pixel_starting_state import mean_estimate
from semdiff.models.int8 import FILE, dequantize, quantize
from semdiff.models.residual_upsampler import ResidualUpsampler
from semdiff.rng import Key
from semdiff.training.engine import Plan
from semdiff.training.linear import begin_jscc
from semdiff.training.recipes import jscc, pixels
from semdiff.training.saving import images_seen

PLAN = Plan(steps=4, batch_size=2, learning_rate=1e-3, warm_up=1)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A recipe of a few steps on ten images, whose validation is left out; the folder of ends that it begins with."""
    recipe = dataclasses.replace(
        pixels.RECIPES["fashion-mnist"], widths=(8, 16), plans={"upsampler": PLAN, "flow": PLAN, "finish": PLAN}, lpips_weight=0.0
    )
    monkeypatch.setitem(pixels.RECIPES, "fashion-mnist", recipe)
    monkeypatch.setattr(pixels, "read_images", lambda *_: sample_images())
    monkeypatch.setattr(pixels, "HELD_OUT", 2)
    monkeypatch.setattr(pixels.PixelTraining, "validate", lambda self: [])
    PerceptualADJSCC().save(tmp_path / "ends")
    return tmp_path / "ends"


def run(*arguments: object) -> None:
    assert pixels.main(["fashion-mnist", *map(str, arguments)]) == 0


def test_a_link_is_trained_on_from_its_folder(tiny: Path, tmp_path: Path) -> None:
    run("--out", tmp_path / "first", "--ends", tiny, "--stages", "upsampler")
    model = tmp_path / "first" / "model"
    assert images_seen(model) == {"upsampler": 8}
    run("--out", tmp_path / "second", "--model", model, "--stages", "flow")
    again = tmp_path / "second" / "model"
    assert images_seen(again) == {"upsampler": 8, "flow": 8}
    first, second = PixelLink.from_pretrained(model), PixelLink.from_pretrained(again)
    for part in ("transmitter", "upsampler", "decoder"):  # stored a second time, so rounded once more
        stored = dequantize(quantize(getattr(first, part).state_dict()))
        for name, tensor in getattr(second, part).state_dict().items():
            assert torch.equal(tensor, stored[name]), (part, name)
    assert any(not torch.equal(t, first.unet.state_dict()[n]) for n, t in second.unet.state_dict().items())
    run("--out", tmp_path / "third", "--model", again, "--stages", "flow")  # there is nothing left to do
    assert (tmp_path / "third" / "model" / "unet" / FILE).read_bytes() == (again / "unet" / FILE).read_bytes()


def test_one_command_trains_from_the_first_step_to_the_link(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(jscc.PLANS, "fashion-mnist", (PLAN, PLAN))
    model = pixels.train("fashion-mnist", tmp_path / "run", images=sample_images(), progress=False)
    assert images_seen(model) == {"upsampler": 8, "flow": 8, "finish": 8}
    link, ends = PixelLink.from_pretrained(model), PerceptualADJSCC.load(tmp_path / "run" / "adjscc-lpips" / "model").state_dict()
    for name, tensor in dequantize(quantize({n: ends[n].float() for n in link.transmitter.state_dict()})).items():
        assert torch.equal(tensor, link.transmitter.state_dict()[name]), name
    before = {p: p.read_bytes() for p in model.rglob("*") if p.is_file()}
    assert pixels.train("fashion-mnist", tmp_path / "run", images=sample_images(), progress=False) == model  # nothing is left to do
    assert before == {p: p.read_bytes() for p in model.rglob("*") if p.is_file()}


def noise_images() -> torch.Tensor:
    return torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def begun_cifar10(monkeypatch: pytest.MonkeyPatch, folder: Path, images: torch.Tensor) -> pixels.PixelTraining:
    """A training of CIFAR-10's recipe with a small denoiser and a few steps, begun with the linear code of these images."""
    monkeypatch.setattr(pixels, "HELD_OUT", 2)
    recipe = pixels.RECIPES["cifar10"]
    plans = dict.fromkeys(recipe.plans, dataclasses.replace(PLAN, optimizer="muon"))
    monkeypatch.setitem(pixels.RECIPES, "cifar10", dataclasses.replace(recipe, widths=(8, 16), plans=plans))
    training = pixels.PixelTraining("cifar10", folder, data=images)
    torch.manual_seed(0)
    code = ResidualJSCC(**jscc.CIFAR10)
    begin_jscc(code, images)
    training.begin_with(code)
    return training


@torch.no_grad()
def test_the_cifar10_link_begins_as_the_code_of_its_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The up-sampler's mean is the picture of the code's decoder, until it is trained."""
    images = noise_images()
    training = begun_cifar10(monkeypatch, tmp_path, images)
    reception = training.front(images, Key(0))
    mean, error = mean_estimate(reception.gaussian, training.schedule)
    torch.testing.assert_close(mean, reception.perceptual, rtol=1e-3, atol=1e-3)  # but for alpha_bar_0, which is .9991
    assert error.tolist() == pytest.approx([0.1] * 6, rel=0.05)  # `gaussian_upsample` bounds ln v smoothly
    assert reception.perceptual.std() > 0.2
    link = training.link()
    link.to(torch.float32).save_pretrained(tmp_path / "link")
    again = PixelLink.from_pretrained(tmp_path / "link")
    assert type(again.upsampler) is ResidualUpsampler
    sent = [each.transmit(images[:2], 5.0, key=Key(1), steps=1).images for each in (link, again)]
    assert torch.equal(*sent)


def test_bad_input(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="budget: expected a finite number above zero, got 0"):
        pixels.train("fashion-mnist", tmp_path, budget=0)
    with pytest.raises(ValueError, match="name: expected one of fashion-mnist, cifar10, got 'mnist'"):
        pixels.train("mnist", tmp_path, images=sample_images())


def test_what_was_seen_is_a_file_of_the_model(tiny: Path, tmp_path: Path) -> None:
    run("--out", tmp_path / "run", "--ends", tiny, "--stages", "upsampler")
    file = tmp_path / "run" / "model" / "training.json"
    file.write_text(json.dumps({"upsampler": 10**6}))
    with pytest.raises(ValueError, match=r"training\.json: truncated or altered"):
        PixelLink.from_pretrained(tmp_path / "run" / "model")

# SPDX-License-Identifier: Apache-2.0
"""Behind a finished transmitter: which path the denoiser learns and what it is told, and the details that samples show."""

import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("accelerate")

import semdiff
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link import SemanticLink
from semdiff.models.pixel_blocks import to_blocks
from semdiff.training.recipes.photos import BLOCK, BORDER, build, conditions, read_recipe, train
from semdiff.training.stages.detail import PhotoDetailStage, glimpse, window
from semdiff.training.stages.diffusion import velocity
from semdiff.training.stages.generation import GenerationStage
from tests.python.photographs import photographs
from tests.python.pretrained import require_lpips
from tests.python.small_links import any_size_link
from tests.python.tiny_photos import pictures, write_recipe

PARTS = ("vae", "unet", "downsampler", "upsampler", "mean_decoder", "detail_decoder")


def change(recipe, *, hints=8, form=""):
    text = recipe.read_text().replace("hints = 8", f"hints = {hints}")
    recipe.write_text(text.replace("generation = {", f"generation = {{ {form}," if form else "generation = {"))
    return recipe


def stage(tmp_path, hints=8, **forms):
    recipe = read_recipe(change(write_recipe(tmp_path / "tiny.toml"), hints=hints))
    n = build(recipe, 0)
    schedule = NoiseSchedule.from_diffusers(n.scheduler)
    ends = n.downsampler, n.upsampler
    found = GenerationStage(n.vae, n.unet, *ends, schedule, tuple(recipe["rates"]), conditions(recipe), BLOCK, BORDER, **forms)
    found.freeze()
    return found


@pytest.mark.parametrize(("path", "white"), [("noise", True), ("received", False)])
def test_the_path_of_noise_is_the_forward_process(path, white, tmp_path):
    made = stage(tmp_path, path=path)
    heard = []
    made.unet.register_forward_hook(lambda _, inputs, out: heard.append((inputs, out.sample)))
    images = photographs(64).repeat(20, 1, 1, 1)
    terms = made(semdiff.Key(4), images)
    (x, t, hints), v = heard[0]
    with torch.no_grad():
        z = made.encoder(to_blocks(images, BLOCK, BORDER))
    assert hints.shape[1] == 8
    a = made.schedule.alpha_bar(t.double())
    wide = a.float()[:, None, None, None]
    noise = (x - wide.sqrt() * z) / (1 - wide).sqrt()
    assert (abs(noise.var().item() - 1) < 0.05 and abs(noise.mean().item()) < 0.02) is white
    assert terms.keys() == {"loss"}
    torch.testing.assert_close(terms["loss"], (v - velocity(x, z, a)).square().mean(), rtol=1e-4, atol=1e-5)


def test_the_denoiser_alone_learns_and_without_hints_is_told_nothing(tmp_path):
    made = stage(tmp_path, hints=0, path="noise")
    heard = []
    made.unet.register_forward_pre_hook(lambda _, inputs: heard.append(inputs))
    made(semdiff.Key(4), photographs(64))["loss"].backward()
    assert len(heard[0]) == 2
    assert all(p.grad is not None for p in made.unet.parameters())
    assert all(p.grad is None for part in (made.encoder, made.downsampler, made.upsampler) for p in part.parameters())
    assert {n.split(".")[0] for n in made.weights()} == {"unet"}


@pytest.mark.slow
def test_recipes_name_the_form(tmp_path, monkeypatch):
    """Another path changes the denoiser, and the details of its samples, and nothing that the stages before have made."""
    require_lpips()
    monkeypatch.setattr("semdiff.training.budget.steps_within", lambda *_: 2)
    options = {"pictures": pictures(), "progress": False, "precision": "fp32"}
    recipe = change(write_recipe(tmp_path / "tiny.toml"), hints=0, form='path = "received"')
    model = train(tmp_path / "run", config=recipe, **options)
    link = SemanticLink.from_pretrained(model)
    assert link.unet.config.hints == 0
    assert link.transmit(photographs(64), 5.0, cbr=1 / 24, steps=2).images.isfinite().all()
    other = train(tmp_path / "other", config=change(write_recipe(tmp_path / "tiny.toml"), hints=0), **options)
    same = {p: (model / p).rglob("*.safetensors") for p in PARTS}
    differ = {p for p, files in same.items() if any(f.read_bytes() != (other / f.relative_to(model)).read_bytes() for f in files)}
    assert differ == {"unet", "detail_decoder"}


def test_the_detail_stage_trains_its_decoder_alone(tmp_path):
    require_lpips()
    recipe = read_recipe(write_recipe(tmp_path / "tiny.toml"))
    n = build(recipe, 0)
    after = NoiseSchedule.from_diffusers(n.scheduler), tuple(recipe["rates"]), conditions(recipe), BLOCK, BORDER
    made = PhotoDetailStage(
        n.vae, n.unet, n.downsampler, n.upsampler, n.mean_decoder, n.detail_decoder, *after, steps=(2,), pixel_weight=3.0
    )
    made.freeze()
    evaluations = []
    made.unet.register_forward_hook(lambda *_: evaluations.append(1))
    terms = made(semdiff.Key(4), photographs(64))
    torch.testing.assert_close(terms["loss"], terms["lpips"] + terms["vgg"] + 3 * terms["mse"])
    assert len(evaluations) == 2
    terms["loss"].backward()
    assert n.detail_decoder.conv_out.weight.grad.abs().max() > 0  # what is before it waits for this one, which is zero at first
    assert {name.split(".")[0] for name in made.weights()} == {"detail_decoder"}


def test_a_glimpse_is_the_same_part_of_both_pictures():
    """Wherever it looks, and however: two pictures that differ by a constant still do, and equal ones are equal."""
    images = photographs(64)
    seen = [glimpse(images - 0.25, images, semdiff.Key(7).fold_in(i)) for i in range(24)]
    for decoded, original in seen:
        torch.testing.assert_close(original - decoded, torch.full_like(original, 0.25))
    assert {tuple(original.shape[2:]) for _, original in seen} == {(56, 56), (64, 64), (28, 28)}  # shifted; enlarged; from afar
    places = [images.unfold(2, 56, 1).unfold(3, 56, 1)[:, :, i, j] for i in range(9) for j in range(9)]
    afar = [F.avg_pool2d(p, 2) for p in places]
    for _, part in seen:
        turned = [t for p in (part, part.transpose(2, 3)) for t in (p, p.flip(3))]
        if part.shape[2] == 56:
            assert any(torch.equal(t, p) for t in turned for p in places)
        elif part.shape[2] == 28:
            assert any(torch.allclose(t, p, atol=1e-6) for t in turned for p in afar)


def test_a_window_is_the_same_square_of_both_pictures_of_every_other_one():
    images = photographs(112)
    seen = [window(images - 0.25, images, semdiff.Key(7).fold_in(i)) for i in range(24)]
    places, firsts = images.unfold(2, 96, 1).unfold(3, 96, 1), set()
    for decoded, original in seen:
        torch.testing.assert_close(original - decoded, torch.full_like(original, 0.25))
        found = {first for first in range(2) for i in range(17) for j in range(17) if torch.equal(original, places[first::2, :, i, j])}
        assert len(found) == 1
        firsts |= found
    assert firsts == {0, 1}
    assert len({float(original.mean()) for _, original in seen}) > 12  # not always there
    assert window(images[:, :, :64, :80], images[:, :, :64, :80], semdiff.Key(7))[0].shape[2:] == (64, 80)
    assert len(window(images[:1], images[:1], semdiff.Key(7).fold_in(1))[0]) == 1


def test_a_sample_is_the_mean_and_its_details():
    link = any_size_link()
    assert link.trained_on == ("psnr", "lpips_alex", "lpips_vgg")
    images = 0.4 + 0.2 * photographs(64)

    def sent(realism):
        return link.transmit(images, 5.0, cbr=1 / 24, steps=2, realism=realism, key=semdiff.Key(1)).images

    mean = sent(0.0)
    assert torch.equal(sent(1.0), mean)  # before it is trained
    told = []
    link.detail_decoder.register_forward_hook(lambda _, inputs, out: told.append((inputs, out)))
    with torch.no_grad():
        link.detail_decoder.conv_out.weight.normal_(std=0.01, generator=torch.Generator().manual_seed(1))
    sample = sent(1.0)
    (z, guess, log_error, known), picture = told[0]
    assert z.shape == guess.shape == log_error.shape == (len(images), 4, 8, 8)
    added = torch.nn.functional.pixel_shuffle(picture - known, BLOCK) / 2  # pixels are in [0, 1], blocks in [-1, 1]
    inside = ((mean > 0) & (mean < 1) & (sample > 0) & (sample < 1)).float()
    assert inside.mean() > 0.2
    torch.testing.assert_close((sample - mean) * inside, added * inside, rtol=0, atol=1e-5)
    torch.testing.assert_close(sent(0.5), (mean + sample) / 2)


@pytest.mark.parametrize(
    ("hints", "form", "words"),
    [
        (8, 'path = "white"', r"tiny\.toml: stages\.generation\.path: expected noise or received, got 'white'"),
        (8, "paths = 1", r"tiny\.toml: stages\.generation\.paths: unknown field"),
        (7, "", r"networks\.denoiser\.hints: expected 0, or two for each latent channel: 8; got 7"),
    ],
)
def test_forms_that_are_none(hints, form, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        build(read_recipe(change(write_recipe(tmp_path / "tiny.toml"), hints=hints, form=form)), 0)

# SPDX-License-Identifier: Apache-2.0
"""The photograph link's training, in seconds: it learns, resumes to the bit, keeps to its plan, and refuses recipes that do not fit."""

import json
import math

import pytest
import torch

pytest.importorskip("accelerate")

import semdiff
from semdiff.link import SemanticLink
from semdiff.models.pixel_blocks import to_blocks
from semdiff.training.budget import parse_seconds
from semdiff.training.ceilings import find_ceiling
from semdiff.training.engine import Stage
from semdiff.training.random_channel import Conditions
from semdiff.training.recipes.photos import RECIPE, begin_with, build, read_recipe, split, train
from semdiff.training.stages.fidelity import DRIFT_WEIGHT, FidelityStage
from semdiff.training.stages.resampling import cross_channel
from tests.python.photographs import photographs
from tests.python.pretrained import require_lpips
from tests.python.small_links import LATENT_LINK
from tests.python.tiny_photos import STAGES, write_recipe
from tests.python.tiny_photos import pictures as tiny_pictures


@pytest.fixture
def tiny(tmp_path):
    return write_recipe(tmp_path / "tiny.toml")


@pytest.fixture
def pictures():
    return tiny_pictures()


@pytest.fixture
def three_steps(monkeypatch):
    require_lpips()
    monkeypatch.setattr("semdiff.training.budget.steps_within", lambda *_: 3)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The model of a run of three steps a stage that nothing cut off."""
    require_lpips()
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semdiff.training.budget.steps_within", lambda *_: 3)
        return train(folder / "run", config=write_recipe(folder / "tiny.toml"), pictures=tiny_pictures(), progress=False)


class Stop(Exception):  # noqa: N818, it is no error
    pass


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_with_the_same_bits(whole, tiny, pictures, three_steps, tmp_path):
    """Cut off in every stage, and gone on with each time from the step after."""
    link = SemanticLink.from_pretrained(whole)
    assert link.mean_decoder.ceiling.max() < 100  # found, not what it begins with
    x = photographs(64)
    sent = link.transmit(x, 5.0, cbr=1 / 24, steps=1, key=semdiff.Key(0))
    assert sent.images.shape == x.shape
    out, checkpoints, steps = tmp_path / "cut", tmp_path / "cut" / "checkpoints", []

    def step_until(last):
        def note(*step):
            steps.append(step)
            if step == last:
                raise Stop

        return note

    for stage in STAGES:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("semdiff.training.engine.time.monotonic", iter(range(0, 10**6, 100)).__next__)  # a checkpoint every step
            with pytest.raises(Stop):
                train(out, config=tiny, pictures=pictures, progress=False, on_step=step_until((stage, 2)))
    train(out, config=tiny, pictures=pictures, progress=False, on_step=step_until(None))
    assert steps == [(stage, step) for stage in STAGES for step in (1, 2, 3)]  # none twice
    for stage in STAGES:  # which of them first went another way
        name = f"{stage}.safetensors"
        assert (whole.parent / "checkpoints" / name).read_bytes() == (checkpoints / name).read_bytes(), stage
    for part in ("vae", "unet", "downsampler", "upsampler", "mean_decoder", "detail_decoder"):
        name = f"{part}/diffusion_pytorch_model.safetensors"
        assert (whole / name).read_bytes() == (out / "model" / name).read_bytes(), part


@pytest.mark.slow
def test_a_trained_link_is_gone_on_from(whole, tiny, pictures, three_steps, tmp_path):
    """It begins with that link's networks, keeps the new parts of the recipe's as they are made, and refuses a link of other sizes."""
    older = SemanticLink.from_pretrained(whole)
    recipe = read_recipe(tiny)
    networks = build(recipe, 3)
    begin_with(networks, whole)
    for name in ("unet", "upsampler", "mean_decoder"):
        for weight, tensor in getattr(older, name).state_dict().items():
            assert torch.equal(getattr(networks, name).state_dict()[weight], tensor), (name, weight)
    plain = tmp_path / "plain.toml"
    plain.write_text(tiny.read_text().replace("finish = [8, 1]", "finish = []"))
    without = train(tmp_path / "plain", config=plain, pictures=pictures, progress=False)
    begun = build(recipe, 3)
    fresh = {n: t.clone() for n, t in begun.mean_decoder.state_dict().items() if n.startswith("finishing.")}
    assert not begin_with(begun, without)
    assert begin_with(build(recipe, 3), whole)
    assert fresh
    assert all(torch.equal(begun.mean_decoder.state_dict()[n], t) for n, t in fresh.items())
    out = train(tmp_path / "more", config=tiny, pictures=pictures, start=without, progress=False)
    assert (out / "model_index.json").is_file()
    with pytest.raises(ValueError, match=r"plan\.json: expected the plan"):
        train(tmp_path / "more", config=tiny, pictures=pictures, start=whole, progress=False)
    with pytest.raises(ValueError, match=r"start: expected a link of the recipe's networks, vae\.encoder.* of shape .*, got "):
        train(tmp_path / "other", config=tiny, pictures=pictures, start=LATENT_LINK, progress=False)
    with pytest.raises(ValueError, match=r"start: expected a link of the recipe's networks, a SemanticLink on latents, got a PixelLink"):
        train(tmp_path / "pixels", config=tiny, pictures=pictures, start="fashion-mnist", progress=False)


def test_the_ceiling_is_what_the_features_of_batches_reach():
    """Of 16 batches whose largest features are 1 to 16 times as large: 0.9 of the way, 14.5 times; a burst in one hardly counts."""
    networks = build(read_recipe(), 0)
    decoder = networks.mean_decoder.eval()
    z, log_error = (semdiff.normal((1, 32, 4, 4), k) for k in semdiff.Key(2).split())

    class Scaled(Stage):
        def forward(self, key, number):
            decoder.conv_out(number * torch.ones(1, 112, 4, 4))
            return {}

    class Numbers:
        def batch(self, i):
            return (torch.tensor(1000.0 if i == 15 else i + 1.0),)

    find_ceiling(decoder, Scaled(), Numbers(), semdiff.Key(1))
    torch.testing.assert_close(decoder.ceiling, torch.full((112,), 14.5))
    assert decoder(z, log_error).isfinite().all()


@pytest.mark.slow
def test_the_plan_is_kept_and_another_one_refused(tiny, pictures, three_steps, tmp_path):
    train(tmp_path / "run", 60.0, config=tiny, pictures=pictures, progress=False)
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["steps"] == dict.fromkeys(STAGES, 3)
    with pytest.raises(ValueError, match=r"plan\.json: expected the plan of this recipe, seed, budget and precision"):
        train(tmp_path / "run", 61.0, config=tiny, pictures=pictures, progress=False)
    (tmp_path / "run" / "plan.json").write_text("[")
    with pytest.raises(ValueError, match=r"plan\.json: expected the plan of a training, but it is damaged"):
        train(tmp_path / "run", 60.0, config=tiny, pictures=pictures, progress=False)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("crop = 96", "crops = 96"), "stages.fidelity.crop"),
        (("hints = 64", "hint = 64"), "networks.denoiser.hint"),
        (("renoise = 1.0", "renoise = {}"), "renoise: expected a value"),
        (("[stages]", "[stages"), "does not parse"),
    ],
)
def test_recipes_that_do_not_fit(change, words, tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.read_text("utf-8").replace(*change))
    with pytest.raises(ValueError, match=rf"recipe\.toml: .*{words}"):
        read_recipe(path)


def test_pictures_that_hold_only_small_crops_are_learned_from_too():
    """What is put aside holds the largest crop, so that it is sent as a whole, and something that does is left to learn from."""
    sizes = {"a": 100, "b": 200, "c": 90, "d": 210, "e": 130}
    pictures = {name: torch.full((3, size, size + 8), i, dtype=torch.uint8) for i, (name, size) in enumerate(sizes.items())}
    learned, held_out, names = split(pictures, [96, 192])
    assert sorted(learned) == ["a", "d", "e"]
    assert names == ["b"]
    torch.testing.assert_close(held_out, torch.full((1, 3, 192, 192), 1 / 255))
    del pictures["d"]
    learned, held_out, names = split(pictures, [96, 192])
    assert names == ["b"]
    assert sorted(learned) == ["a", "b", "e"]
    assert len(held_out) == 1
    with pytest.raises(ValueError, match="pictures: expected some of at least 256x256 pixels, got 4 smaller ones"):
        split(pictures, [96, 256])


@pytest.mark.parametrize(("text", "seconds"), [("3h", 10800), ("90m", 5400), ("1.5 h", 5400), ("40s", 40)])
def test_time_as_people_write_it(text, seconds):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "h", "-1h", "0m", "3 hours", "nan h"])
def test_what_is_no_time(text):
    with pytest.raises(ValueError, match="budget: expected a time above zero such as 3h, 90m or 40s, got"):
        parse_seconds(text)


def test_a_batch_of_unit_power_as_a_whole_keeps_its_parts_apart():
    """Two pictures of which one is nine times as strong: alone each is of unit power, together only their mean is."""
    networks = build(read_recipe(), 0)
    z = semdiff.normal((6, 32, 4, 4), semdiff.Key(1)) * torch.tensor([1.0, 0.1, 1.0, 0.1, 1.0, 0.1]).view(6, 1, 1, 1)
    heard = {}
    networks.upsampler.register_forward_pre_hook(lambda _, inputs: heard.update(features=inputs[0], snr_db=inputs[1]))
    sent = {}
    networks.downsampler.register_forward_hook(lambda _, inputs, out: sent.update(features=out, told=inputs[1]))
    with torch.no_grad():
        cross_channel(networks.downsampler, networks.upsampler, z, (128,), semdiff.Key(2), Conditions((60.0, 60.0), 0.0, together=True))
        torch.testing.assert_close(heard["features"][::2], sent["features"][::2], rtol=0.02, atol=0.01)  # AWGN, 60 dB: as it was sent
        level = (10 ** (networks.downsampler.level_db(z, torch.ones(6)) / 10)).mean()  # of the whole
        torch.testing.assert_close(sent["told"], (60.0 - 10 * level.log10()).expand(6), rtol=0, atol=1e-3)
        power = sent["features"].square().mean()
        torch.testing.assert_close(heard["snr_db"][::2], torch.full((3,), 60.0) - 10 * power.log10(), rtol=0, atol=1e-3)


def test_fidelity_learns_and_leaves_the_encoder_alone():
    recipe = read_recipe()
    networks = build(recipe, 0)
    stage = FidelityStage(
        networks.vae, networks.downsampler, networks.upsampler, (128, 64, 32), networks.mean_decoder, block=8, border="replicate"
    )
    stage.freeze()
    x = photographs(64)
    losses = stage(semdiff.Key(0), x)
    losses["loss"].backward()
    assert all(p.grad is None for p in networks.vae.parameters())
    for part in (networks.downsampler, networks.upsampler, networks.mean_decoder):
        assert all(p.grad is not None for p in part.parameters())
    pixels = (losses["loss"] - losses["fused"]).item() / 10
    assert losses["psnr"].item() == pytest.approx(-10 * math.log10(pixels / 4), abs=1e-3)


def test_fidelity_can_train_the_encoder():
    """The loss is what it says, and the latents are no target that moves towards the guess: see DRIFT_WEIGHT."""
    networks = build(read_recipe(), 0)
    ends = networks.downsampler, networks.upsampler, (128, 64, 32), networks.mean_decoder
    x = photographs(64)

    def losses(weight):
        stage = FidelityStage(networks.vae, *ends, block=8, border="replicate", pixel_weight=weight, encoder="trained", fused_weight=0.3)
        stage.freeze()
        stage.zero_grad()
        found = stage(semdiff.Key(0), x)
        found["loss"].backward()
        return {n: v.item() for n, v in found.items()}

    found = losses(10.0)
    assert all(p.grad is not None for p in networks.vae.encoder.parameters())
    with torch.no_grad():
        z = networks.vae.encoder(to_blocks(x, 8, "replicate"))
    drift = (z.mean((0, 2, 3)) ** 2).mean() + ((z**2).mean((0, 2, 3)) - 1).square().mean()
    assert found["drift"] == pytest.approx(drift.item(), rel=1e-4)
    pixels = 4 * 10 ** (-found["psnr"] / 10)
    assert found["loss"] == pytest.approx(10 * pixels + 0.3 * found["fused"] + DRIFT_WEIGHT * found["drift"], rel=1e-4)

# SPDX-License-Identifier: Apache-2.0
"""Training in bfloat16: near float32, to the bit when resumed, never mixed up with it, and chosen where the processor has it."""

from unittest.mock import ANY

import pytest
import torch

pytest.importorskip("accelerate")

import semdiff
from semdiff.baselines import ADJSCC
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.training.accelerator import VARIABLE, prepare_accelerator
from semdiff.training.budget import steps_within
from semdiff.training.engine import Plan, fit
from semdiff.training.recipes import jscc
from semdiff.training.recipes.photos import BLOCK, BORDER, build, conditions, read_recipe, train
from semdiff.training.stages.autoencoder import AutoencoderStage
from semdiff.training.stages.detail import PhotoDetailStage
from semdiff.training.stages.fidelity import FidelityStage
from semdiff.training.stages.generation import GenerationStage
from tests.python.photographs import photographs
from tests.python.pretrained import require_lpips
from tests.python.tiny_photos import write_recipe

IMAGES = photographs(64)


def stages(folder):
    recipe = read_recipe(write_recipe(folder / "tiny.toml"))
    n, air, rates, blocks = build(recipe, 0), conditions(recipe), tuple(recipe["rates"]), (BLOCK, BORDER)
    ends, schedule = (n.downsampler, n.upsampler), NoiseSchedule.from_diffusers(n.scheduler)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        adjscc = ADJSCC(**(jscc.PHOTOS | {"width": 8, "outer_width": 4, "depth": 1}))
    after = schedule, rates, air, *blocks
    return {
        "autoencoder": AutoencoderStage(n.vae, block=BLOCK, border=BORDER, perceptual=1.0),
        "fidelity": FidelityStage(n.vae, *ends, rates, n.mean_decoder, air, *blocks),
        "generation": GenerationStage(n.vae, n.unet, *ends, *after),
        "detail": PhotoDetailStage(n.vae, n.unet, *ends, n.mean_decoder, n.detail_decoder, *after),
        "adjscc": jscc.JSCCStage(adjscc, conditions(recipe, fading=False)),
    }


class Stop(Exception):  # noqa: N818, it is no error
    pass


@pytest.mark.slow
@pytest.mark.parametrize("name", ["autoencoder", "fidelity", "generation", "detail", "adjscc"])
def test_bf16_follows_fp32_and_resumes_to_the_bit(name, tmp_path):
    require_lpips()
    plan = Plan(steps=8, batch_size=3, learning_rate=2e-3, warm_up=2)
    products = []

    def run(precision, folder=None, stop=0):
        def halt(step):
            if step == stop:
                raise Stop

        stage = stages(tmp_path)[name]
        used = next(m for m in stage.modules() if isinstance(m, torch.nn.Conv2d))
        used.register_forward_hook(lambda _, __, out: products.append(out.dtype))
        options = {"name": name, "key": semdiff.Key(3), "folder": folder, "progress": False, "save_every": 0.0}
        shown = fit(stage, [IMAGES], plan, accelerator=prepare_accelerator(precision, cpu=True), on_step=halt, **options)
        return shown, {n: t.clone() for n, t in stage.state_dict().items()}

    wide, _ = run("fp32")
    assert set(products) == {torch.float32}
    products.clear()
    mixed, weights = run("bf16", tmp_path / "whole")
    assert set(products) == {torch.bfloat16}
    assert all(not t.is_floating_point() or t.dtype == torch.float32 for t in weights.values())
    assert mixed["loss"] == pytest.approx(wide["loss"], rel=0.03)
    assert mixed != wide
    with pytest.raises(Stop):
        run("bf16", tmp_path / "cut", stop=5)
    with pytest.raises(ValueError, match=rf"{name}\.safetensors: expected a checkpoint of this plan, seed, data and precision"):
        run("fp32", tmp_path / "cut")
    _, resumed = run("bf16", tmp_path / "cut")
    assert all(torch.equal(weights[n], resumed[n]) for n in weights)


def test_the_rehearsal_is_in_the_precision_of_the_training(tmp_path):
    stage = stages(tmp_path)["fidelity"]
    products = []
    stage.upsampler.conv_in.register_forward_hook(lambda _, __, out: products.append(out.dtype))

    class Same:
        def batch(self, *_):
            return (IMAGES,)

    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        products.clear()
        assert steps_within(1.0, stage, Same(), prepare_accelerator(precision, cpu=True)) >= 1
        assert set(products) == {dtype}


def able(monkeypatch, **flags):
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: flags)


def test_auto_is_bf16_where_the_processor_multiplies_it(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    for flags, wanted in (({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16"), ({"avx512_f": True, "avx512_bf16": False}, "no")):
        able(monkeypatch, **flags)
        assert prepare_accelerator("auto", cpu=True).mixed_precision == wanted
        assert prepare_accelerator(None, cpu=True).mixed_precision == "no"  # Fashion-MNIST's
        assert prepare_accelerator("bf16", cpu=True).mixed_precision == "bf16"
        assert prepare_accelerator("fp32", cpu=True).mixed_precision == "no"


def test_what_the_environment_tells_accelerate_goes_before_what_the_processor_can(monkeypatch):
    able(monkeypatch, avx512_bf16=True)
    monkeypatch.setenv(VARIABLE, "no")
    assert prepare_accelerator("auto", cpu=True).mixed_precision == "no"
    able(monkeypatch)
    monkeypatch.setenv(VARIABLE, "bf16")
    assert prepare_accelerator("auto", cpu=True).mixed_precision == "bf16"
    assert prepare_accelerator(None, cpu=True).mixed_precision == "bf16"
    assert prepare_accelerator("fp32", cpu=True).mixed_precision == "no"


def test_another_precision_is_refused(tmp_path):
    with pytest.raises(ValueError, match="precision: expected auto, bf16, fp32, got 'half'"):
        train(tmp_path, precision="half", pictures={"a": (IMAGES[0] * 255).byte()})
    assert list(tmp_path.iterdir()) == []


def test_the_command_hands_it_over(monkeypatch, tmp_path, capsys):
    cli = pytest.importorskip("semdiff.cli.app")
    given = []
    monkeypatch.setattr("semdiff.training.recipes.photos.train", lambda out, *_, **options: given.append(options) or out)
    for options in ([], ["--precision", "bf16"]):
        with pytest.raises(SystemExit, match="0"):
            cli.app(["train", "photos", "--out", str(tmp_path), *options])
    assert given == [{"precision": "auto", "begun": ANY}, {"precision": "bf16", "begun": ANY}]
    with pytest.raises(SystemExit, match="2"):
        cli.app(["train", "fashion-mnist-latents", "--out", str(tmp_path), "--precision", "bf16"])
    assert "--precision: expected fp32 or auto, fashion-mnist-latents is trained in float32; got bf16" in capsys.readouterr().err

# SPDX-License-Identifier: Apache-2.0
"""Folders and checkpoints that version 0.1.0 wrote load, mean what they meant, and go on.

tests/fixtures/semdiff-0.1.0 holds small untrained links as 0.1.0 saved them, what it received with them, and half a training's checkpoint.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from semdiff import Key, NoiseSchedule
from semdiff._util.tensor_files import load_tensors
from semdiff.data import sample_images
from semdiff.link import PixelLink, SemanticLink
from semdiff.models.pixels import PixelUpsampler
from semdiff.training.engine import Plan, fit
from semdiff.training.random_channel import Conditions
from semdiff.training.stages.pixels import Front, UpsamplerStage
from tests.python.small_links import SCALE, networks

FOLDER = Path(__file__).parents[2] / "fixtures" / "semdiff-0.1.0"
IMAGES = {"link": torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1)), "pixels": sample_images()[:2]}


@pytest.mark.parametrize("name", IMAGES)
@pytest.mark.parametrize("realism", [0.0, 1.0])
def test_links_receive_what_they_received(name: str, realism: float) -> None:
    said = json.loads((FOLDER / name / "model_index.json").read_text())
    assert any(value[0].startswith("semdiff.link.") for value in said.values() if isinstance(value, list) and isinstance(value[0], str))
    link = SemanticLink.from_pretrained(FOLDER / name)
    assert isinstance(link, PixelLink if name == "pixels" else SemanticLink)
    got = link.transmit(IMAGES[name], 5.0, cbr=1 / 24, steps=2, realism=realism, key=Key(3)).images
    # Other processors round otherwise; an untrained network does not make more of it.
    torch.testing.assert_close(got, load_file(FOLDER / f"{name}.safetensors")[f"realism {realism:g}"], rtol=0, atol=1e-4)


def test_what_is_saved_again_names_its_modules_where_they_are(tmp_path: Path) -> None:
    SemanticLink.from_pretrained(FOLDER / "link").save_pretrained(tmp_path / "again")
    said = json.loads((tmp_path / "again" / "model_index.json").read_text())
    assert said["upsampler"] == ["semdiff.models.networks", "Upsampler"]
    again = SemanticLink.from_pretrained(tmp_path / "again")
    for name, tensor in SemanticLink.from_pretrained(FOLDER / "link").upsampler.state_dict().items():
        assert torch.equal(again.upsampler.state_dict()[name], tensor)


def stage() -> UpsamplerStage:
    transmitter, _, decoder, _ = networks()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        upsampler = PixelUpsampler(1, 2, 8, 1, 4, 1, 8)
    return UpsamplerStage(Front(transmitter, upsampler, decoder, SCALE, (2, 1), Conditions()), NoiseSchedule.scaled_linear())


def test_a_checkpoint_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    plan = Plan(steps=8, batch_size=4, learning_rate=1e-3, warm_up=2)
    shutil.copytree(FOLDER / "checkpoints", tmp_path / "resumed")
    assert load_tensors(tmp_path / "resumed" / "upsampler.safetensors")[1]["step"] == 4
    ends = []
    for folder in ("resumed", "whole"):
        trained = stage()
        fit(trained, [sample_images()], plan, name="upsampler", key=Key(0), folder=tmp_path / folder, progress=False)
        ends.append(trained.front.upsampler.state_dict())
    for name, tensor in ends[1].items():
        torch.testing.assert_close(ends[0][name], tensor, rtol=1e-4, atol=1e-5)

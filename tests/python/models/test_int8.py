# SPDX-License-Identifier: Apache-2.0
"""Weights in eight bits: none moves by more than half a step of its channel, folders load to those numbers, damaged ones are refused."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from semdiff.link import PixelLink, SemanticLink
from semdiff.models.int8 import FILE, SCALE, dequantize, quantize
from semdiff.models.store import write_checksums
from semdiff.training.saving import save_link
from tests.python.small_links import any_size_link, pixel_link

STATE = {
    "conv.weight": torch.randn(5, 3, 3, 3, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 2, 5)[:, None, None, None],
    "zero.weight": torch.zeros(4, 2),
    "conv.bias": torch.tensor([0.1, -2.0]),
    "count": torch.tensor(7),
}


def test_no_weight_moves_by_more_than_half_a_step() -> None:
    stored = quantize(STATE)
    assert stored["conv.weight"].dtype == torch.int8
    back = dequantize(stored)
    assert back.keys() == STATE.keys()
    step = STATE["conv.weight"].abs().amax((1, 2, 3), keepdim=True) / 127
    assert bool(((back["conv.weight"] - STATE["conv.weight"]).abs() <= 0.5001 * step).all())
    assert torch.equal(back["conv.weight"].abs().amax((1, 2, 3)), stored["conv.weight" + SCALE] * 127)  # the largest is kept
    assert torch.equal(back["zero.weight"], STATE["zero.weight"])
    assert torch.equal(back["conv.bias"], STATE["conv.bias"].half().float())
    assert torch.equal(back["count"], STATE["count"])


def test_a_link_in_eight_bits_is_half_as_large_and_loads_to_the_same_numbers(tmp_path) -> None:
    link = pixel_link()
    wanted = {name: dequantize(quantize(part.state_dict())) for name, part in link.components.items() if hasattr(part, "state_dict")}
    save_link(link, tmp_path / "eight", eight_bits=True)
    save_link(link, tmp_path / "sixteen")
    again = PixelLink.from_pretrained(tmp_path / "eight")
    for name, state in wanted.items():
        for tensor, value in getattr(again, name).state_dict().items():
            assert torch.equal(value, state[tensor]), (name, tensor)
    size = {n: sum(f.stat().st_size for f in (tmp_path / n).rglob(FILE)) for n in ("eight", "sixteen")}
    assert size["eight"] < 0.75 * size["sixteen"]  # small networks: names and biases take their part


FAULTS = ["no integers", "no scale", "no scale at all", "another shape", "a tensor too few", "not finite", "a scale of zero"]


@pytest.mark.parametrize("fault", FAULTS)
def test_damaged_files_are_refused_by_name(tmp_path, fault) -> None:
    save_link(pixel_link(), tmp_path / "m", eight_bits=True)
    file = tmp_path / "m" / "unet" / FILE
    tensors = load_file(file)
    name = next(n for n in tensors if n.endswith(SCALE))
    if fault == "no integers":
        del tensors[name.removesuffix(SCALE)]
    elif fault == "no scale":
        del tensors[name]
    elif fault == "no scale at all":
        tensors = {n: t for n, t in tensors.items() if not n.endswith(SCALE)}
    elif fault == "a scale of zero":
        tensors[name][0] = 0.0
    elif fault == "another shape":
        tensors[name] = tensors[name][:-1].clone()
    elif fault == "a tensor too few":
        del tensors[name], tensors[name.removesuffix(SCALE)]
    else:
        tensors[name][0] = torch.nan
    save_file(tensors, file)
    write_checksums(tmp_path / "m")
    named = r"\.weight: expected its scale" if fault == "no scale at all" else name.removesuffix(SCALE).replace(".", r"\.")
    with pytest.raises(ValueError, match=named):
        PixelLink.from_pretrained(tmp_path / "m")


def test_parts_of_diffusers_stay_as_they_are(tmp_path) -> None:
    """Their classes read files of floats alone."""
    save_link(any_size_link(), tmp_path / "m", eight_bits=True)
    link, wanted = SemanticLink.from_pretrained(tmp_path / "m"), any_size_link()
    for name, tensor in wanted.vae.state_dict().items():
        assert torch.equal(link.vae.state_dict()[name], tensor)
    for name, tensor in dequantize(quantize(wanted.upsampler.state_dict())).items():
        assert torch.equal(link.upsampler.state_dict()[name], tensor)

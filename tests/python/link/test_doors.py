# SPDX-License-Identifier: Apache-2.0
"""The doors of a link: diffusers' names for the same things, what is loaded by which name, and what is refused there."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch

import semdiff
from semdiff.link import SemanticLink
from tests.python.small_links import any_size_link

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
KEY = semdiff.Key(5)


@pytest.fixture(scope="module")
def link() -> SemanticLink:
    return any_size_link()


def test_diffusers_names_mean_the_same(link: SemanticLink) -> None:
    plain = link.transmit(IMAGES, 5.0, steps=2, key=KEY)
    assert torch.equal(link(IMAGES, 5.0, num_inference_steps=2, key=KEY).images, plain.images)
    one, other = (link(IMAGES, 5.0, num_inference_steps=2, generator=torch.Generator().manual_seed(1)).images for _ in range(2))
    assert torch.equal(one, other)
    assert not torch.equal(one, plain.images)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 2, "num_inference_steps": 2}, "num_inference_steps: expected None beside steps"),
        ({"key": KEY, "generator": torch.Generator()}, "generator: expected None beside key"),
    ],
)
def test_one_thing_is_said_once(link: SemanticLink, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        link(IMAGES, 5.0, **options)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (None, {}, "pretrained_model_name_or_path: expected the name of a model or a folder, got NoneType"),
        ("photos", {"subfolder": "unet"}, "subfolder: expected one of .*, got an unknown argument"),
        ("photos", {"dtype": "float16"}, "dtype: expected a torch.dtype, got 'float16'"),
    ],
)
def test_what_from_pretrained_does_not_know_is_refused(model: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        SemanticLink.from_pretrained(model, **options)


def test_models_of_the_package_are_loaded_by_their_names() -> None:
    assert SemanticLink.from_pretrained("fashion-mnist").image_shape == (1, 28, 28)


def test_receptions_are_of_a_channel_and_a_rate(link: SemanticLink) -> None:
    received = semdiff.AWGN()(link.send(IMAGES), 5.0, KEY)
    with pytest.raises(TypeError, match=r"received: expected a semdiff.Received, got tuple"):
        link.equalize_and_upsample(tuple(received), size=(16, 16))
    with pytest.raises(ValueError, match=r"channels: expected one of .*, got 0"):
        link.equalize_and_upsample(received, 0, size=(16, 16))
    with pytest.raises(TypeError, match="symbols: expected a complex tensor"):
        link.receive(None, 0.1, size=(16, 16))


def test_receivers_pickle(link: SemanticLink) -> None:
    received = link.equalize_and_upsample(semdiff.AWGN()(link.send(IMAGES), 5.0, KEY), key=KEY, size=(16, 16))
    arguments = (received, 2, 1.0, "calibrated", "dpmpp_2m", True, KEY)
    receiver = link.receiver((16, 16))
    with torch.no_grad():
        copy = pickle.loads(pickle.dumps(receiver)).denoise_and_decode(*arguments)
        assert torch.equal(copy.images, receiver.denoise_and_decode(*arguments).images)

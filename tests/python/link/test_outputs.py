# SPDX-License-Identifier: Apache-2.0
"""What the README and the model card say of the shipped links' outputs: which networks make them, and what the denoiser's share is."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers")

from semdiff import Key
from semdiff.data import sample_images, sample_photos
from semdiff.link import SemanticLink
from semdiff.link.outputs import output_name, output_names
from tests.python.small_links import LATENT_LINK


def without_denoiser(model: str | Path) -> SemanticLink:
    """The link with all of its denoiser's weights set to zero."""
    link = SemanticLink.from_pretrained(model)
    for weight in link.unet.parameters():
        weight.data.zero_()
    return link


def test_the_photograph_links_denoiser_changes_nothing_that_can_be_measured() -> None:
    images, link = sample_photos()[:2, :, :128, :160], SemanticLink.default("photos")
    assert output_names(link) == ("mean decoder", "detail decoder")
    assert link.transmit(images, 5.0, cbr=1 / 24, realism=0.0, key=Key(0)).evaluations == 0
    found = [x.transmit(images, 5.0, cbr=1 / 24, steps=1, key=Key(0)).images for x in (link, without_denoiser("photos"))]
    errors = [(x - images).square().mean() for x in found]
    assert abs(float(10 * torch.log10(errors[0] / errors[1]))) < 0.01
    assert (found[0] - found[1]).abs().mean() < 0.1 / 255


@pytest.mark.parametrize(("model", "names", "evaluations", "least", "most"), [
    ("fashion-mnist", ("up-sampler's mean", "sample"), 0, 0.9, 1.3),  # a sample does not begin at the mean
    (LATENT_LINK, ("posterior mean", "sample"), 1, 0.6, 0.9),
], ids=["pixels", "latents"])  # fmt: skip
def test_fashion_mnists_denoiser_makes_most_of_a_sample(
    model: str | Path, names: tuple[str, str], evaluations: int, least: float, most: float
) -> None:
    images, link = sample_images(), SemanticLink.from_pretrained(model)
    assert output_names(link) == names
    mean = link.transmit(images, 0.0, realism=0.0, key=Key(0))
    assert mean.evaluations == evaluations
    sample, other = (x.transmit(images, 0.0, steps=8, key=Key(0)).images for x in (link, without_denoiser(model)))
    share = (sample - other).square().mean().sqrt() / (sample - mean.images).square().mean().sqrt()
    assert least < share < most


@pytest.mark.parametrize(("realism", "name"), [(0, "mean decoder"), (0.5, "realism 0.5"), (1.0, "detail decoder")])
def test_output_at_a_realism(realism: float, name: str) -> None:
    assert output_name(SemanticLink.default("photos"), realism) == name

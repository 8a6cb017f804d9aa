# SPDX-License-Identifier: Apache-2.0
"""A link with a user's denoiser: the link's own, handed in by hand, gives the same images to the bit; what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("diffusers")

from semdiff.link import SemanticLink
from tests.python.small_links import LATENT_LINK, pixel_link


@pytest.fixture(scope="module")
def link() -> SemanticLink:
    found = SemanticLink.from_pretrained(LATENT_LINK)
    assert isinstance(found, SemanticLink)
    return found


IMAGES = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
OPTIONS: dict[str, Any] = {"snr_db": 5.0, "steps": 3, "key": 7}


def test_a_latent_links_own_denoiser_by_hand(link: SemanticLink) -> None:
    again = link.with_denoiser(lambda x, t: link.unet(x, t).sample, link.prediction)
    for realism in (0.0, 0.5, 1.0):
        expected = link.transmit(IMAGES, realism=realism, **OPTIONS)
        assert torch.equal(again.transmit(IMAGES, realism=realism, **OPTIONS).images, expected.images)
    # The clean data that a denoiser says is what the decoder sees, here zeros; the link itself is as it was.
    other = link.with_denoiser(lambda x, t: 0 * x, "x0").transmit(IMAGES, realism=0.0, **OPTIONS)
    zeros = torch.zeros_like(link.encode(IMAGES))
    assert torch.allclose(other.images, link.decode(zeros, (28, 28)), atol=1e-5)
    assert torch.equal(link.transmit(IMAGES, realism=1.0, **OPTIONS).images, expected.images)


def test_a_pixel_links_denoiser_is_told_x_and_t() -> None:
    link = pixel_link()
    seen: list[tuple[tuple[int, ...], tuple[int, ...]]] = []

    def zero(x: Tensor, t: Tensor) -> Tensor:
        seen.append((tuple(x.shape), tuple(t.shape)))
        return 0 * x

    done = link.with_denoiser(zero, "x0").transmit(IMAGES, realism=1.0, **OPTIONS)
    assert seen == 3 * [((3, 1, 28, 28), (3,))]
    assert torch.allclose(done.images, link.scale.images(torch.zeros(3, 1, 28, 28)).clamp(0, 1), atol=1e-5)


def test_what_does_not_fit_is_named(link: SemanticLink, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"denoiser: expected a callable denoiser\(x, t\), got int"):
        link.with_denoiser(3)
    with pytest.raises(TypeError, match=r"denoiser: expected a call \(x, t\) to work, got denoiser\(x\)"):
        link.with_denoiser(lambda x: x)
    with pytest.raises(ValueError, match="prediction: expected eps, x0 or v, got 'noise'"):
        link.with_denoiser(lambda x, t: x, "noise")
    with pytest.raises(TypeError, match=r"got UNet2DOutput; lambda x, t: unet\(x, t\)\.sample is such a denoiser"):
        link.with_denoiser(lambda x, t: link.unet(x, t)).transmit(IMAGES, **OPTIONS)
    with pytest.raises(ValueError, match="link: expected its own denoiser, got one of with_denoiser"):
        link.with_denoiser(lambda x, t: x).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_the_identity_names_it(link: SemanticLink) -> None:
    assert link.identity() == {}
    assert link.with_denoiser(torch.mul, "v").identity() == {"denoiser": torch.mul, "prediction": "v"}

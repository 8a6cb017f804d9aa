# SPDX-License-Identifier: Apache-2.0
"""A guard: a model whose outputs are called a posterior mean or samples has a denoiser that earns its evaluations.

256 images over AWGN at 0 dB and the highest rate; the distance of a classifier's features is from images that are not sent. For CIFAR-10,
which comes with no package, both are photographs of semdiff-photos made small, of different scenes.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import semdiff
from semdiff import Key

pytest.importorskip("diffusers")

from semdiff.data import fashion_mnist, photos
from semdiff.diffusion.matching import DiffusionState
from semdiff.link import PixelLink, SemanticLink, receiver
from semdiff.metrics import frechet_classifier
from semdiff.models.store import WEIGHTS
from studies.diffusion import at_noise
from tests.python.pretrained import installed
from tests.python.small_links import LATENT_LINK

MODELS = {"fashion-mnist": WEIGHTS / "fashion-mnist", "fashion-mnist on latents": LATENT_LINK, "cifar10": WEIGHTS / "cifar10"}
# In parts of a sample's squared error:
OTHER_KEYS = 0.1  # how far two samples of one reception lie apart at least
ZEROED = 0.1  # how far a denoiser of zeros takes a sample at least


def clothes() -> tuple[Tensor, Tensor]:
    """Images to send, and images that are not sent."""
    return installed(lambda: fashion_mnist("test")).images[:256], fashion_mnist("train").images[:10_000]


def small_photographs() -> tuple[Tensor, Tensor]:
    """Likewise: tiles of 32x32 from photographs whose shorter side is 96 pixels."""
    tiles = []
    scenes = {name.partition("@")[0]: photo for name, photo in installed(lambda: photos("train")).items() if min(photo.shape[1:]) >= 96}
    for photo in scenes.values():
        small = resize(photo.float() / 255, 96)
        tiles.append(small.unfold(1, 32, 32).unfold(2, 32, 32).permute(1, 2, 0, 3, 4).flatten(0, 1)[:9])
    sent = len(tiles) // 5
    return torch.cat(tiles[:sent])[:256], torch.cat(tiles[sent:])


def resize(image: Tensor, side: int) -> Tensor:
    scale = side / min(image.shape[1:])
    small: Tensor = F.interpolate(image[None], scale_factor=scale, mode="bilinear", antialias=True)[0]
    return small.clamp(0, 1)


class Guarded:
    """A model, the images it is tried with, and what it made of them."""

    def __init__(self, name: str) -> None:
        self.link = SemanticLink.from_pretrained(MODELS[name])
        self.images, self.references = small_photographs() if name == "cifar10" else clothes()
        self.found: dict[int, Tensor] = {}

    def sample(self, steps: int = 4) -> Tensor:
        received = semdiff.AWGN()(self.link.send(self.images, snr_db=0.0), 0.0, Key(1))
        heard = self.link.equalize_and_upsample(received, max(self.link.config.rates), key=Key(2))
        return self.link.denoise_and_decode(heard, steps=steps, key=Key(3))[0]

    def of(self, steps: int) -> Tensor:
        if steps not in self.found:
            self.found[steps] = self.sample(steps)
        return self.found[steps]

    def distance(self, images: Tensor) -> float:
        return frechet_classifier(images, self.references).value


@pytest.fixture(scope="module", params=sorted(MODELS))
def guarded(request: pytest.FixtureRequest) -> Guarded:
    return Guarded(request.param)


def told_wrong(schedule: semdiff.NoiseSchedule, offset_db: float, begin: Callable[..., DiffusionState]) -> Callable[..., DiffusionState]:
    """The same first state, said to be `offset_db` noisier than it is."""

    def wrong(*args: object) -> DiffusionState:
        x, t = begin(*args)
        return at_noise(schedule, x, t, schedule.noise_var(t) * 10 ** (offset_db / 10))

    return wrong


@pytest.mark.slow
def test_steps_bring_samples_nearer_to_images(guarded):
    assert guarded.distance(guarded.of(4)) <= 0.8 * guarded.distance(guarded.of(1))


@pytest.mark.slow
@pytest.mark.parametrize("offset_db", [-6.0, 6.0])
def test_a_wrong_time_costs(guarded, offset_db, monkeypatch):
    link = guarded.link
    place, name = (link, "begin") if isinstance(link, PixelLink) else (receiver, "starting_state")
    right = guarded.distance(guarded.of(4))  # made before the time is wrong, whatever test is the first
    monkeypatch.setattr(place, name, told_wrong(link.schedule, offset_db, getattr(place, name)), raising=True)
    assert guarded.distance(guarded.sample()) > right


@pytest.mark.slow
def test_a_sample_is_drawn(guarded):
    one = guarded.of(4)
    received = semdiff.AWGN()(guarded.link.send(guarded.images, snr_db=0.0), 0.0, Key(1))
    reception = guarded.link.equalize_and_upsample(received, key=Key(2))
    other = guarded.link.denoise_and_decode(reception, steps=4, key=Key(4)).images
    assert (one - other).square().mean() >= OTHER_KEYS * (one - guarded.images).square().mean()


@pytest.mark.slow
def test_a_denoiser_of_zeros_is_no_denoiser(guarded):
    one = guarded.of(4)  # before the weights are taken away
    network = guarded.link.unet
    weights = {n: t.clone() for n, t in network.state_dict().items()}
    try:
        network.load_state_dict({n: torch.zeros_like(t) for n, t in weights.items()})
        without = guarded.sample()
        assert (one - without).square().mean() >= ZEROED * (one - guarded.images).square().mean()
        assert guarded.distance(without) > guarded.distance(one)
    finally:
        network.load_state_dict(weights)

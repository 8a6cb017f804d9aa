# SPDX-License-Identifier: Apache-2.0
"""Beyond the training: SNRs and rates that a link was not trained for work, and are told once a call."""

import warnings

import pytest
import torch

import semdiff
from semdiff.data import sample_images

pytest.importorskip("diffusers")

from semdiff.baselines import ADJSCC
from semdiff.link import SemanticLink
from semdiff.training.recipes.latents import build
from semdiff.training.recipes.photos import build as build_photos
from semdiff.training.recipes.photos import read_recipe
from semdiff.transmission.layout import Layout
from tests.python.small_links import LATENT_LINK

KEY = semdiff.Key(5)


@pytest.fixture(scope="module")
def link():
    return build(0).link()


@pytest.fixture(scope="module")
def images():
    return sample_images()[:3]


def told(call):
    """The messages of all warnings, and what the call returned."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    assert all(w.category is UserWarning for w in caught)
    return [str(w.message) for w in caught], found


def test_the_recipes_hand_in_their_snrs(link):
    assert link.config.snr_db_range == [-7.0, 18.0]
    assert build_photos(recipe := read_recipe(), 0).link(recipe).config.snr_db_range == recipe["snr_db"]


@pytest.mark.parametrize(
    ("snr_db", "words"),
    [
        (20.0, ["snr_db: this model was trained for -7 to 18 dB and not for 20 dB"]),
        (torch.tensor([-9.5, 5.0, 20.0]), ["snr_db: this model was trained for -7 to 18 dB and not for -9.5 to 20 dB"]),
        (torch.tensor([-7.0, 5.0, 18.0]), []),
    ],
)
def test_an_snr_outside_the_training_works_and_is_told_once(link, images, snr_db, words):
    said, sent = told(lambda: link.transmit(images, snr_db, steps=1, key=KEY))
    assert said == words
    assert sent.images.shape == images.shape
    noise_var = 10 ** (-torch.as_tensor(snr_db, dtype=torch.float64) / 10)
    symbols = link.send(images)
    assert told(lambda: link.receive(symbols, noise_var, steps=1, key=KEY))[0] == words


def test_the_receiver_counts_the_gain(link, images):
    """A recording's gain of -30 dB is no SNR of -30 dB."""
    h = torch.full((3,), 10**-1.5, dtype=torch.complex64)
    symbols = link.send(images) * h[:, None]
    assert told(lambda: link.receive(symbols, 10**-4.0, h, steps=1, key=KEY))[0] == []
    assert "not for -30 dB" in told(lambda: link.receive(symbols, 1.0, h, steps=1, key=KEY))[0][0]


def test_a_model_that_does_not_say_is_not_questioned(images):
    plain = SemanticLink.default()
    plain.register_to_config(snr_db_range=None)
    assert told(lambda: plain.transmit(images, 60.0, steps=1, key=KEY))[0] == []


@pytest.mark.parametrize("bad", [[1.0], [5.0, 5.0], [9.0, 1.0]])
def test_bad_ranges_are_named(link, bad):
    parts = {name: link.components[name] for name in ("vae", "unet", "downsampler", "upsampler", "scheduler")}
    with pytest.raises(ValueError, match="snr_db_range: expected two rising SNRs in dB, got"):
        SemanticLink(**parts, snr_db_range=bad)


def test_a_rate_between_those_of_the_training(link, images):
    words = ["cbr: this model was trained for 1/12.3, 1/24.5 and not for 1/16.3"]
    said, sent = told(lambda: link.transmit(images, 5.0, cbr=1 / 16, steps=1, key=KEY))
    assert said == words
    assert sent.ledger.total == 6 * 16 // 2
    symbols = told(lambda: link.send(images, cbr=1 / 16, snr_db=5.0))[1]
    received = semdiff.AWGN()(symbols, 5.0, KEY.fold_in(0))
    torch.testing.assert_close(link.receive(received.y, 10**-0.5, steps=1, key=KEY), sent.images, rtol=0, atol=1e-4)
    for trained, uses in ((1 / 12, 64), (1 / 24, 32), (1 / 12.6, 64)):  # within 5 % of a trained rate it is that one
        said, sent = told(lambda cbr=trained: link.transmit(images, 5.0, cbr=cbr, steps=1, key=KEY))
        assert (said, sent.ledger.total) == ([], uses)


def test_more_than_the_shipped_rate_gives_more():
    """The first channels matter most: at 1/16 the trained link's error lies between those at 1/24 and at 1/12."""
    shipped, images = SemanticLink.from_pretrained(LATENT_LINK), sample_images()
    errors = [
        float((told(lambda r=cbr: shipped.transmit(images, 10.0, cbr=r, realism=0.0, key=KEY))[1].images - images).square().mean())
        for cbr in (1 / 12, 1 / 16, 1 / 24)
    ]
    assert errors == sorted(errors)


@pytest.mark.parametrize("cbr", [1 / 8, 1 / 30])
def test_rates_beyond_those_of_the_training_are_refused(link, images, cbr):
    with pytest.raises(ValueError, match="cbr: expected a ratio within 5 % of one that this model offers"):
        link.transmit(images, 5.0, cbr=cbr)


def test_two_coarse_rates_have_nothing_between():
    with pytest.raises(ValueError, match="cbr: expected a ratio within 5 %"):
        ADJSCC.default().transmit(sample_images(), 5.0, cbr=1 / 16)


@pytest.mark.parametrize("size", [(16, 16), (16, 48), (48, 80)])
def test_the_number_of_uses_tells_the_rate(size):
    """Whatever can be chosen for a model of any size is read back from the symbols of each size."""
    nominal = Layout((3, 16, 16), 16, 16, 128, (128, 64, 32), True, True)
    layout = nominal._replace(image=(3, *size))
    assert set(nominal.counts) == set(range(32, 129, 2))  # one cell: an odd number costs as much as the next even one
    for channels in nominal.counts:
        assert layout.channels_of(torch.zeros(1, layout.uses(channels), dtype=torch.complex64)) == channels

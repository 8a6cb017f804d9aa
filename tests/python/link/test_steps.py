# SPDX-License-Identifier: Apache-2.0
"""steps="auto": the table's rule, and that a sample's result is that of its own number of steps, whoever shares its batch."""

import pytest
import torch

import semdiff
from semdiff.data import sample_images

pytest.importorskip("diffusers")

from semdiff.link import SemanticLink
from semdiff.training.recipes.latents import build
from semdiff.transmission.step_count import DEFAULT_STEPS, resolve_steps

KEY = semdiff.Key(5)
TABLE = [[-5.0, 4], [2.0, 3], [10.0, 1]]
SNR_DB = torch.tensor([12.0, -6.0, 2.0, 0.0], dtype=torch.float64)
COUNTS = [1, 4, 3, 4]


@pytest.fixture(scope="module")
def link():
    link = build(0).link()
    link.register_to_config(auto_steps=TABLE)
    return link


@pytest.fixture(scope="module")
def images():
    return sample_images()[:4]


def test_a_row_holds_from_its_snr_up_to_the_next():
    snr_db = torch.tensor([-50.0, -5.0, 1.99, 2.0 - 1e-7, 2.0, 9.9, 10.0, 90.0])
    assert resolve_steps("auto", snr_db, TABLE).tolist() == [4, 4, 4, 3, 3, 3, 1, 1]
    assert resolve_steps("auto", snr_db[:2], None).tolist() == [DEFAULT_STEPS, DEFAULT_STEPS]
    assert resolve_steps(5, snr_db[:2], TABLE).tolist() == [5, 5]


@pytest.mark.parametrize(("solver", "evaluations"), [("dpmpp_2m", 4), ("ddpm", 4), ("heun", 7)])
def test_each_sample_takes_its_own_steps(link, images, solver, evaluations):
    """A row of the mixed batch is that of a whole batch at its number of steps; the places, and so the noise, are the same."""
    options = {"solver": solver, "key": KEY}
    mixed = link.transmit(images, SNR_DB, steps="auto", **options)
    assert mixed.evaluations == evaluations
    for i, count in enumerate(COUNTS):
        whole = link.transmit(images, SNR_DB, steps=count, **options)
        torch.testing.assert_close(mixed.images[i], whole.images[i], rtol=0, atol=1e-4)
    assert not torch.allclose(mixed.images[0], link.transmit(images, SNR_DB, steps=4, **options).images[0], atol=1e-3)


def test_batch_mates_change_nothing(link, images):
    alone = link.transmit(images[:1], SNR_DB[:1], steps="auto", key=KEY)
    assert alone.evaluations == 1
    for mates in (torch.full((4,), 12.0, dtype=torch.float64), SNR_DB):
        torch.testing.assert_close(link.transmit(images, mates, steps="auto", key=KEY).images[:1], alone.images, rtol=0, atol=1e-4)


def test_the_receiver_alone_resolves_the_same(link, images):
    symbols = link.send(images, snr_db=SNR_DB)
    received = semdiff.AWGN()(symbols, SNR_DB, KEY.fold_in(0))
    out = link.receive(received.y, received.noise_var.flatten(), steps="auto", key=KEY)
    torch.testing.assert_close(out, link.transmit(images, SNR_DB, steps="auto", key=KEY).images, rtol=0, atol=1e-4)


def test_the_table_is_kept_with_the_model(link, images, tmp_path):
    link.save_pretrained(tmp_path)
    again = SemanticLink.from_pretrained(tmp_path)
    assert again.transmit(images[:1], 3.0, steps="auto", key=KEY).evaluations == 3


def test_without_a_table_and_without_samples(images):
    plain = build(0).link()
    plain.register_to_config(auto_steps=None)
    assert plain.transmit(images[:1], 3.0, steps="auto", key=KEY).evaluations == DEFAULT_STEPS
    assert plain.transmit(images[:1], 3.0, steps="auto", realism=0.0, key=KEY).evaluations == 1


def test_the_shipped_models_table(images):
    shipped = SemanticLink.default()
    assert [shipped.transmit(images[:1], snr_db, steps="auto", key=KEY).evaluations for snr_db in (-5.0, 3.0)] == [4, 4]


@pytest.mark.parametrize("table", [[], [[0.0]], [[0.0, 2.5]], [[0.0, 0]], [[0.0, 1001]], [[5.0, 2], [0.0, 4]], [[0.0, 2], [0.0, 4]]])
def test_bad_tables_are_named(link, table):
    parts = {name: link.components[name] for name in ("vae", "unet", "downsampler", "upsampler", "scheduler")}
    with pytest.raises(ValueError, match=r"auto_steps: expected pairs of a rising SNR in dB and steps in \[1, 1000\], got"):
        SemanticLink(**parts, auto_steps=table)

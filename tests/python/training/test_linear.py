# SPDX-License-Identifier: Apache-2.0
"""The linear start against principal components by numpy's SVD."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

pytest.importorskip("accelerate")

import semdiff.training.linear as linear
from semdiff.baselines import ResidualJSCC
from semdiff.models.linear_code import LinearDecoder
from semdiff.models.networks import Downsampler
from semdiff.models.pixel_blocks import to_blocks
from semdiff.rng import Key
from semdiff.training.engine import Plan, fit
from semdiff.training.random_channel import Conditions
from semdiff.training.recipes.photos import build, read_recipe
from semdiff.training.stages.jscc import JSCCStage, LinearJSCCStage
from tests.python.photographs import photographs


@pytest.fixture
def begun(monkeypatch):
    """Networks that add nothing to the linear maps, and the blocks of pixels that they began with."""
    monkeypatch.setattr(linear, "FAINT", 0.0)
    networks = build(read_recipe(), 0)
    blocks = to_blocks(photographs(256), 8, "replicate")
    linear.begin_linear(networks.vae, networks.downsampler, networks.upsampler, networks.mean_decoder, blocks)
    return networks, blocks


def components(blocks):
    """Mean, directions (rows) and standard deviations of blocks in [0, 1]."""
    x = (blocks.double().numpy() + 1).transpose(0, 2, 3, 1).reshape(-1, blocks.shape[1]) / 2
    mean = x.mean(0)
    _, sizes, rows = np.linalg.svd(x - mean, full_matrices=False)
    return x, mean, rows, sizes / np.sqrt(len(x))


@torch.no_grad()
def test_latents_are_whitened_components(begun):
    networks, blocks = begun
    z = networks.vae.encoder(blocks).double().numpy().transpose(0, 2, 3, 1).reshape(-1, 32)
    x, mean, rows, deviations = components(blocks)
    expected = (x - mean) @ rows[:32].T / deviations[:32]
    signs = np.sign((z * expected).sum(0))
    np.testing.assert_allclose(z * signs, expected, rtol=0, atol=2e-3)


@torch.no_grad()
def test_both_decoders_are_their_inverse(begun):
    networks, blocks = begun
    z = networks.vae.encoder(blocks)
    x, mean, rows, _ = components(blocks)
    kept = rows[:32]
    expected = (x - mean) @ kept.T @ kept + mean
    found = networks.mean_decoder(z, torch.full_like(z, -6.0))
    pixels = ((found.double() + 1) / 2).numpy().transpose(0, 2, 3, 1).reshape(-1, 192)
    np.testing.assert_allclose(pixels, expected, rtol=0, atol=1e-3)
    small = 0.1 * z  # where the decoder's tanh is straight
    a, b = networks.vae.decoder(small), networks.mean_decoder(small, torch.full_like(z, -6.0))
    assert (a - b).abs().max() < 0.03


@torch.no_grad()
def test_the_mean_decoder_shuts_out_what_it_does_not_trust(begun):
    """A gate of -1 on one component leaves what the others say."""
    networks, blocks = begun
    z = networks.vae.encoder(blocks)
    log_error = torch.full_like(z, -6.0)
    networks.mean_decoder.gate.bias[3] = -1.0
    without = z.clone()
    without[:, 3] = 0
    found = networks.mean_decoder(z, log_error)
    networks.mean_decoder.gate.bias.zero_()
    torch.testing.assert_close(found, networks.mean_decoder(without, log_error), rtol=0, atol=1e-4)


@torch.no_grad()
def test_the_ends_are_each_others_inverse_and_the_strongest_components_go_first(begun):
    networks, blocks = begun
    z = networks.vae.encoder(blocks)
    snr, rate = torch.full((3,), 20.0), torch.ones(3)
    features = networks.downsampler(z, snr, rate)
    torch.testing.assert_close(networks.upsampler(features, snr, rate).mean, z, rtol=0, atol=1e-4)
    kept = networks.upsampler(torch.cat([features[:, :32], torch.zeros_like(features[:, 32:])], 1), snr, rate).mean
    torch.testing.assert_close(kept[:, :8], z[:, :8], rtol=0, atol=1e-4)
    assert not kept[:, 8:].any()
    _, _, _, deviations = components(blocks)
    power = features.square().mean((0, 2, 3)).view(32, 4).mean(1)
    expected = torch.from_numpy(deviations[:32] / deviations[:32].mean()).float()
    torch.testing.assert_close(power, expected, rtol=0.01, atol=1e-3)


@torch.no_grad()
def test_the_level_is_the_power_of_the_features_that_are_sent(begun):
    networks, blocks = begun
    z = networks.vae.encoder(blocks)
    rate = torch.tensor([1.0, 0.5, 0.25])
    features = networks.downsampler(z, torch.full((3,), 20.0), rate)
    expected = [10 * f[:kept].square().mean().log10() for f, kept in zip(features, (128, 64, 32), strict=True)]
    torch.testing.assert_close(networks.downsampler.level_db(z, rate), torch.stack(expected), rtol=0, atol=1e-3)
    no_map = Downsampler(32, 128)
    assert torch.equal(no_map.level_db(z, rate), torch.zeros(3))


def test_networks_without_room_or_map_are_refused():
    recipe = read_recipe()
    blocks = to_blocks(photographs(64), 8, "replicate")
    narrow = build(recipe | {"networks": recipe["networks"] | {"autoencoder": recipe["networks"]["autoencoder"] | {"width": 48}}}, 0)
    with pytest.raises(ValueError, match="vae: expected a width of at least 64, two for a latent, got 48"):
        linear.begin_linear(narrow.vae, narrow.downsampler, narrow.upsampler, narrow.mean_decoder, blocks)
    bent = build(recipe | {"networks": recipe["networks"] | {"mean_decoder": recipe["networks"]["mean_decoder"] | {"linear": False}}}, 0)
    with pytest.raises(ValueError, match="expected networks with a linear map"):
        linear.begin_linear(bent.vae, bent.downsampler, bent.upsampler, bent.mean_decoder, blocks)


@torch.no_grad()
def test_residual_jscc_begins_as_the_code_of_its_blocks(monkeypatch):
    """Blocks of 8x8 pixels to 24 components in proportion to the roots of their deviations, and back to what these say of the blocks."""
    monkeypatch.setattr(linear, "FAINT", 0.0)
    images = photographs(64)
    model = ResidualJSCC((3, 64, 64), 6, (6, 3), width=16, outer_width=8, depth=1).eval()
    for layer in (model.transmitter.to_symbols, model.decoder.to_image):
        layer.bias.zero_()
    linear.begin_jscc(model, images)
    x, mean, rows, deviations = components(F.pixel_unshuffle(2 * images - 1, 8))
    kept, amplitudes = rows[:24], np.sqrt(deviations[:24] / deviations[:24].mean())
    snr_db, rate = torch.full((len(images),), 5.0), torch.ones(len(images))
    features = model.encode(images, snr_db, rate)
    found = F.pixel_unshuffle(features, 2).double().numpy().transpose(0, 2, 3, 1).reshape(-1, 24)
    reference = np.where(np.arange(24) == 11, linear.REFERENCE, 0.0)  # the last component of 3 symbol channels
    expected = (x - mean) @ kept.T / deviations[:24] * amplitudes
    signs = np.sign(((found - reference) * expected).sum(0))
    np.testing.assert_allclose((found - reference) * signs, expected, rtol=0, atol=2e-3)
    sent = features - F.pixel_shuffle(torch.from_numpy(reference).float()[None, :, None, None].expand(len(images), -1, 8, 8), 2)
    back = F.pixel_unshuffle(model.decode(sent, snr_db, rate, (64, 64)), 8).double().numpy().transpose(0, 2, 3, 1).reshape(-1, 192)
    np.testing.assert_allclose(back, (x - mean) @ kept.T @ kept + mean, rtol=0, atol=2e-3)


@torch.no_grad()
def test_the_decoder_scales_components_by_their_means_and_the_snr():
    """A gain network that is linear in the components' means: each is multiplied by e to that."""
    decoder = LinearDecoder(3, 2, 2, 2)
    decoder.gain = torch.nn.Linear(10, 8)
    features = torch.randn(4, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    condition = torch.tensor([[0.1, 1.0], [0.5, 0.5], [1.0, 0.25], [-0.25, 1.0]])
    x = F.pixel_unshuffle(features, 2)
    gain = torch.cat([x.mean((2, 3)), condition], 1) @ decoder.gain.weight.T + decoder.gain.bias
    expected = F.pixel_shuffle(x * gain.exp()[:, :, None, None], 2)
    torch.testing.assert_close(decoder.scale(features, condition), expected)


def test_the_linear_code_learns_alone():
    """Its stage leaves the networks as they are, sends as one whose networks add nothing, and comes near the best linear code."""
    images = photographs(32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ResidualJSCC((3, 32, 32), 6, (6,), width=16, outer_width=8, depth=1)
    linear.begin_jscc(model, images)
    networks = {n: p.clone() for n, p in model.state_dict().items() if ".linear_" not in n}
    stage = LinearJSCCStage(model, Conditions((10.0, 10.001), 0.0, fading=False))
    before = float(stage(Key(1), images)["loss"].detach())
    fit(stage, [images], Plan(300, 16, 3e-3, average=0.9), name="linear", key=Key(0), progress=False)
    assert all(torch.equal(p, networks[n]) for n, p in model.state_dict().items() if n in networks)
    assert all(p.is_contiguous() for p in model.parameters())  # trained in another memory format, written in this one
    after = float(stage(Key(1), images)["loss"].detach())
    _, _, _, deviations = components(F.pixel_unshuffle(2 * images - 1, 8))
    assert after < 0.5 * before
    assert after < 1.3 * best_linear_error(deviations**2, 24, 10.0)
    with torch.no_grad():
        for layer in (model.transmitter.to_symbols, model.decoder.to_image):
            layer.weight.zero_(), layer.bias.zero_()
        whole = JSCCStage(model, stage.conditions)
        torch.testing.assert_close(whole(Key(1), images)["loss"], stage(Key(1), images)["loss"])


def best_linear_error(variances, sent, snr_db):
    """The squared error of a value with the best powers for `sent` components (Lee and Petersen, 1976), and without the others."""
    noise, errors = 10 ** (-snr_db / 10), []
    for used in range(1, sent + 1):
        roots = np.sqrt(variances[:used])
        powers = roots * (sent + used * noise) / roots.sum() - noise
        if powers[-1] >= 0:
            errors.append((variances[:used] * noise / (powers + noise)).sum() + variances[used:].sum())
    return min(errors) / len(variances)

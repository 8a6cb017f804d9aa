# SPDX-License-Identifier: Apache-2.0
"""The link with small untrained networks (what must hold for any weights), and the shipped model (what training must have given)."""

import math

import pytest
import torch

import semdiff
from semdiff.data import fashion_mnist
from semdiff.data.fashion_mnist import DEBIAN_FOLDER

pytest.importorskip("diffusers")

from semdiff.diffusion.vae import GaussianSample
from semdiff.link import Downsampler, SemanticLink, Upsampler
from semdiff.link.files import DEFAULT_MODEL
from semdiff.link.starting_state import estimate, later, starting_state
from semdiff.metrics import psnr
from semdiff.models.pixel_blocks import from_blocks, to_blocks
from semdiff.models.store import shipped_models
from semdiff.training.recipes.latents import build
from semdiff.transmission.symbols import features_to_symbols, symbols_to_features
from tests.python.small_links import LATENT_LINK

needs_data = pytest.mark.skipif(not DEBIAN_FOLDER.is_dir(), reason="needs Debian's package dataset-fashion-mnist")
KEY = semdiff.Key(5)
SCHEDULE = semdiff.NoiseSchedule.scaled_linear()


@pytest.fixture(scope="module")
def link():
    """Untrained, but with weights: what must hold for any."""
    return build(0).link()


@pytest.fixture(scope="module")
def images():
    return torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def shipped():
    return SemanticLink.default()


# Parts


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (8, 16), (27, 29)])
def test_blocks_invert(size):
    x = torch.rand(2, 3, *size)
    blocks = to_blocks(x)
    assert blocks.shape == (2, 48, -(-size[0] // 8) * 2, -(-size[1] // 8) * 2)
    torch.testing.assert_close(from_blocks(blocks, *size), x)
    assert blocks.min() >= -1


@pytest.mark.parametrize("channels", [4, 8])
def test_symbols_have_unit_power_and_give_the_features_back(channels):
    features = torch.randn(3, 8, 4, 4) * torch.tensor([0.1, 1.0, 30.0])[:, None, None, None]
    symbols = features_to_symbols(features, channels)
    assert symbols.shape == (3, 8 * channels)
    torch.testing.assert_close(symbols.abs().square().mean(1), torch.ones(3))
    one, quiet = torch.ones(3, 1, dtype=symbols.dtype), torch.full((3, 1), 1e-9, dtype=torch.float64)
    back = symbols_to_features(semdiff.Received(symbols, one, quiet), channels, (8, 4, 4)).features
    assert torch.equal(back[:, channels:], torch.zeros(3, 8 - channels, 4, 4))
    kept = features[:, :channels]
    torch.testing.assert_close(back[:, :channels], kept / kept.square().mean((1, 2, 3), keepdim=True).sqrt())


def test_block_fading_is_awgn_at_the_faded_snr():
    s = features_to_symbols(torch.randn(4, 8, 4, 4), 8)
    h = torch.randn(4, 1, dtype=torch.complex64)
    plain = semdiff.Received(s, torch.ones(4, 1, dtype=torch.complex64), torch.full((4, 1), 0.1, dtype=torch.float64))
    there, sent = (symbols_to_features(r, 8, (8, 4, 4)) for r in (plain._replace(y=h * s, h=h), plain))
    torch.testing.assert_close(there.features, sent.features)
    torch.testing.assert_close(there.noise_var, 0.1 / h[:, 0].to(torch.complex128).abs().square())
    torch.testing.assert_close(there.noise_map, torch.zeros(4, 8, 4, 4))


def test_fast_fading_has_the_variance_of_the_second_order_match():
    """snr_eff = (1 - m) / m with m = c e^c E1(c): at 10 dB 5.98 dB (c = 0.1, E1(0.1) = 1.8229)."""
    h = torch.randn(1, 200_000, dtype=torch.complex128, generator=torch.Generator().manual_seed(0))
    y = torch.ones_like(h)
    arrived = symbols_to_features(semdiff.Received(y, h, torch.full((1, 1), 0.1, dtype=torch.float64)), 8, (8, 500, 100))
    m = 0.1 * math.exp(0.1) * 1.82292396
    assert arrived.noise_var.item() == pytest.approx(m / (1 - m), rel=0.02)
    own = arrived.noise_map.double().exp() * arrived.noise_var  # each element's own variance is N0 / |h|^2; a symbol has two
    expected = (0.1 / h.abs().square()).repeat_interleave(2, 1).reshape(1, 8, 500, 100)
    inside = arrived.noise_map.abs() < 6
    assert inside.double().mean() > 0.99
    torch.testing.assert_close(own[inside], expected[inside], rtol=1e-5, atol=0.0)


def test_an_honest_gaussian_gives_the_error_variance():
    """z of unit variance, an estimate with error v: mean sqrt(a) z_hat and variance 1 - a + a v give v and z_hat back."""
    noise_var = torch.tensor([0.1, 1.0], dtype=torch.float64)
    a = 1 / (1 + noise_var)
    v = torch.tensor([0.2, 0.5], dtype=torch.float64)
    z_hat = torch.randn(2, 4, 8, 8)
    mean = a.sqrt().float()[:, None, None, None] * z_hat
    logvar = (1 - a + a * v).log().float()[:, None, None, None].expand(2, 4, 8, 8)
    z, error = estimate(GaussianSample(mean, mean, logvar), noise_var)
    torch.testing.assert_close(z, z_hat)
    torch.testing.assert_close(error, v, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("mode", ["calibrated", "exact"])
@pytest.mark.parametrize("renoise", [0.0, 0.7])
def test_states_of_an_estimate_have_the_law_of_the_forward_process(mode, renoise):
    """The oracle: an estimate whose error is white. Calibrated takes a conditional mean, exact takes z + n."""
    g = torch.Generator().manual_seed(3)
    z = torch.randn(1, 4, 256, 256, generator=g)
    v = 0.3
    if mode == "calibrated":
        z_hat = (1 - v) * z + math.sqrt(v * (1 - v)) * torch.randn(z.shape, generator=g)
    else:
        z_hat = z + math.sqrt(v) * torch.randn(z.shape, generator=g)
    noise_var = torch.tensor([0.25], dtype=torch.float64)
    a = 0.8
    logvar = torch.full_like(z, math.log(1 - a + a * v))
    gaussian = GaussianSample(z_hat, math.sqrt(a) * z_hat, logvar)
    x, t = starting_state(gaussian, noise_var, SCHEDULE, mode, renoise, KEY)
    base = v / (1 - v) if mode == "calibrated" else v
    assert SCHEDULE.noise_var(t).item() == pytest.approx((1 + renoise) * base, rel=1e-4)
    a_t = SCHEDULE.alpha_bar(t).item()
    residual = (x - math.sqrt(a_t) * z) / math.sqrt(1 - a_t)
    assert residual.mean().abs() < 0.01
    assert residual.square().mean().item() == pytest.approx(1, abs=0.01)
    assert (residual * z).mean().abs() < 0.01


def test_paper_mode_takes_the_draw_at_the_channels_own_step():
    gaussian = GaussianSample(torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8))
    x, t = starting_state(gaussian, torch.tensor([0.1], dtype=torch.float64), SCHEDULE, "paper", 0.5, KEY)
    assert torch.equal(x, gaussian.sample)
    assert t.item() == 88  # 10 dB


def test_later_follows_the_forward_process():
    state = semdiff.DiffusionState(torch.zeros(2, 4, 64, 64), torch.tensor([0.0, 300.0], dtype=torch.float64))
    x, t = later(state, 1.0, SCHEDULE, KEY)
    torch.testing.assert_close(SCHEDULE.noise_var(t), 2 * SCHEDULE.noise_var(state.t), rtol=1e-6, atol=0)
    expected = (1 - SCHEDULE.alpha_bar(t) / SCHEDULE.alpha_bar(state.t)).float()
    torch.testing.assert_close(x.square().mean((1, 2, 3)), expected, rtol=0.05, atol=0)


@pytest.mark.parametrize("module", [Downsampler, Upsampler])
def test_networks_depend_on_snr_and_rate_and_not_on_the_batch(module):
    net = module().eval()
    x = torch.randn(4, 4, 8, 8) if module is Downsampler else torch.randn(4, 8, 4, 4)
    snr, rate = torch.tensor([-5.0, 0.0, 7.0, 15.0]), torch.tensor([0.5, 1.0, 0.5, 1.0])

    def run(*arguments):
        out = net(*arguments) if module is Downsampler else net(*arguments, KEY).mean
        return out.detach()

    whole = run(x, snr, rate)
    for i in range(4):
        torch.testing.assert_close(run(x[i : i + 1], snr[i : i + 1], rate[i : i + 1])[0], whole[i], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(run(x, snr + 3, rate), whole, atol=1e-5)
    assert not torch.allclose(run(x, snr, 1.5 - rate), whole, atol=1e-5)


# The pipeline


def test_transmission_and_its_books(link, images):
    snr_db = torch.tensor([-5.0, 0.0, 5.0, 10.0, 15.0])
    for cbr, uses in ((None, 64), (1 / 12, 64), (1 / 24, 32)):
        got = link.transmit(images, snr_db, cbr=cbr, steps=3, key=KEY)
        assert got.images.shape == images.shape
        assert got.images.min() >= 0
        assert got.images.max() <= 1
        assert (got.ledger.payload, got.ledger.side_information, got.ledger.total) == (uses, 0, uses)
        assert got.ledger.cbr == uses / 784
        assert got.evaluations == 3
        assert got.t.shape == got.snr_db.shape == (5,)
        assert (got.snr_db - snr_db).abs().max() < 3
        assert got.seconds > 0


def test_same_key_same_images_whatever_the_batch(link, images):
    whole = link.transmit(images, 3.0, key=KEY, steps=2)
    assert torch.equal(whole.images, link.transmit(images, 3.0, key=KEY, steps=2).images)
    alone = link.transmit(images[:1], 3.0, key=KEY, steps=2)
    torch.testing.assert_close(alone.images, whole.images[:1], rtol=0, atol=1e-4)
    assert not torch.equal(whole.images, link.transmit(images, 3.0, key=semdiff.Key(6), steps=2).images)


def test_manual_seed_governs_a_missing_key(link, images):
    torch.manual_seed(3)
    first = link.transmit(images, 3.0, steps=1).images
    assert not torch.equal(first, link.transmit(images, 3.0, steps=1).images)
    torch.manual_seed(3)
    assert torch.equal(first, link.transmit(images, 3.0, steps=1).images)


def test_send_and_receive_are_the_halves_of_transmit(link, images):
    symbols = link.send(images, cbr=1 / 24, snr_db=6.0)
    assert symbols.is_complex()
    torch.testing.assert_close(symbols.abs().square().mean(1), torch.ones(5))
    received = semdiff.AWGN()(symbols, 6.0, KEY.fold_in(0))
    out = link.receive(received.y, 10**-0.6, steps=2, key=KEY)
    torch.testing.assert_close(out, link.transmit(images, 6.0, cbr=1 / 24, steps=2, key=KEY).images, rtol=0, atol=1e-4)


def test_receive_undoes_a_known_gain(link, images):
    symbols = link.send(images, snr_db=6.0)
    h = torch.polar(torch.full((5,), 0.5), torch.arange(5.0))
    plain = link.receive(symbols, 0.4, steps=1, realism=0.0, key=KEY)
    faded = link.receive(h[:, None] * symbols, 0.1, h=h, steps=1, realism=0.0, key=KEY)
    torch.testing.assert_close(faded, plain, rtol=0, atol=1e-3)


def test_realism_is_the_line_between_its_ends(link, images):
    heard = link.equalize_and_upsample(link.received(link.send(images), 0.1), key=KEY)
    mean, sample, half = (link.denoise_and_decode(heard, realism=r, steps=2, key=KEY) for r in (0.0, 1.0, 0.5))
    torch.testing.assert_close(half[0], (mean[0] + sample[0]) / 2)
    assert [mean[2], sample[2], half[2]] == [1, 2, 3]
    assert torch.equal(half[1], sample[1])


def test_without_diffusion(link, images):
    got = link.transmit(images, 5.0, diffusion=False, key=KEY)
    assert got.evaluations == 0
    assert got.t.isnan().all()


@pytest.mark.parametrize("mode", ["paper", "exact", "calibrated"])
@pytest.mark.parametrize(("solver", "evaluations"), [("dpmpp_2m", 3), ("ddim", 3), ("ddpm", 3), ("heun", 5)])
def test_every_match_with_every_solver(link, images, mode, solver, evaluations):
    got = link.transmit(images, 5.0, match=mode, solver=solver, steps=3, key=KEY)
    assert got.images.isfinite().all()
    assert got.evaluations == evaluations


def test_save_and_load(link, images, tmp_path):
    link.save_pretrained(tmp_path / "model")
    files = {p.suffix for p in (tmp_path / "model").rglob("*") if p.is_file()}
    assert files == {".safetensors", ".json"}
    again = SemanticLink.from_pretrained(tmp_path / "model")
    assert torch.equal(again.transmit(images, 4.0, key=KEY).images, link.transmit(images, 4.0, key=KEY).images)
    assert again.cbrs == link.cbrs


# Damaged files


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"model_index\.json"):
        SemanticLink.from_pretrained(tmp_path)


@pytest.mark.parametrize("harm", ["truncated", "altered", "missing", "listing"])
def test_damaged_weights_are_noticed(link, tmp_path, harm):
    folder = tmp_path / "model"
    link.save_pretrained(folder)
    weights = next((folder / "unet").glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    if harm == "truncated":
        weights.write_bytes(content[: len(content) // 2])
    elif harm == "altered":
        content[-1000] ^= 1
        weights.write_bytes(content)
    elif harm == "missing":
        weights.unlink()
    else:
        (folder / "checksums.json").write_text("[")
    with pytest.raises(ValueError, match="checksums.json" if harm == "listing" else weights.name):
        SemanticLink.from_pretrained(folder)


def test_truncated_weights_without_a_listing(link, tmp_path):
    folder = tmp_path / "model"
    link.save_pretrained(folder)
    (folder / "checksums.json").unlink()
    weights = next((folder / "unet").glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(ValueError, match="damaged or incomplete"):
        SemanticLink.from_pretrained(folder)


# The shipped models


def test_models_have_names(shipped):
    assert DEFAULT_MODEL in shipped_models()
    assert SemanticLink.default(DEFAULT_MODEL).config == shipped.config
    with pytest.raises(ValueError, match=r"model: expected one that comes with the package \(.*fashion-mnist.*\), got 'fashion'"):
        SemanticLink.default("fashion")


def test_shipped_model_is_small_and_safe(shipped):
    everything = [p for p in shipped_models()[DEFAULT_MODEL].rglob("*") if p.is_file()]
    assert {p.suffix for p in everything} == {".safetensors", ".json", ".md"}
    assert sum(p.stat().st_size for p in everything) <= 6_000_000
    assert shipped.dtype == torch.float32


@pytest.mark.slow
@needs_data
def test_shipped_model_does_its_work(shipped):
    """200 test images: quality rises with SNR and rate, the mean beats no diffusion, sampling costs at most 3 dB and is crisper."""
    from studies.fashion_mnist import detail

    images = fashion_mnist("test").images[:200]
    means = {}
    for cbr in (1 / 12, 1 / 24):
        for snr_db in (-5.0, 5.0, 15.0):
            heard = {"images": images, "snr_db": snr_db, "cbr": cbr, "key": KEY}
            plain, mean, sample = (
                shipped.transmit(**heard, **how).images for how in ({"diffusion": False}, {"realism": 0.0}, {"realism": 1.0})
            )
            means[cbr, snr_db] = psnr(mean, images).mean().item()
            assert means[cbr, snr_db] >= psnr(plain, images).mean().item()
            assert psnr(sample, images).mean().item() > means[cbr, snr_db] - 3
            # At high SNR little is unknown, so little can be added.
            assert detail(sample).mean() > (1.5 if snr_db < 0 else 1.02) * detail(mean).mean()
        assert means[cbr, -5.0] + 1 < means[cbr, 5.0] < means[cbr, 15.0]
    assert all(means[1 / 12, s] > means[1 / 24, s] for s in (-5.0, 5.0, 15.0))


@pytest.mark.slow
@needs_data
def test_calibrated_beats_paper_on_the_same_keys():
    trained = SemanticLink.from_pretrained(LATENT_LINK)
    images = fashion_mnist("test").images[:500]
    for snr_db in (-5.0, 0.0, 5.0, 10.0, 15.0):
        for realism in (0.0, 1.0):
            got = {
                m: psnr(trained.transmit(images, snr_db, realism=realism, match=m, key=KEY).images, images).mean()
                for m in ("calibrated", "exact", "paper")
            }
            assert got["calibrated"] >= got["paper"], (snr_db, realism, got)
            assert got["exact"] >= got["paper"], (snr_db, realism, got)

# SPDX-License-Identifier: Apache-2.0
"""A link on pixels: where denoising begins against closed forms, its files, its promises, and the stages that train it."""

from __future__ import annotations

import json
import math

import pytest
import torch
from torch import Tensor, nn

import semdiff
from semdiff import Key

pytest.importorskip("diffusers")
pytest.importorskip("accelerate")

from semdiff.baselines import ADJSCC
from semdiff.data import sample_images
from semdiff.diffusion.sampler import sample
from semdiff.diffusion.vae import GaussianSample
from semdiff.evaluation.systems import wrap_system
from semdiff.link import PixelLink, SemanticLink
from semdiff.link.outputs import output_names
from semdiff.link.pixel_starting_state import PixelReception, mean_estimate, perceptual_state, straight_grid
from semdiff.models.jscc_layers import JSCCDecoder, Transmitter
from semdiff.models.pixels import PixelDenoiser, PixelScale
from semdiff.training.engine import Plan, fit
from semdiff.training.random_channel import Conditions
from semdiff.training.stages.diffusion import velocity
from semdiff.training.stages.pixels import FlowStage, Front, UpsamplerStage
from tests.python.pretrained import require_lpips
from tests.python.small_links import SCALE, networks, pixel_link

SCHEDULE = semdiff.NoiseSchedule.scaled_linear()


@pytest.fixture
def link() -> PixelLink:
    return pixel_link()


def reception(batch: int = 4, size: int = 200) -> PixelReception:
    """An estimate that is wrong by 0.09 in the mean square, and a perceptual one 0.16 away from it."""
    a = float(SCHEDULE.alphas_cumprod[0])
    estimate = semdiff.normal((batch, 1, size, size), Key(1)) * 0.3  # within what images are
    logvar = torch.full_like(estimate, math.log(1 - a + a * 0.09))
    signs = 1 - 2 * (torch.arange(estimate.numel()).view(estimate.shape) % 2)
    gaussian = GaussianSample(estimate, estimate * math.sqrt(a), logvar)
    return PixelReception(gaussian, estimate + 0.4 * signs, torch.full((batch,), 0.1, dtype=torch.float64), torch.ones(batch))


# Where denoising begins


def test_the_estimate_and_its_error_are_read_off_the_gaussian():
    told = reception()
    estimate, error = mean_estimate(told.gaussian, SCHEDULE)
    torch.testing.assert_close(estimate, told.gaussian.sample)
    torch.testing.assert_close(error, torch.full((4,), 0.09, dtype=torch.float64), rtol=1e-5, atol=0)


@pytest.mark.parametrize("renoise", [0.0, 0.25, 1.0])
def test_the_first_state_has_the_law_that_is_promised(renoise):
    """alpha_bar = 1 / (1 + (1 + k^2) s^2) with s^2 = 0.09 + 0.16, and fresh noise of variance alpha_bar k^2 s^2, to 2 %: 160,000 draws."""
    told = reception()
    wide = PixelScale(0.5, 0.1)  # clamps nothing here
    x, t = perceptual_state(told, wide, SCHEDULE, renoise, Key(7))
    a = 1 / (1 + (1 + renoise) * 0.25)
    torch.testing.assert_close(SCHEDULE.alpha_bar(t), torch.full((4,), a, dtype=torch.float64), rtol=1e-5, atol=0)
    fresh = x - math.sqrt(a) * told.perceptual
    assert float(fresh.square().mean()) == pytest.approx(a * renoise * 0.25, rel=0.02, abs=1e-9)


def test_the_perceptual_estimate_is_kept_within_what_images_are():
    told = reception()
    x, t = perceptual_state(told, SCALE, SCHEDULE, 0.0, Key(7))
    found = SCALE.images(x / SCHEDULE.alpha_bar(t).sqrt().to(x)[:, None, None, None])
    assert float(found.min()) == pytest.approx(0, abs=1e-6)
    assert float(found.max()) <= 1 + 1e-6


def test_steps_are_equal_parts_of_the_noise():
    t = torch.tensor([300.0, 80.5], dtype=torch.float64)
    grid = straight_grid(t, 5, SCHEDULE)
    deviation = SCHEDULE.noise_var(grid[:-1]).sqrt()
    torch.testing.assert_close(deviation / deviation[0], (1 - torch.arange(5, dtype=torch.float64) / 5)[:, None].expand(5, 2))
    assert torch.equal(grid[0], t)
    assert torch.equal(grid[-1], torch.full((2,), -1.0, dtype=torch.float64))


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("steps", [1, 4])
def test_the_path_to_an_image_that_is_known_ends_there(solver, steps):
    told = reception(2, 8)
    state = perceptual_state(told, SCALE, SCHEDULE, 0.5, Key(3))
    x = semdiff.normal(state.x.shape, Key(4))
    oracle = lambda y, t: velocity(y, x, SCHEDULE.alpha_bar(t))  # noqa: E731
    grid = straight_grid(state.t, steps, SCHEDULE)
    found = sample(oracle, state, SCHEDULE, steps, solver, prediction="v", grid=grid)
    torch.testing.assert_close(found, x, rtol=1e-4, atol=1e-4)


def test_an_untrained_denoiser_shrinks_and_no_more():
    x = semdiff.normal((2, 1, 28, 28), Key(0))
    assert torch.equal(PixelDenoiser(1, 8, 16, 1, 2, 16)(x, *torch.zeros(3, 2)), torch.zeros_like(x))


# The link


def test_transmission(link):
    images = sample_images()
    for cbr, uses in ((64 / 784, 64), (32 / 784, 32)):
        sent = link.transmit(images, 5.0, cbr=cbr, steps=3, key=Key(1))
        assert sent.ledger.total == uses
        assert sent.images.shape == images.shape
        assert sent.images.min() >= 0
        assert sent.images.max() <= 1
        assert sent.evaluations == 3
        assert bool((sent.t > 0).all())
    mean = link.transmit(images, 5.0, realism=0.0, key=Key(1))
    assert mean.evaluations == 0
    assert bool(mean.t.isnan().all())
    crisp, half = (link.transmit(images, 5.0, realism=r, key=Key(1)).images for r in (1.0, 0.5))
    torch.testing.assert_close(half, (mean.images + crisp) / 2)


def test_an_image_does_not_depend_on_its_batch(link):
    images = sample_images()
    whole = link.transmit(images, 5.0, steps=2, key=Key(1)).images[:1]
    torch.testing.assert_close(link.transmit(images[:1], 5.0, steps=2, key=Key(1)).images, whole, rtol=1e-4, atol=1e-5)


def test_its_pictures_are_named_by_what_makes_them(link):
    assert output_names(link) == ("up-sampler's mean", "sample")
    assert wrap_system("ours", link).outputs == ["up-sampler's mean", "sample"]


def test_files(link, tmp_path):
    link.save_pretrained(tmp_path / "model")
    assert json.loads((tmp_path / "model" / "model_index.json").read_text())["unet"] == ["semdiff.models.pixels", "PixelDenoiser"]
    loaded = SemanticLink.from_pretrained(tmp_path / "model")
    assert type(loaded) is PixelLink
    images = sample_images()[:2]
    assert torch.equal(loaded.transmit(images, 3.0, key=Key(1)).images, link.transmit(images, 3.0, key=Key(1)).images)


def test_bad_input(link):
    images = sample_images()
    with pytest.raises(ValueError, match="match: expected calibrated"):
        link.transmit(images, 5.0, match="paper")
    with pytest.raises(ValueError, match="images: expected"):
        link.transmit(torch.zeros(1, 3, 28, 28), 5.0)
    with pytest.warns(UserWarning, match="snr_db: this model was trained for -7 to 18 dB and not for 25 dB"):
        link.transmit(images, 25.0)


def test_both_ends_are_those_of_an_adjscc():
    """The same features and the same images as the baseline, given its weights."""
    baseline, transmitter, decoder = ADJSCC.default(), Transmitter((1, 28, 28)), JSCCDecoder()
    for part in (transmitter, decoder):
        part.load_state_dict({n: baseline.state_dict()[n] for n in part.state_dict()})
    images, told = sample_images(), (torch.linspace(-5, 15, 10), torch.tensor([0.5, 1.0] * 5))
    assert torch.equal(transmitter(images, *told), baseline.encode(images, *told))
    features = semdiff.normal((10, 2, 8, 8), Key(2))
    assert torch.equal(decoder(features, *told, (28, 28)), baseline.decode(features, *told, (28, 28)))


# Training


def front(seed: int = 0) -> tuple[Front, PixelDenoiser]:
    transmitter, upsampler, decoder, denoiser = networks(seed)
    return Front(transmitter, upsampler, decoder, SCALE, (2, 1), Conditions(fading_every=4)), denoiser


class KnowsAll(nn.Module):
    """The velocity of the one image that all of a batch are."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image

    def forward(self, x: Tensor, log_noise_var: Tensor, snr_db: Tensor, rate: Tensor) -> Tensor:
        return velocity(x, self.image.expand_as(x), 1 / (1 + log_noise_var.double().exp()))


@torch.no_grad()
def terms(stage: nn.Module, images: Tensor) -> dict[str, float]:
    return {name: float(value) for name, value in stage(Key(0), images).items()}


def test_the_flow_asks_for_the_velocity_towards_the_image():
    image = sample_images()[:1]
    stage = FlowStage(front()[0], KnowsAll(SCALE.normalize(image)), SCHEDULE)
    assert terms(stage, image.expand(16, -1, -1, -1))["loss"] < 1e-6


@pytest.mark.slow
def test_stages_learn_what_they_are_for_and_leave_the_rest():
    parts, denoiser = front()
    images = sample_images()
    plan = Plan(steps=80, batch_size=10, learning_rate=5e-3, warm_up=3, average=0.5)
    before = {n: t.clone() for n, t in parts.state_dict().items()}
    first = terms(UpsamplerStage(parts, SCHEDULE), images)
    fit(UpsamplerStage(parts, SCHEDULE), [images], plan, name="upsampler", key=Key(0), progress=False)
    after = terms(UpsamplerStage(parts, SCHEDULE), images)
    assert after["error"] < 0.8 * first["error"]
    assert after["match"] < first["match"]
    changed = {n.split(".")[0] for n, t in parts.state_dict().items() if not torch.equal(t, before[n])}
    assert changed == {"upsampler"}
    begun = terms(FlowStage(parts, denoiser, SCHEDULE), images)["loss"]
    before = {n: t.clone() for n, t in parts.state_dict().items()}
    fit(FlowStage(parts, denoiser, SCHEDULE), [images], plan, name="flow", key=Key(0), progress=False)
    assert terms(FlowStage(parts, denoiser, SCHEDULE), images)["loss"] < begun
    assert all(torch.equal(t, before[n]) for n, t in parts.state_dict().items())


def test_lpips_is_part_of_the_loss():
    require_lpips()
    parts, denoiser = front()
    images = sample_images()
    stage = FlowStage(parts, denoiser, SCHEDULE, lpips_weight=1.0)
    stage.freeze()
    found = terms(stage, images)
    assert found["loss"] == pytest.approx(found["flow"] + found["lpips"], rel=1e-5)


# What does not fit


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"renoise": -1.0}, "renoise: expected a finite number, at least zero, got -1.0"),
        ({"renoise": math.nan}, "renoise: expected a finite number, at least zero, got nan"),
        ({"renoise": "x"}, "renoise: expected a finite number, at least zero, got 'x'"),
        ({"pixel_std": 0.0}, "pixel_std: expected a finite number above zero, got 0.0"),
        ({"pixel_mean": None}, "pixel_mean: expected a finite number, got None"),
        ({"rates": []}, r"rates: expected symbol channels from 1 to 2, got \[\]"),
        ({"rates": [3]}, r"rates: expected symbol channels from 1 to 2, got \[3\]"),
        ({"rates": None}, "rates: expected symbol channels from 1 to 2, got None"),
        ({"image_shape": [1, 28]}, r"image_shape: expected three whole numbers above zero, \(C, H, W\), got \[1, 28\]"),
        ({"image_shape": [1, None, None]}, "image_shape: expected three whole numbers above zero"),
    ],
)
def test_settings_that_do_not_fit_are_named(link: PixelLink, change: dict[str, object], words: str) -> None:
    parts = {name: link.components[name] for name in ("transmitter", "upsampler", "decoder", "unet", "scheduler")}
    with pytest.raises(ValueError, match=words):
        PixelLink(**parts, **change)


def test_a_folder_without_a_part_is_named(link: PixelLink, tmp_path) -> None:
    link.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "checksums.json").unlink()
    place = tmp_path / "model" / "model_index.json"
    index = json.loads(place.read_text())
    del index["unet"]
    place.write_text(json.dumps(index))
    with pytest.raises(ValueError, match=r"model_index\.json: expected the parts transmitter, .*, got none for unet"):
        SemanticLink.from_pretrained(tmp_path / "model")


def test_whatever_the_default_device_is(link: PixelLink, tmp_path) -> None:
    link.save_pretrained(tmp_path / "model")
    there = link.transmit(sample_images()[:2], 10.0, steps=2, key=Key(0)).images
    with torch.device("meta"):
        again = SemanticLink.from_pretrained(tmp_path / "model")
        assert torch.equal(again.transmit(sample_images()[:2], 10.0, steps=2, key=Key(0)).images, there)

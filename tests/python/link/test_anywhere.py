# SPDX-License-Identifier: Apache-2.0
"""A link under another default device, under autocast, in copies and in other processes: the pictures are the same."""

import copy
import pickle

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

pytest.importorskip("diffusers")

import semdiff
from semdiff.baselines import ADJSCC
from semdiff.evaluation import diagnose_link
from semdiff.link import SemanticLink
from semdiff.metrics import psnr
from semdiff.training.recipes.latents import build
from tests.python.photographs import crops, photographs
from tests.python.small_links import LATENT_LINK, any_size_link

KEY = semdiff.Key(8)


class Sent(Dataset):
    """Pictures as a link sends them, as a user would put it into a loader. The key is made where it is used."""

    def __init__(self, link, images):
        self.link, self.images = link, images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.link.transmit(self.images[i : i + 1], 5.0, steps=1, key=semdiff.Key(i)).images[0]


def one_size():
    return build(0).link(), torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))


def any_size():
    return any_size_link(), photographs(40)


def jscc():
    return ADJSCC(width=8, outer_width=8, depth=1).eval(), one_size()[1]


@pytest.mark.parametrize("make", [one_size, any_size, jscc])
@pytest.mark.parametrize("options", [{}, {"realism": 0.5, "steps": "auto"}, {"channel": semdiff.Rayleigh()}])
def test_the_default_device_changes_nothing(make, options):
    link, x = make()
    for snr_db in (5.0, torch.tensor([1.0, 2.0, 3.0])):
        there = link.transmit(x, snr_db, key=KEY, **options)
        with torch.device("meta"):
            here = link.transmit(x, snr_db, key=KEY, **options)
        assert torch.equal(here.images, there.images)
        assert torch.equal(here.snr_db, there.snr_db)
        torch.testing.assert_close(here.t, there.t, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("match", ["calibrated", "exact", "paper"])
def test_halves_too(match):
    link, x = one_size()
    symbols = link.send(x, snr_db=6.0)
    there = link.receive(symbols, 0.3, steps=2, match=match, key=KEY)
    without = link.receive(symbols, 0.3, diffusion=False, key=KEY)
    with torch.device("meta"):
        assert torch.equal(link.send(x, snr_db=6.0), symbols)
        assert torch.equal(link.receive(symbols, 0.3, steps=2, match=match, key=KEY), there)
        assert torch.equal(link.receive(symbols, 0.3, diffusion=False, key=KEY), without)


def test_a_diagnosis_too():
    link = SemanticLink.from_pretrained(LATENT_LINK)
    x = crops(30, 28).mean(1, keepdim=True)
    there = diagnose_link(link, x, 5.0, 2, KEY)
    with torch.device("meta"):
        assert diagnose_link(link, x, 5.0, 2, KEY) == there


@pytest.mark.parametrize("model", ["fashion-mnist", LATENT_LINK, "photos"], ids=["pixels", "latents", "photos"])
def test_under_autocast_what_lies_between_the_networks_is_float32(model):
    """The networks compute in bfloat16, and cost what `compile("bf16")` costs or, with the transmitter's, somewhat more."""
    link = SemanticLink.from_pretrained(model)
    x = photographs(64) if model == "photos" else torch.nn.functional.interpolate(photographs(112).mean(1, keepdim=True), (28, 28))
    seen = []
    link.upsampler.conv_in.register_forward_hook(lambda _, inputs, out: seen.append((inputs[0].dtype, out.dtype)))
    other = {} if model == "fashion-mnist" else {"match": "paper"}  # a link on pixels has one match
    for options in ({"realism": 0.0}, {"realism": 1.0, "steps": 2}, {"diffusion": False}, {"realism": 0.5, "steps": 2} | other):
        there = link.transmit(x, 10.0, key=KEY, **options)
        with torch.autocast("cpu", torch.bfloat16):
            here = link.transmit(x, 10.0, key=KEY, **options)
            symbols = link.send(x)
        assert here.images.dtype == torch.float32
        assert symbols.dtype == torch.complex64
        torch.testing.assert_close(symbols.abs().square().mean(1), torch.ones(len(x)), rtol=0, atol=1e-5)
        assert float((psnr(here.images, x) - psnr(there.images, x)).abs().max()) < 0.3
    assert seen[1] == (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("make", [one_size, any_size, jscc])
def test_copies_make_the_same_pictures(make):
    link, x = make()
    there = link.transmit(x, 5.0, key=KEY).images
    for other in (pickle.loads(pickle.dumps(link)), copy.deepcopy(link), copy.copy(link)):
        assert torch.equal(other.transmit(x, 5.0, key=KEY).images, there)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_copies_of_a_quick_link_are_quick(precision):
    link, x = any_size()
    link.compile(precision, compiled=False)
    there = link.transmit(x, 5.0, realism=0.5, key=KEY).images
    for other in (pickle.loads(pickle.dumps(link)), copy.deepcopy(link)):
        assert other.unet.forward.network is other.unet
        assert torch.equal(other.transmit(x, 5.0, realism=0.5, key=KEY).images, there)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*")
def test_a_compiled_link_is_compiled_anew_in_its_copy():
    link, x = any_size()
    link.compile("fp32")
    there = link.transmit(x, 5.0, key=KEY).images
    assert torch.equal(pickle.loads(pickle.dumps(link)).transmit(x, 5.0, key=KEY).images, there)


@pytest.mark.parametrize("start", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_loaders_workers_have_the_link(start):
    pictures = Sent(*any_size())
    found = torch.cat(list(DataLoader(pictures, num_workers=1, multiprocessing_context=start)))
    torch.testing.assert_close(found, torch.stack([pictures[i] for i in range(3)]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", [one_size, any_size])
def test_the_mean_and_the_sample_of_a_mixture_have_keys_of_their_own(make, monkeypatch):
    """And the ends of the dial are what they are alone."""
    link, x = make()
    size = None if link.image_shape[1] else tuple(x.shape[2:])
    heard = link.equalize_and_upsample(link.received(link.send(x), 0.1, size=size), key=KEY, size=size)
    keys = []
    from semdiff.link import receiver

    begin = receiver.starting_state
    monkeypatch.setattr(receiver, "starting_state", lambda *arguments: keys.append(arguments[-1]) or begin(*arguments))
    for realism in (0.0, 1.0, 0.5):
        link.denoise_and_decode(heard, steps=2, realism=realism, key=KEY, size=size)
    assert all(key == KEY.fold_in(2) for key in keys[: 1 if link.mean_decoder else 2])
    assert len(set(keys[-1 if link.mean_decoder else -2 :])) == (1 if link.mean_decoder else 2)
    assert KEY.fold_in(2) in keys[-2:]


def test_a_diagnosis_of_a_link_for_any_size():
    """On whole squares of four cells; its denoiser is told what the observation alone says, and finds more than what needs none."""
    link = SemanticLink.default("photos")
    told = []
    link.unet.register_forward_pre_hook(lambda _, inputs: told.append(inputs))
    found = diagnose_link(link, photographs(200), 5.0, 1, KEY)
    assert found.samples == 3 * 9
    assert found.dimensions == 32 * 8 * 8
    (level,) = found.levels
    assert level.posterior_mean < min(level.linear, level.elementwise, level.observation)
    noise_var = 10**-0.5
    for x, t, hints in told:
        a = link.schedule.alpha_bar(t).float()[:, None, None, None]
        torch.testing.assert_close(hints[:, :32], x / a.sqrt() / (1 + noise_var), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(hints[:, 32:], torch.full_like(x, noise_var / (1 + noise_var)).log())
    with pytest.raises(ValueError, match="images: expected at least 64 x 64 pixels, got 48 x 48"):
        diagnose_link(link, photographs(48))

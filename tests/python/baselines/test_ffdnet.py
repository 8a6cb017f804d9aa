# SPDX-License-Identifier: Apache-2.0
"""FFDNet against what its authors publish, and the receiver that has it in the place of diffusion."""

import pytest
import torch

import semdiff
from semdiff.baselines import FFDNet, FFDNetReceiver
from semdiff.baselines.ffdnet import noise_deviation
from semdiff.data import sample_images
from semdiff.link import SemanticLink
from semdiff.metrics import psnr
from tests.python.pretrained import installed
from tests.python.small_links import LATENT_LINK

skimage_data = pytest.importorskip("skimage.data")
KEY = semdiff.Key(8)


@pytest.fixture(scope="module")
def network():
    return installed(FFDNet)


def photograph():
    return torch.from_numpy(skimage_data.astronaut()).permute(2, 0, 1)[None, :, 100:356, 100:356] / 255


@pytest.mark.parametrize(("deviation", "published"), [(15, 33.87), (25, 31.21), (50, 27.96)])
def test_photographs_come_out_as_published(network, deviation, published):
    """CBSD68 averages of arXiv 1710.04026, table 5, colour. One photograph is not their average: within 3 dB of it."""
    clean, sigma = photograph(), deviation / 255
    noisy = clean + sigma * semdiff.normal(clean.shape, KEY)
    cleaned = network(noisy, torch.tensor([sigma])).clamp(0, 1)
    assert float(psnr(cleaned, clean)) == pytest.approx(published, abs=3.0)
    assert float(psnr(cleaned, clean)) > float(psnr(noisy.clamp(0, 1), clean)) + 7


def test_the_noise_map_matters_and_sizes_may_be_odd(network):
    images = photograph()[..., :33, :47].repeat(2, 1, 1, 1)
    out = network(images, torch.tensor([0.0, 0.2]))
    assert out.shape == images.shape
    assert float(psnr(out[:1].clamp(0, 1), images[:1])) > float(psnr(out[1:].clamp(0, 1), images[1:])) + 5
    torch.testing.assert_close(network(images[1:], torch.tensor([0.2])), out[1:])


@pytest.mark.parametrize("deviation", [0.02, 0.1])
def test_noise_is_found(deviation):
    smooth = torch.linspace(0, 1, 128).outer(torch.linspace(0, 1, 127)).expand(2, 3, -1, -1)
    found = noise_deviation(smooth + deviation * semdiff.normal(smooth.shape, KEY))
    torch.testing.assert_close(found, torch.full((2,), deviation), rtol=0.05, atol=0)  # 4,032 details a channel: 1.2 % over three


def test_the_receiver_removes_white_noise_from_pictures(network):
    clean = photograph()
    noisy = (clean + 0.1 * semdiff.normal(clean.shape, KEY)).clamp(0, 1)
    receiver = FFDNetReceiver()
    assert float(psnr(receiver.denoise(noisy), clean)) > float(psnr(noisy, clean)) + 7
    grey = noisy.mean(1, keepdim=True)  # a third of the noise power; and its three copies are not the independent ones FFDNet expects
    assert float(psnr(receiver.denoise(grey), clean.mean(1, keepdim=True))) > float(psnr(grey, clean.mean(1, keepdim=True))) + 2


@pytest.mark.parametrize(
    ("model", "mean"), [("fashion-mnist", {"realism": 0.0}), (LATENT_LINK, {"diffusion": False})], ids=["pixels", "latents"]
)
def test_it_transmits_like_the_link_it_has(network, model, mean):
    receiver, images = FFDNetReceiver(SemanticLink.from_pretrained(model)), sample_images()
    sent = receiver.transmit(images, 5.0, cbr=1 / 24, key=KEY)
    plain = receiver.link.transmit(images, 5.0, cbr=1 / 24, key=KEY, **mean)
    assert sent.ledger == plain.ledger
    assert torch.equal(sent.snr_db, plain.snr_db)
    torch.testing.assert_close(sent.images, receiver.denoise(plain.images))
    assert sent.t.isnan().all()


def test_absent_or_damaged_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ffdnet_color\.pth"):
        FFDNet(tmp_path)
    (tmp_path / "ffdnet_color.pth").write_bytes(b"no")
    with pytest.raises(ValueError, match="sha256"):
        FFDNet(tmp_path)

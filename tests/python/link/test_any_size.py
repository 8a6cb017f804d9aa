# SPDX-License-Identifier: Apache-2.0
"""Links for images of any size, untrained: shapes, books, independence of batch mates and of what lies far away, files, bad input."""

import math

import pytest
import torch

import semdiff

pytest.importorskip("diffusers")

from semdiff.link import SemanticLink
from semdiff.models.pixel_blocks import from_blocks, to_blocks
from semdiff.transmission.header import HEADER_USES
from semdiff.transmission.symbols import ReceivedFeatures, clamp_snr
from tests.python.photographs import photograph
from tests.python.small_links import any_size_link

KEY = semdiff.Key(5)
SIZES = [(32, 48), (50, 33), (16, 16)]


@pytest.fixture(scope="module")
def link():
    return any_size_link()


def pictures(height, width, count=2):
    return torch.cat([photograph(n)[..., :height, :width] for n in ("chelsea", "coffee")[:count]])


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("block", [4, 8])
def test_blocks_of_any_size_and_back(size, block):
    x = pictures(*size)
    blocks = to_blocks(x, block, "replicate")
    assert blocks.shape == (2, 3 * block**2, *(-(-n // (2 * block)) * 2 for n in size))
    torch.testing.assert_close(from_blocks(blocks, *size, block), x)


@pytest.mark.parametrize("size", SIZES)
def test_sizes_and_books(link, size):
    x = pictures(*size)
    cells = -(-size[0] // 16) * -(-size[1] // 16)
    for cbr, channels in ((1 / 12, 128), (1 / 24, 64), (1 / 48, 32)):
        for realism, evaluations in ((0.0, 0), (1.0, 2), (0.5, 2)):
            done = link.transmit(x, 5.0, cbr=cbr, steps=2, realism=realism, key=KEY)
            assert done.images.shape == x.shape
            assert 0 <= done.images.min() <= done.images.max() <= 1
            assert done.ledger.total == cells * channels // 2 + HEADER_USES
            assert done.ledger.source_values == x[0].numel()
            assert done.evaluations == evaluations
    assert link.cbrs == pytest.approx({128: 1 / 12, 64: 1 / 24, 32: 1 / 48})


def test_the_two_halves_are_the_whole(link):
    x = pictures(50, 33)
    symbols = link.send(x, cbr=1 / 24, snr_db=5.0)
    base = semdiff.Key(9)
    received = semdiff.AWGN()(symbols, 5.0, base.fold_in(0))
    whole = link.transmit(x, 5.0, cbr=1 / 24, steps=2, key=base)
    parts = link.receive(received.y, received.noise_var.flatten(), steps=2, key=base, size=(50, 33))
    torch.testing.assert_close(parts, whole.images)


def test_a_result_does_not_depend_on_batch_mates(link):
    x = pictures(32, 48)
    together = link.transmit(x, 5.0, steps=2, key=KEY).images
    alone = link.transmit(x[:1], 5.0, steps=2, key=KEY).images
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:snr_db. this model was trained for")
def test_better_than_clear_is_clear(link):
    """Both ends are told no SNR beyond those that training met."""
    x, told = pictures(32, 48), []
    hook = link.downsampler.register_forward_pre_hook(lambda _, inputs: told.append(inputs[1]))

    def noise(snr_db_sent: float, noise_var: float):
        received = link.received(link.send(x, snr_db_sent, cbr=1 / 24), noise_var, size=(32, 48))
        return link.equalize_and_upsample(received, key=KEY, size=(32, 48)).noise_var

    heard = [noise(20.0, 10 ** (-snr_db / 10)) for snr_db in (-6.0, 4.0)]
    link.send(x, cbr=1 / 24, snr_db=90.0)
    best = 10 ** (-link.config.clearest_db / 10)
    beyond = noise(90.0, 1e-9)
    hook.remove()
    assert all(bool((t <= link.config.clearest_db).all()) for t in told)
    assert torch.equal(told[-1], torch.full_like(told[-1], link.config.clearest_db))
    torch.testing.assert_close(beyond, torch.full_like(beyond, best))
    assert bool((heard[0] > best).all())
    assert bool((heard[0] > heard[1]).all())
    hardly = noise(20.0, 1e3)
    torch.testing.assert_close(hardly, torch.full_like(hardly, 10 ** (-link.config.faintest_db / 10)))


def test_fainter_than_known_is_made_as_noisy_as_known():
    """Then a network that is told the most noise that it knows meets that much, and a fainter picture; else nothing changes."""
    noise_var = torch.tensor([0.1, 8.0, 800.0], dtype=torch.float64)
    features = noise_var.sqrt().float()[:, None, None, None] * semdiff.normal((3, 2, 64, 64), KEY)
    arrived = ReceivedFeatures(features, noise_var, torch.zeros_like(features))
    kept = clamp_snr(arrived, -10 * math.log10(8.0), 5.0)
    torch.testing.assert_close(kept.noise_var, torch.tensor([10**-0.5, 8.0, 8.0], dtype=torch.float64))
    assert torch.equal(kept.features[:2], features[:2])
    torch.testing.assert_close(kept.features[2].square().mean(), torch.tensor(8.0), rtol=0.03, atol=0)
    assert all(torch.equal(a, b) for a, b in zip(clamp_snr(arrived, -math.inf, math.inf), arrived, strict=True))


def test_no_norm_looks_at_the_whole_picture(link):
    """Far from a change nothing changes: a denoiser with group norm would fail here, and could not be tiled."""
    z = semdiff.normal((1, 4, 8, 64), KEY)
    other = z.clone()
    other[..., 48:] += 1
    t, hints = torch.tensor([300.0]), torch.zeros(1, 8, 8, 64)
    with torch.no_grad():
        a, b = (link.unet(v, t, hints).sample for v in (z, other))
        mean_a, mean_b = (link.mean_decoder(v, torch.zeros_like(v)) for v in (z, other))
    torch.testing.assert_close(a[..., :16], b[..., :16])
    torch.testing.assert_close(mean_a[..., :16], mean_b[..., :16])
    assert not torch.allclose(a, b)


def test_files(link, tmp_path):
    link.save_pretrained(tmp_path)
    again = SemanticLink.from_pretrained(tmp_path)
    x = pictures(32, 48)
    assert torch.equal(again.transmit(x, 5.0, steps=2, key=KEY).images, link.transmit(x, 5.0, steps=2, key=KEY).images)
    assert again.image_shape == (3, None, None)


def test_bad_input(link):
    x = pictures(32, 48)
    with pytest.raises(ValueError, match=r"images: expected a float tensor of shape \(B, 3, H, W\) in \[0, 1\]"):
        link.transmit(x[:, :1], 5.0)
    with pytest.raises(ValueError, match=r"cbr: expected a ratio within 5 % of one that this model offers \(0.0833 \(1/12.0\), 0.0417"):
        link.transmit(x, 5.0, cbr=1 / 60)
    symbols = link.send(x, cbr=1 / 24)
    with pytest.raises(ValueError, match="size: expected the height and width of the images, since this model takes any, got None"):
        link.receive(symbols, 0.1)
    with pytest.raises(ValueError, match=r"symbols: expected shape \(B, uses\) with uses one of"):
        link.receive(symbols, 0.1, size=(48, 48))
    fashion = SemanticLink.default()
    symbols = fashion.send(torch.zeros(1, 1, 28, 28))
    with pytest.raises(ValueError, match=r"size: expected \(28, 28\), which this model was trained for, got \(32, 48\)"):
        fashion.receive(symbols, 0.1, size=(32, 48))


def test_the_command_sends_pictures_of_several_sizes(link, tmp_path):
    pytest.importorskip("typer")
    from semdiff.cli.app import app
    from semdiff.data import read_picture
    from semdiff.data.pictures import to_picture

    link.save_pretrained(tmp_path / "model")
    paths = []
    for i, size in enumerate([(32, 48), (32, 48), (50, 33)]):
        paths.append(tmp_path / f"{i}.png")
        to_picture(pictures(*size)[i % 2]).save(paths[-1])
    folders = ["--model", str(tmp_path / "model"), "--out", str(tmp_path / "out")]
    words = ["transmit", *map(str, paths), *folders, "--cbr", "1/24", "--steps", "1"]
    with pytest.raises(SystemExit, match="0"):
        app(words)
    for path in paths:
        assert read_picture(tmp_path / "out" / path.name).shape == read_picture(path).shape
    batch = torch.stack([read_picture(p).float() / 255 for p in paths[:2]])
    sent = link.transmit(batch, 10.0, cbr=1 / 24, steps=1, key=semdiff.Key(0).fold_in(0)).images
    assert torch.equal(read_picture(tmp_path / "out" / "1.png"), (sent[1] * 255).round().to(torch.uint8))

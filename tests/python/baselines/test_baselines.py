# SPDX-License-Identifier: Apache-2.0
"""The digital baseline and the bounds: known numbers, bytes that Pillow reads back, and block errors that were really simulated."""

import io
import math
import sys

import pytest
import torch

import semdiff
from semdiff.data import sample_images

pytest.importorskip("PIL")
pytest.importorskip("diffusers")
pytest.importorskip("sionna", reason="needs sionna-no-rt: pip install 'semdiff-torch[eval]'")

from PIL import Image

from semdiff.baselines import Capacity, Digital, Hybrid, capacity_bits, opta_psnr_db
from semdiff.baselines.codecs import FORMATS, _avif_saved, _jp2, compress, decompress, rebuild
from semdiff.baselines.modem import Modem, Scheme, shared_modem
from semdiff.baselines.packet import read_packet, write_packet
from semdiff.baselines.schemes import Threshold, choose_scheme, load_thresholds, needed_snr_db
from semdiff.baselines.thresholds import block_error_rate, interpolate_threshold

KEY = semdiff.Key(11)


def picture(mode="L", size=(40, 24)):
    x, y = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="xy")
    planes = torch.stack([x * 4, y * 6, (x * y) % 200]).to(torch.uint8).permute(1, 2, 0).contiguous()
    return Image.fromarray(planes.numpy()).convert(mode)


# Bounds


@pytest.mark.parametrize(("snr_db", "bits"), [(0, 512), (5, 1053), (10, 1771), (20, 3409)])
def test_capacity_of_512_uses(snr_db, bits):
    assert capacity_bits(512, snr_db).round() == bits


def test_capacity_of_known_gains():
    h = torch.tensor([[1 + 0j, 0.5j, 0], [2, 2, 2]])
    snr = torch.tensor([0.0, 10.0], dtype=torch.float64)
    expected = [1 + math.log2(1.25), 3 * math.log2(41)]
    torch.testing.assert_close(capacity_bits(3, snr, h), torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(capacity_bits(3, 10.0, h[1:, :1]), torch.tensor([3 * math.log2(41)], dtype=torch.float64))


def test_opta_is_uncoded_transmission_where_that_is_optimal():
    # A complex Gaussian symbol carries two real numbers: sent as they are, their MMSE is variance / (1 + snr).
    for snr_db in (0.0, 7.0, 20.0):
        mse = 0.3 / (1 + 10 ** (snr_db / 10))
        assert opta_psnr_db(50, snr_db, 100, 0.3).item() == pytest.approx(-10 * math.log10(mse))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: capacity_bits(-1, 0.0), "uses"),
        (lambda: capacity_bits(1, math.inf), "snr_db"),
        (lambda: capacity_bits(3, 0.0, torch.ones(2, 2)), "h"),
        (lambda: capacity_bits(3, torch.zeros(3), torch.ones(2, 3)), "snr_db"),
        (lambda: opta_psnr_db(1, 0.0, 0, 1.0), "values"),
        (lambda: opta_psnr_db(1, 0.0, 1, 0.0), "variance"),
    ],
)
def test_bounds_name_bad_arguments(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Codecs


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("kind", FORMATS)
def test_budget_is_kept_and_used(kind, mode):
    errors = []
    for budget in (1, 150, 300, 600):
        content = compress(picture(mode), kind, budget)
        if content is None:
            assert budget <= 150
            continue
        assert len(content) <= budget
        shown = decompress(content, kind, mode, (40, 24))
        assert (shown.mode, shown.size) == (mode, (40, 24))
        errors.append(float((pixels(shown) - pixels(picture(mode))).square().mean()))
    assert len(errors) >= 2
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > errors[-1]


def pixels(image):
    return torch.tensor(list(image.convert("RGB").tobytes())).float()


def test_rebuilt_files_are_pillows_own():
    source = picture()
    file = io.BytesIO()
    source.save(file, "JPEG", quality=100)
    assert rebuild(compress(source, "jpeg", 10**6), "jpeg", "L", source.size) == file.getvalue()
    file = io.BytesIO()
    source.convert("RGB").save(file, "WEBP", quality=100, method=6)
    assert rebuild(compress(source, "webp", 10**6), "webp", "L", source.size) == file.getvalue()
    assert rebuild(compress(source, "avif", 10**6), "avif", "L", source.size) == _avif_saved(source, 99)
    assert _jp2(source, 400) is not None  # it compares by itself


@pytest.mark.parametrize("kind", FORMATS)
def test_an_empty_stream_is_a_value_error(kind):
    with pytest.raises(ValueError, match="content"):
        decompress(b"", kind, "L", (40, 24))


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 2, 5), (1, 28, 28)])
@pytest.mark.parametrize("formats", [("jpeg",), FORMATS])
def test_packets_give_the_picture_back(shape, formats):
    image = torch.full(shape, 0.6)
    packet = write_packet(image, 1000, formats)
    assert packet.shape == (1000,)
    assert (read_packet(packet, shape, formats) - image).abs().max() < 0.02


def test_what_does_not_fit_and_what_is_damaged_is_no_picture():
    image = sample_images()[0]
    for bits in (0, 3, 20):
        assert read_packet(write_packet(image, bits, FORMATS), (1, 28, 28), FORMATS) is None
    assert read_packet(torch.ones(100), (1, 28, 28), FORMATS) is None


# Modem


def test_transports_are_cut_into_blocks_and_arrive():
    coder = Modem(9001, Scheme(2, thresholds_rate("2/3")))
    assert (coder.blocks, coder.block_uses) == (2, 4500)
    assert coder.info_bits == 2 * (6000 - 24)
    bits = torch.zeros(1, coder.info_bits)  # the scrambler makes all points equally likely
    symbols = coder.send(bits)
    assert symbols.shape == (1, 9001)
    assert symbols.abs().square().mean() == pytest.approx(1, abs=1e-4)
    y, _, noise_var = semdiff.AWGN()(symbols, 8.0, KEY)
    decoded, arrived = coder.receive(y, noise_var)
    assert arrived.all()
    assert torch.equal(decoded, bits)


def thresholds_rate(text):
    return next(scheme.rate for scheme in load_thresholds() if str(scheme.rate) == text)


def test_cliff():
    scheme = choose_scheme(128, 10.5, 0.01)
    needed = needed_snr_db(scheme, 128, 0.01)
    assert needed <= 10.5
    assert block_error_rate(shared_modem(128, scheme), needed + 1, 64, KEY) == 0
    assert block_error_rate(shared_modem(128, scheme), needed - 3, 64, KEY) > 0.9


def test_faster_schemes_need_more_and_longer_blocks_less():
    for uses in (64, 128, 512):
        ranked = sorted((s for s in load_thresholds() if uses in load_thresholds()[s]), key=lambda s: s.efficiency)
        snrs = [load_thresholds()[s][uses].hundredth for s in ranked]
        assert snrs == sorted(snrs)
        for scheme in ranked:
            # Shannon: no scheme below its capacity; and none further than 4 dB above it
            limit = 10 * math.log10(2**scheme.efficiency - 1)
            assert limit < load_thresholds()[scheme][uses].tenth < load_thresholds()[scheme][uses].hundredth < limit + 4.5
    assert load_thresholds()[Scheme(2, thresholds_rate("1/2"))][512].tenth < load_thresholds()[Scheme(2, thresholds_rate("1/2"))][64].tenth


def test_threshold_interpolates():
    assert interpolate_threshold([(0.0, 1.0), (1.0, 0.1), (3.0, 0.001)], 0.01) == pytest.approx(2.0)
    assert Threshold(1.0, 1.5).at(0.001) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="both sides"):
        interpolate_threshold([(0.0, 1.0), (1.0, 0.5)], 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("snr_db", [5.0, 11.0, 19.0])
def test_block_error_rate_at_the_chosen_scheme(snr_db):
    scheme = choose_scheme(64, snr_db, 0.1)
    # 0.1 is the target; three standard deviations of 400 trials are 0.045
    assert block_error_rate(shared_modem(64, scheme), snr_db, 400, KEY, enough=400) < 0.145


# Whole


def test_digital_over_a_good_channel_shows_the_packets_picture():
    images = sample_images()[:2]
    out = Digital("jpeg").transmit(images, 25.0, cbr=1 / 4, key=KEY)
    scheme = Digital("jpeg").scheme(196, 25.0)
    for shown, image in zip(out.images, images, strict=True):
        assert torch.equal(shown, read_packet(write_packet(image, shared_modem(196, scheme).info_bits, ("jpeg",)), (1, 28, 28), ("jpeg",)))
    assert (out.ledger.payload, out.ledger.total, out.ledger.source_values) == (196, 196, 784)
    assert out.snr_db.tolist() == pytest.approx([25, 25], abs=1)
    assert out.evaluations == 0


def test_digital_falls_off_the_cliff_and_shows_the_outage():
    images = sample_images()[:2]
    link = Digital("jpeg", design_snr_db=15.0, outage=0.25)
    assert bool((link.transmit(images, 5.0, cbr=1 / 6, key=KEY).images == 0.25).all())
    assert not bool((link.transmit(images, 18.0, cbr=1 / 6, key=KEY).images == 0.25).all(dim=(1, 2, 3)).any())


def test_each_sample_has_its_own_snr_and_does_not_know_the_others():
    images = sample_images()[:3]
    snr = torch.tensor([3.0, 12.0, 22.0])
    for system in (Digital("jpeg"), Capacity("jpeg")):
        whole = system.transmit(images, snr, cbr=1 / 6, key=KEY)
        part = system.transmit(images[:2], snr[:2], cbr=1 / 6, key=KEY)
        assert torch.equal(whole.images[:2], part.images)


def test_capacity_bounds_digital_and_counts_the_same_uses():
    images = sample_images()[:3]
    bound = Capacity("jpeg").transmit(images, 12.0, cbr=1 / 6, key=KEY, steps=8, realism=1.0)
    real = Digital("jpeg").transmit(images, 12.0, cbr=1 / 6, key=KEY, steps=8, realism=1.0)
    assert bound.ledger == real.ledger
    assert (bound.images - images).square().mean() < (real.images - images).square().mean()
    bits = int(capacity_bits(131, 12.0))
    assert torch.equal(bound.images[0], read_packet(write_packet(images[0], bits, ("jpeg",)), (1, 28, 28), ("jpeg",)))


def test_capacity_over_fading_is_that_of_the_gains():
    images, h = sample_images()[:2], torch.tensor([[2 + 0j], [0.5j]]).repeat(1, 131)
    h[:, ::2] *= 0.3
    out = Capacity("jpeg").transmit(images, 14.0, cbr=1 / 6, channel=semdiff.FixedChannel(h), key=KEY)
    for i, bits in enumerate(capacity_bits(131, 14.0, h).int().tolist()):
        assert torch.equal(out.images[i], read_packet(write_packet(images[i], bits, ("jpeg",)), (1, 28, 28), ("jpeg",)))


def test_capacity_and_digital_meet_the_same_fades():
    class Noted(semdiff.Rayleigh):
        def forward(self, s, snr_db, key=None):
            received = super().forward(s, snr_db, key)
            gains.append(received.h)
            return received

    gains, images = [], sample_images()[:3]
    for system in (Digital("jpeg"), Capacity("jpeg")):
        system.transmit(images, 15.0, cbr=1 / 6, channel=Noted(), key=KEY)
    assert torch.equal(*gains)


@pytest.mark.parametrize("uses", [130, 131])  # with 131 the last use of the two antennas is half empty
def test_digital_over_several_antennas(uses):
    images, channel = sample_images()[:2], semdiff.MIMO(2, 4)
    out = Digital("jpeg").transmit(images, 20.0, cbr=uses / 784, channel=channel, key=KEY)
    assert out.ledger.payload == channel.uses(uses).payload == 65 + uses % 2
    still = Digital("jpeg").transmit(images, 20.0, cbr=uses / 784, key=KEY)
    assert torch.equal(out.images, still.images)  # four receivers hear two streams better than one hears one
    assert (out.snr_db - 20 - 10 * math.log10(2)).abs().max() < 4


def test_digital_over_fading_loses_what_fades():
    images, h = sample_images()[:2], torch.tensor([[1j], [0.1 + 0j]])
    out = Digital("jpeg").transmit(images, 15.0, cbr=1 / 6, channel=semdiff.FixedChannel(h), key=KEY)
    still = Digital("jpeg").transmit(images, 15.0, cbr=1 / 6, key=KEY)
    assert torch.equal(out.images[0], still.images[0])
    assert bool((out.images[1] == 0.5).all())


@pytest.mark.parametrize("system", [Digital, Hybrid, Capacity])
@pytest.mark.parametrize(
    ("change", "error", "name"),
    [
        ({"images": torch.rand(1, 2, 8, 8)}, ValueError, "images"),
        ({"images": torch.rand(8, 8)}, ValueError, "images"),
        ({"images": torch.rand(1, 1, 8, 8) + 1}, ValueError, "images"),
        ({"images": torch.zeros(1, 1, 8, 8, dtype=torch.uint8)}, TypeError, "images"),
        ({"snr_db": math.nan}, ValueError, "snr_db"),
        ({"cbr": -1.0}, ValueError, "cbr"),
        ({"cbr": 1e-6}, ValueError, "cbr"),
        ({"cbr": "much"}, TypeError, "cbr"),
        ({"steps": 0}, ValueError, "steps"),
        ({"realism": 2.0}, ValueError, "realism"),
    ],
)
def test_bad_input_is_named(system, change, error, name):
    with pytest.raises(error, match=name):
        system().transmit(**({"images": sample_images()[:1], "snr_db": 10.0} | change))


def test_an_absent_sionna_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "sionna.phy", None)
    with pytest.raises(ImportError, match=r"semdiff-torch\[eval\]"):
        Digital()


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="codec"):
        Digital("png")
    with pytest.raises(ValueError, match="target_bler"):
        Digital(target_bler=0.0)
    with pytest.raises(ValueError, match="cbr"):
        Digital().transmit(sample_images()[:1], 10.0, cbr=1 / 100)
    with pytest.raises(ValueError, match="uses"):
        Modem(8, Scheme(2, thresholds_rate("1/2")))

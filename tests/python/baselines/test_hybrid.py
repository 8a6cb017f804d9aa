# SPDX-License-Identifier: Apache-2.0
"""`Hybrid`: what it costs, what it is at its ends, and how it behaves beside the SNR that it was made for."""

import pytest
import torch

import semdiff
from semdiff.data import sample_photos

pytest.importorskip("PIL")
pytest.importorskip("sionna", reason="needs sionna-no-rt: pip install 'semdiff-torch[eval]'")

from semdiff.baselines import Digital, Hybrid
from semdiff.baselines.residual import profile_bits

KEY = semdiff.Key(21)
CBR = 1 / 12


def photo(height=128, width=160):
    return sample_photos()[:1, :, :height, :width]


def psnr(sent, images):
    return float(-10 * (sent.images - images).square().mean().log10())


@pytest.mark.parametrize("size", [(128, 160), (97, 131)])
@pytest.mark.parametrize("share", [0.4, 0.7, 1.0])
def test_all_uses_are_counted_and_have_unit_power(size, share):
    images = photo(*size)
    sent = Hybrid(share, codec="jpeg").transmit(images, 10.0, cbr=CBR, key=KEY)
    assert sent.ledger.total == round(CBR * images[0].numel())
    # The measured SNR is sum |s|^2 over sum |n|^2: power is not above the nominal one, and the scale's step takes 0.1 dB of the residual's.
    uses = sent.ledger.total
    assert float(sent.snr_db) == pytest.approx(10.0, abs=0.1 + 3 * 4.34 * (2 / uses) ** 0.5)


def test_the_whole_share_is_digital():
    images = photo()
    ours, theirs = (s.transmit(images, 7.0, cbr=CBR, key=KEY) for s in (Hybrid(1.0, codec="webp"), Digital("webp")))
    assert torch.equal(ours.images, theirs.images)


def test_a_picture_too_small_for_a_profile_is_sent_as_digital():
    images = photo(32, 32)  # 256 uses, whose packet would be half full of the profile
    assert Hybrid().modem(256, 10.0, 3).uses == 256
    ours, theirs = (s.transmit(images, 10.0, cbr=CBR, key=KEY) for s in (Hybrid(codec="jpeg"), Digital("jpeg")))
    assert torch.equal(ours.images, theirs.images)


def test_a_packet_is_never_half_full_of_the_profile():
    for uses in (64, 512, 2048, 8192):
        for snr_db in (-3.0, 5.0, 20.0):
            modem = Hybrid().modem(uses, snr_db, 3)
            assert modem.uses == uses or modem.info_bits >= 2 * profile_bits(3)


def test_the_picture_improves_with_the_snr_where_a_codecs_stays():
    images = photo(256, 256)
    hybrid, digital = Hybrid(0.6, codec="webp", design_snr_db=6.0), Digital("webp", design_snr_db=6.0)
    ours = [psnr(hybrid.transmit(images, snr, cbr=CBR, key=KEY), images) for snr in (6.5, 12.0, 30.0, 80.0)]
    theirs = [psnr(digital.transmit(images, snr, cbr=CBR, key=KEY), images) for snr in (6.5, 80.0)]
    assert ours[1] > ours[0] + 0.2
    assert ours[2] > ours[1] + 0.1
    assert ours[3] >= ours[2]
    assert theirs[0] == theirs[1]


def test_the_residual_brings_more_than_it_costs_the_base():
    images = photo(256, 256)
    base = Digital("webp").transmit(images, 6.0, cbr=0.7 * CBR, key=KEY)
    assert psnr(Hybrid(0.7, codec="webp").transmit(images, 6.0, cbr=CBR, key=KEY), images) > psnr(base, images) + 0.5


def test_a_margin_survives_a_channel_that_is_worse_by_as_much():
    images = photo()
    for margin, lost in ((0.0, True), (3.0, False)):
        sent = Hybrid(codec="jpeg", margin_db=margin, design_snr_db=8.0).transmit(images, 5.5, cbr=CBR, key=KEY)
        assert bool((sent.images == 0.5).all()) == lost


def test_a_packet_that_is_lost_is_noticed_and_shows_the_outage():
    outage = torch.tensor([0.2, 0.3, 0.4])[:, None, None].expand(3, 128, 160)
    sent = Hybrid(codec="jpeg", design_snr_db=12.0, outage=outage).transmit(photo(), 0.0, cbr=CBR, key=KEY)
    assert torch.equal(sent.images[0], outage)


def test_a_bit_that_is_wrong_is_noticed():
    class OneBlockErased(semdiff.AWGN):
        """Noise, and 400 symbols of the packet replaced by others."""

        def forward(self, s, snr_db, key=None):
            received = super().forward(s, snr_db, key)
            y = received.y.clone()
            y[:, 100:500] = -y[:, 100:500]
            return received._replace(y=y)

    sent = Hybrid(codec="jpeg").transmit(photo(), 10.0, cbr=CBR, channel=OneBlockErased(), key=KEY)
    assert bool((sent.images == 0.5).all())


@pytest.mark.parametrize("colour", [0.0, 0.37, 1.0])
def test_pictures_of_one_colour(colour):
    images = torch.full((1, 3, 128, 128), colour)
    sent = Hybrid(codec="jpeg").transmit(images, 5.0, cbr=CBR, key=KEY)
    assert float((sent.images - images).abs().max()) < 0.02


def test_grey_pictures():
    images = photo(256, 256)[:, :1]
    sent = Hybrid(codec="webp").transmit(images, 5.0, cbr=CBR, key=KEY)
    assert Hybrid().modem(sent.ledger.total, 5.0, 1).uses < sent.ledger.total
    assert psnr(sent, images) > psnr(Digital("webp").transmit(images, 5.0, cbr=0.7 * CBR, key=KEY), images)


def test_a_picture_does_not_depend_on_its_batch():
    images = torch.cat([photo(), photo().flip(3)])
    snr_db = torch.tensor([4.0, 11.0])
    channel = semdiff.FixedChannel(1.0)
    both = Hybrid(codec="jpeg", design_snr_db=8.0).transmit(images, 60.0 + 0 * snr_db, cbr=CBR, channel=channel, key=KEY)
    alone = Hybrid(codec="jpeg", design_snr_db=8.0).transmit(images[:1], 60.0, cbr=CBR, channel=channel, key=KEY)
    torch.testing.assert_close(both.images[:1], alone.images, atol=1e-5, rtol=0)


def test_a_gain_for_each_symbol():
    images = photo(256, 256)
    sent = Hybrid(codec="webp", margin_db=6.0).transmit(images, 15.0, cbr=CBR, channel=semdiff.Rayleigh("fast"), key=KEY)
    assert sent.ledger.total == round(CBR * images[0].numel())
    assert bool(sent.images.isfinite().all())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"share": 0.0}, "share: expected a number above 0"),
        ({"share": 1.2}, r"share: expected a number in \[0, 1\]"),
        ({"margin_db": float("nan")}, "margin_db: expected finite"),
        ({"codec": "bmp"}, "codec: expected best or one of"),
        ({"target_bler": 0.9}, "target_bler: expected a share"),
        ({"design_snr_db": float("inf")}, "design_snr_db: expected finite"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        Hybrid(**options)

# SPDX-License-Identifier: Apache-2.0
"""The link over every channel and wrapper, with small untrained networks: what must hold for any weights."""

from __future__ import annotations

import math

import pytest
import torch

import semdiff
from semdiff.data import sample_images
from semdiff.phy.channel import Channel, Received, Uses, measured_snr_db, without_noise

pytest.importorskip("diffusers")

from semdiff.link import Ledger, SemanticLink
from semdiff.training.recipes.latents import build
from semdiff.transmission.symbols import symbols_to_features

KEY = semdiff.Key(5)
SNR_DB = torch.tensor([4.0, 12.0] * 5, dtype=torch.float64)
RATE, SHAPE = 8, (8, 4, 4)  # 64 symbols
AWGN, MIMO, Multipath, Pilots = semdiff.AWGN(), semdiff.MIMO, semdiff.Multipath, semdiff.Pilots


def db(ratio: float) -> float:
    return 10 * math.log10(ratio)


# The channel, what it makes of 64 symbols, and where theory has the measured SNR on average: dB above the one asked for. None where the
# receiver's estimate is in the way, or symbols of unequal power meet unequal gains. A receive antenna hears nt times as much; an estimate
# from m pilots adds N0 / m to the noise.
CASES: dict[str, tuple[Channel, Uses, float | None]] = {
    "awgn": (AWGN, Uses(64), 0.0),
    "rayleigh": (semdiff.Rayleigh(), Uses(64), None),
    "rayleigh, fast": (semdiff.Rayleigh("fast"), Uses(64), 0.0),
    "rayleigh, 5": (semdiff.Rayleigh(5), Uses(64), None),
    "rician": (semdiff.Rician(20.0), Uses(64), 0.0),
    "rician, fast": (semdiff.Rician(3.0, "fast"), Uses(64), 0.0),
    "given": (semdiff.FixedChannel(0.5j), Uses(64), db(0.25)),
    "given, by symbol": (semdiff.FixedChannel(torch.polar(torch.ones(64), torch.arange(64.0))), Uses(64), 0.0),
    "mimo": (MIMO(2, 2, coherence="fast"), Uses(32), db(2)),
    "mimo, padded": (MIMO(3, 4, coherence="fast"), Uses(22), db(3 * 64 / 66)),
    "mimo, one receiver": (MIMO(2, 1, coherence="fast"), Uses(32), db(2)),
    "mimo, equal": (MIMO(2, 2, "equal", coherence="fast"), Uses(32), None),
    "mimo, waterfilling": (MIMO(2, 3, "waterfilling", 0.5, coherence=4), Uses(32), None),
    "mimo, equalizing": (MIMO(2, 2, "equalizing"), Uses(32), None),
    "multipath": (Multipath(), Uses(64, cyclic_prefix=16), None),
    "multipath, given": (Multipath(gains=[1, 0.5j], cyclic_prefix=1), Uses(64, cyclic_prefix=1), None),
    "multipath, clipped": (Multipath(subcarriers=16, cyclic_prefix=8, papr_db=3.0), Uses(64, cyclic_prefix=32), None),
    "pilots": (Pilots(AWGN, 32), Uses(64, pilots=32), -db(1 + 1 / 32)),
    "pilots between": (Pilots(semdiff.Rayleigh(10), 2, "lmmse", every=8), Uses(64, pilots=16), None),
    "pilots of ofdm": (Pilots(Multipath(), 1, "lmmse"), Uses(64, pilots=64, cyclic_prefix=32), None),
    "impaired": (semdiff.HardwareImpairments(AWGN, 0.01, 1e-4, papr_db=3.0), Uses(64), None),
    "mistaken": (semdiff.ImperfectCSI(AWGN, snr_offset_db=3.0), Uses(64), 0.0),
    "mistaken mimo": (semdiff.ImperfectCSI(MIMO(2, 2), 0.01), Uses(32), None),
    "blind": (semdiff.BlindNoise(Pilots(semdiff.HardwareImpairments(semdiff.Rayleigh(), 0.001), 2)), Uses(64, pilots=2), None),
}


@pytest.fixture(scope="module")
def link() -> SemanticLink:
    made: SemanticLink = build(0).link()
    return made


@pytest.mark.parametrize("name", CASES)
def test_images_arrive_over_every_channel(link: SemanticLink, name: str) -> None:
    channel, uses, above = CASES[name]
    images = sample_images()
    got = link.transmit(images, SNR_DB, channel=channel, steps=1, realism=0.0, key=KEY)
    assert got.images.shape == images.shape
    assert bool(got.images.isfinite().all() & got.snr_db.isfinite().all() & got.t.isfinite().all())
    assert got.ledger == Ledger(source_values=784, **uses._asdict())
    if above is not None:
        assert average_gain_db(link, channel) == pytest.approx(above, abs=0.3)
    # Networks round differently in another batch.
    alone = link.transmit(images[:3], SNR_DB[:3], channel=channel, steps=1, realism=0.0, key=KEY)
    torch.testing.assert_close(alone.images, got.images[:3], rtol=0, atol=1e-4)
    torch.testing.assert_close(alone.snr_db, got.snr_db[:3], rtol=0, atol=1e-4)


def average_gain_db(link: SemanticLink, channel: semdiff.Channel) -> float:
    """Measured over stated SNR, averaged as a ratio over 200 blocks; 0.3 dB is a fade's own size over sqrt(200)."""
    symbols = link.send(sample_images(), snr_db=SNR_DB)
    ratios = []
    for seed in range(20):
        received = channel(symbols, SNR_DB, semdiff.Key(seed))
        measured = measured_snr_db(without_noise(symbols, received.h), received.y)
        ratios.append(10 ** ((measured - SNR_DB) / 10))
    return float(10 * torch.cat(ratios).mean().log10())


@pytest.mark.parametrize("name", CASES)
def test_what_arrives_does_not_depend_on_the_batch(link: SemanticLink, name: str) -> None:
    """Bit for bit, from the symbols to what the up-sampler is given, and in the measured SNR."""
    channel, _, _ = CASES[name]
    symbols = link.send(sample_images(), snr_db=SNR_DB)

    def heard(batch: int) -> list[torch.Tensor]:
        received = channel(symbols[:batch], SNR_DB[:batch], KEY)
        snr_db = measured_snr_db(without_noise(symbols[:batch], received.h), received.y)
        return [*map(torch.atleast_1d, received), *symbols_to_features(received, RATE, SHAPE), snr_db]

    whole = heard(10)
    for batch in (1, 3):
        for a, b in zip(heard(batch), whole, strict=True):
            assert torch.equal(a, b[: len(a)])


@pytest.mark.filterwarnings("ignore:snr_db. this model was trained for")
def test_a_gain_of_zero_and_no_noise_are_defined(link: SemanticLink) -> None:
    """A sample that is not heard, one beside it that is, one without noise, and one whose SNR has no digits in float32."""
    images = sample_images()[:2]
    dead = torch.tensor([[0j], [1.0 + 0j]])
    got = link.transmit(images, 10.0, channel=semdiff.FixedChannel(dead), steps=1, key=KEY)
    assert bool(got.images.isfinite().all())
    heard = link.transmit(images, 10.0, channel=semdiff.FixedChannel(torch.ones_like(dead)), steps=1, key=KEY)
    torch.testing.assert_close(got.images[1], heard.images[1], rtol=0, atol=1e-4)
    for channel, snr_db in (
        (semdiff.FixedChannel(1.0, 0.0), 10.0),
        (semdiff.FixedChannel(0.0, 0.0), 10.0),
        (AWGN, 200.0),
        (semdiff.Rayleigh("fast"), 200.0),
    ):
        assert bool(link.transmit(images, snr_db, channel=channel, steps=1, key=KEY).images.isfinite().all())


def test_a_symbol_of_no_gain_is_the_least_reliable() -> None:
    """The map says so, and its features are zero; the rest is as it would be with half the gain on average."""
    h = torch.ones(1, 64, dtype=torch.complex64)
    h[:, ::2] = 0  # a stream to which water-filling gives no power
    arrived = symbols_to_features(Received(h.clone(), h, torch.full((1, 1), 0.1, dtype=torch.float64)), 8, SHAPE)
    features, noise_map = (v.reshape(64, 2) for v in (arrived.features, arrived.noise_map))
    assert bool((features[::2] == 0).all())
    assert bool((noise_map[::2] == 6).all())
    average = 0.5 / 1.1  # of gains 1 / 1.1 and 0
    assert arrived.noise_var.item() == pytest.approx((1 - average) / average, rel=1e-6)
    expected = torch.full((32, 2), math.log(0.1 / arrived.noise_var.item()))
    torch.testing.assert_close(noise_map[1::2], expected)


def test_noise_far_below_the_symbols_keeps_its_digits() -> None:
    """At 100 dB 1 - gain is below float32's rounding; for a gain of one on every symbol it is still N0."""
    h = torch.polar(torch.ones(1, 64), torch.arange(64.0)[None])
    arrived = symbols_to_features(Received(h, h, torch.full((1, 1), 1e-10, dtype=torch.float64)), 8, SHAPE)
    assert arrived.noise_var.item() == pytest.approx(1e-10, rel=1e-6)


@pytest.mark.parametrize("csi", ["perfect", "ls"])
def test_images_arrive_over_sionnas_channel(link: SemanticLink, csi: str) -> None:
    pytest.importorskip("sionna")
    from semdiff.phy.sionna import SionnaOFDM

    got = link.transmit(sample_images(), SNR_DB, channel=SionnaOFDM("A", csi=csi), steps=1, realism=0.0, key=KEY)
    assert bool(got.images.isfinite().all())
    assert got.ledger == Ledger(source_values=784, payload=64, pilots=64, cyclic_prefix=10)

# SPDX-License-Identifier: Apache-2.0
"""The header that tells a receiver the power of a picture: every level comes back, through noise and fading, as often as a code may."""

import math

import pytest
import torch

import semdiff
from semdiff.transmission.header import (
    HEADER_USES,
    LOWEST_DB,
    PRIOR_MEAN_DB,
    PRIOR_STD_DB,
    STEP_DB,
    _codewords,
    scale_to_symbols,
    symbols_to_scale,
)
from semdiff.transmission.symbols import features_to_symbols, symbols_to_features

LEVELS = 10 ** ((LOWEST_DB + STEP_DB * torch.arange(128, dtype=torch.float64)) / 20)


def test_codewords_are_orthogonal():
    words = _codewords(torch.device("cpu"))
    assert torch.equal(words @ words.T, 64 * torch.eye(64, dtype=torch.int64))


def test_every_level_comes_back_and_symbols_have_power_one():
    symbols = scale_to_symbols(LEVELS)
    assert symbols.shape == (128, HEADER_USES)
    torch.testing.assert_close(symbols.abs(), torch.ones(128, HEADER_USES))
    torch.testing.assert_close(symbols_to_scale(symbols, torch.ones(128, HEADER_USES)), LEVELS)


def test_between_levels_the_nearest_beyond_them_the_end():
    scale = torch.tensor([1e-9, 0.0, 1.0, 1.01, 7.0])
    found = symbols_to_scale(scale_to_symbols(scale), torch.ones(5, HEADER_USES))
    torch.testing.assert_close(found[[0, 1, 4]], LEVELS[[0, 0, 127]])
    assert (20 * (found[2:4] / scale[2:4]).log10()).abs().max() <= STEP_DB / 2 + 1e-6


def most_likely(y, noise_var):
    """A receiver that is so sure of what it hears that what is usual does not count."""
    return symbols_to_scale(y, (1e4 / noise_var).expand_as(y))


def test_over_noise_it_errs_as_its_distance_says():
    """-5 dB: the union bound is 126 Q(sqrt(64 SNR)) = 4.3e-4; 40,000 headers hold 17 errors on average, so 40 are beyond chance. At -8 dB
    one in ten is lost: a code of more would be a mistake in this test."""
    level = LEVELS[torch.arange(40_000) % 128]
    for snr_db, most in ((-5.0, 40), (-8.0, 40_000 * 126 * 0.5 * math.erfc(math.sqrt(64 * 10**-0.8 / 2)))):
        y, _, noise_var = semdiff.AWGN()(scale_to_symbols(level), snr_db, semdiff.Key(7))
        errors = int((most_likely(y, noise_var) / level - 1).abs().gt(1e-6).sum())
        assert errors <= most
        assert errors > most / 20


def test_a_header_that_is_not_heard_says_what_is_usual():
    """The mean of the posterior has the least squared error in dB: less than the levels' own spread, and than the most likely level's.
    Without a header it is the mean of what is usual, of the 128 levels."""
    levels_db = LOWEST_DB + STEP_DB * torch.arange(128, dtype=torch.float64)
    usual = (-0.5 * ((levels_db - PRIOR_MEAN_DB) / PRIOR_STD_DB) ** 2).softmax(0)
    drawn = levels_db[torch.multinomial(usual, 4_000, replacement=True, generator=torch.Generator().manual_seed(1))]
    symbols = scale_to_symbols(10 ** (drawn / 20))

    def error_db(snr_db):
        y, _, noise_var = semdiff.AWGN()(symbols, snr_db, semdiff.Key(8))
        found = 20 * symbols_to_scale(y, (1 / noise_var).expand_as(y)).log10()
        return (found - drawn).square().mean().sqrt(), (20 * most_likely(y, noise_var).log10() - drawn).square().mean().sqrt()

    for snr_db, most in ((-20.0, 6.0), (-14.0, 5.5), (-10.0, 3.5), (-7.0, 0.9)):
        error, of_the_likely = error_db(snr_db)
        assert error < most
        assert error < of_the_likely
    unheard = symbols_to_scale(torch.zeros(1, HEADER_USES, dtype=torch.complex64), torch.zeros(1, HEADER_USES))
    torch.testing.assert_close(20 * unheard.log10(), (usual @ levels_db)[None])


@pytest.mark.parametrize("channel", [semdiff.AWGN(), semdiff.Rayleigh("fast"), semdiff.Rayleigh("block"), semdiff.Multipath(taps=4)])
@pytest.mark.parametrize("channels", [8, 3])
def test_features_arrive_with_their_power(channel, channels):
    """Without noise to speak of, features of different power come back as they were, not as unit power; the noise is theirs."""
    features = semdiff.normal((5, 8, 6, 10), semdiff.Key(1)) * torch.tensor([0.3, 0.7, 1.0, 1.5, 3.0]).view(5, 1, 1, 1)
    symbols = features_to_symbols(features, channels, header=True)
    assert symbols.shape == (5, HEADER_USES + channels * 30)
    received = channel(symbols, 60.0, semdiff.Key(2))
    arrived = symbols_to_features(received, channels, (8, 6, 10), header=True)
    scale = features[:, :channels].square().mean((1, 2, 3)).sqrt()
    told = (arrived.features[:, :channels].square().mean((1, 2, 3)).sqrt() / scale).log10() * 20
    assert told.abs().max() <= STEP_DB / 2 + 0.02
    assert not arrived.features[:, channels:].any()
    if received.h.dim() > 2:
        return  # antennas: nothing to cut
    payload = (v[:, HEADER_USES:] if v.shape[1] > 1 else v for v in received)
    plain = symbols_to_features(semdiff.Received(*payload), channels, (8, 6, 10))
    ratio = (arrived.noise_var / plain.noise_var).sqrt()
    torch.testing.assert_close(arrived.features, plain.features * ratio.float().view(5, 1, 1, 1), rtol=1e-4, atol=1e-5)
    assert (20 * (ratio / scale).log10()).abs().max() <= STEP_DB / 2 + 1e-3

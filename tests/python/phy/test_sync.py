# SPDX-License-Identifier: Apache-2.0
"""Frames: their layout and pulse against closed forms; the synchroniser over simulated radio paths, and on what holds no frame."""

from __future__ import annotations

import cmath
import math
from functools import cache

import numpy as np
import pytest
import torch

import semdiff
from semdiff.phy.sync import FrameSpec, impair, modulate, synchronize
from semdiff.phy.sync.detection import LARGEST_CFO, detect, frequencies
from semdiff.phy.sync.pulse import root_raised_cosine

SPEC = FrameSpec(payload=64)


def symbols(seed: int, spec: FrameSpec = SPEC) -> torch.Tensor:
    """Gaussian, as the link's are, with unit power."""
    return semdiff.normalize_power(torch.view_as_complex(semdiff.normal((1, spec.payload, 2), semdiff.Key(seed).fold_in(1))))[0]


def noise(count: int, seed: int) -> np.ndarray:
    return torch.view_as_complex(semdiff.normal((count, 2), semdiff.Key(seed))).numpy()


# The pulse and the frame


@pytest.mark.parametrize(("rate", "roll_off", "floor_db"), [(4, 0.25, -60), (2, 0.25, -55), (8, 0.5, -65)])
def test_the_pulse_is_a_root_of_a_nyquist_pulse(rate: int, roll_off: float, floor_db: float) -> None:
    h = root_raised_cosine(rate, roll_off, 12)
    at_symbols = np.convolve(h, h)[::rate]
    middle = len(at_symbols) // 2
    assert at_symbols[middle] == pytest.approx(1, abs=1e-12)
    assert 10 * math.log10(np.sum(np.delete(at_symbols, middle) ** 2)) < floor_db


def test_the_pulses_spectrum_is_the_closed_form() -> None:
    """|H(f)|^2 is 1 up to (1 - a) / 2, 0 from (1 + a) / 2, and a cosine between (f in cycles a symbol), times samples_per_symbol."""
    a, rate = 0.25, 4
    power = np.abs(np.fft.rfft(root_raised_cosine(rate, a, 64), 4096)) ** 2 / rate
    f = np.fft.rfftfreq(4096) * rate
    expected = np.where(f < (1 - a) / 2, 1.0, np.where(f > (1 + a) / 2, 0.0, 0.5 * (1 + np.cos(np.pi / a * (f - (1 - a) / 2)))))
    np.testing.assert_allclose(power, expected, atol=0.01)


@pytest.mark.parametrize(("length", "root"), [(61, 13), (31, 5), (63, 25)])
def test_zadoff_chu(length: int, root: int) -> None:
    """Constant modulus, zero cyclic autocorrelation (Chu, 1972), and the definition, element by element."""
    z = FrameSpec(1, preamble=length, root=root).sequence
    np.testing.assert_allclose(np.abs(z), 1, atol=1e-12)
    correlation = np.fft.ifft(np.abs(np.fft.fft(z)) ** 2)
    np.testing.assert_allclose(np.abs(correlation), np.eye(length)[0] * length, atol=1e-9)
    for k in (1, 7, length - 1):
        assert z[k] == pytest.approx(cmath.exp(-1j * math.pi * root * k * (k + 1) / length), abs=1e-9)


@pytest.mark.parametrize(
    ("payload", "spacing", "layout"), [(5, 2, "pp*pp*p*"), (4, 2, "pp*pp*"), (1, 8, "p*"), (9, 8, "pppppppp*p*"), (3, 1, "p*p*p*")]
)
def test_layout(payload: int, spacing: int, layout: str) -> None:
    spec = FrameSpec(payload, pilot_spacing=spacing)
    data, pilots = (set((places - 2 * spec.preamble).tolist()) for places in spec.places())
    assert "".join("p" if i in data else "*" if i in pilots else "?" for i in range(len(layout))) == layout
    assert spec.pilots == layout.count("*")
    assert spec.symbols == 2 * spec.preamble + len(layout)
    assert spec.samples == (2 * spec.guard + spec.symbols) * spec.samples_per_symbol


def test_a_matched_filter_gives_the_symbols_back() -> None:
    sent = symbols(0)
    samples = modulate(sent, SPEC)
    assert samples.dtype == np.complex64
    assert samples.shape == (SPEC.samples,)
    assert np.sum(np.abs(samples) ** 2) == pytest.approx(SPEC.symbols, rel=2e-3)  # unit energy for each symbol
    received = np.convolve(samples, SPEC.pulse, "same")[SPEC.guard * 4 :: 4][: SPEC.symbols]
    np.testing.assert_allclose(received[SPEC.places()[0]], sent[0].numpy(), atol=5e-3)
    places, values = SPEC.known()
    np.testing.assert_allclose(received[places], values, atol=5e-3)
    assert (samples[: (SPEC.guard - SPEC.span) * 4] == 0).all()


# The synchroniser


@cache
def trials(snr_db: float, count: int = 20, payload: int = 64) -> dict[str, np.ndarray]:
    """Errors over `count` paths: any delay, gain from -40 to +20 dB, any phase, frequency up to the limit, at the limit in every fourth."""
    spec, random, errors = FrameSpec(payload), np.random.default_rng(3), []
    for i in range(count):
        sent = symbols(i, spec)
        delay = random.uniform(0, 800) if i % 5 else float(random.integers(0, 800))
        gain, phase, cfo = random.uniform(-40, 20), random.uniform(-3.1, 3.1), random.uniform(-LARGEST_CFO, LARGEST_CFO)
        cfo = cfo if i % 4 else math.copysign(LARGEST_CFO, cfo)
        arrived = impair(modulate(sent, spec), spec, snr_db, delay, gain, phase, cfo, 500, semdiff.Key(i))
        (y, h, noise_var), found = synchronize(arrived, spec)
        assert (y.shape, h.shape, noise_var.shape) == ((1, payload), (1, payload), (1, 1))
        assert (y.dtype, h.dtype, noise_var.dtype) == (torch.complex64, torch.complex64, torch.float64)
        assert found.correlation > found.threshold
        x = (y / h)[0].numpy()
        errors.append(
            {
                "start": (found.start - delay) / 4 - spec.guard,
                "cfo": found.cfo - cfo,
                "snr": found.snr_db - snr_db,
                "gain": 20 * math.log10(found.gain) - gain,
                "phase": float(np.angle(np.vdot(sent[0].numpy(), x))),
                "loss": float(np.mean(np.abs(x - sent[0].numpy()) ** 2)) * 10 ** (snr_db / 10),
            }
        )
    return {name: np.array([e[name] for e in errors]) for name in errors[0]}


@pytest.mark.parametrize(("snr_db", "start", "cfo"), [(0.0, 0.2, 1.2e-3), (5.0, 0.1, 6e-4), (10.0, 0.05, 4e-4), (20.0, 0.02, 1.2e-4)])
def test_start_and_frequency_are_found_every_time(snr_db: float, start: float, cfo: float) -> None:
    """Bounds of five standard deviations, in symbols and cycles a symbol; all 20 paths must be found."""
    errors = trials(snr_db)
    assert np.abs(errors["start"]).max() < start
    assert np.abs(errors["cfo"]).max() < cfo


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_estimates_are_those_of_a_good_receiver(snr_db: float) -> None:
    """130 known symbols: the SNR's deviation is 4.34 / sqrt(128) = 0.38 dB a frame, more where the gain is uncertain; 0.09 dB over 20.

    The error of the straightened symbols is N0 and little more: below 0.4 dB of loss on average, of 20 x 64 symbols.
    """
    errors = trials(snr_db)
    assert abs(errors["snr"].mean()) < 0.5
    assert errors["snr"].std() < 1.0
    assert abs(errors["gain"].mean()) < 0.3
    assert errors["phase"].std() < 1.5 * math.sqrt(10 ** (-snr_db / 10) / 60)
    assert 0.85 < errors["loss"].mean() < 1.1


def test_no_noise() -> None:
    sent = symbols(0)
    (y, h, noise_var), found = synchronize(modulate(sent, SPEC), SPEC)
    assert found.start == pytest.approx(SPEC.guard * 4, abs=0.05)
    assert found.snr_db > 40
    assert noise_var.item() == pytest.approx(10 ** (-found.snr_db / 10))
    torch.testing.assert_close(y / h, sent, atol=0.03, rtol=0)


def test_the_result_is_the_channels_received() -> None:
    """What `equalize` makes of it is the sent symbols with the noise that it says."""
    arrived = impair(modulate(symbols(1), SPEC), SPEC, 10.0, 33.3, -20.0, 2.0, 0.01, key=semdiff.Key(1))
    received, found = synchronize(arrived, SPEC)
    assert isinstance(received, semdiff.Received)
    x = semdiff.equalize(received, "zf")
    measured = semdiff.measured_snr_db(symbols(1), x.x)
    assert measured.item() == pytest.approx(10, abs=2)
    assert x.noise_var.mean().item() == pytest.approx(10 ** (-found.snr_db / 10))


def test_a_drifting_phase_is_followed() -> None:
    """A random walk of 0.01 rad a symbol, 0.5 rad along the frame: without the pilots' phase the loss would be some 0.1 of the signal."""
    spec = FrameSpec(payload=4000)
    sent = symbols(2, spec)
    walk = np.cumsum(noise(spec.samples, 5).real * 0.01 / 2)
    arrived = impair(modulate(sent, spec), spec, 20.0, key=semdiff.Key(0)) * np.exp(1j * walk)
    (y, h, _), _ = synchronize(arrived, spec, coherence=30.0)
    assert (y / h - sent).abs().square().mean().item() < 0.02
    stiff, _ = synchronize(arrived, spec, coherence=1e5)
    assert (stiff.y / stiff.h - sent).abs().square().mean().item() > 0.04


def test_a_long_frame_needs_the_fine_frequency() -> None:
    """With one phase for all of 2,250 symbols, the coarse frequency's error of some 1e-4 cycles a symbol would turn it by a radian."""
    spec = FrameSpec(payload=2000)
    for seed in range(3):
        sent = symbols(seed, spec)
        arrived = impair(modulate(sent, spec), spec, 10.0, 50.5, cfo=0.0123, key=semdiff.Key(seed))
        (y, h, _), _ = synchronize(arrived, spec, coherence=1e5)
        assert (y / h - sent).abs().square().mean().item() == pytest.approx(0.1, rel=0.15)


def test_a_place_that_looks_much_like_the_start_is_not_taken_for_it() -> None:
    """A path at 0 dB whose best correlation on the bank's grid is 14 symbols away, at a frequency that is wrong by about 1 / N."""
    arrived = impair(modulate(symbols(14), SPEC), SPEC, 0.0, 300.5, cfo=-0.015, trailing=500, key=semdiff.Key(14))
    assert abs(detect(arrived, SPEC).candidates[0].start - 364) > 4
    assert synchronize(arrived, SPEC)[1].start == pytest.approx(364.5, abs=1)


def test_the_loudest_of_two_frames_among_noise_and_bursts() -> None:
    arrived = np.concatenate([impair(modulate(symbols(i), SPEC), SPEC, snr, 400.0, key=semdiff.Key(i)) for i, snr in ((0, 3.0), (1, 15.0))])
    arrived[100:300] *= 30  # a burst of noise, louder than both
    (y, h, _), found = synchronize(arrived, SPEC)
    assert found.start == pytest.approx(len(arrived) - SPEC.samples + SPEC.guard * 4, abs=1)
    assert (y / h - symbols(1)).abs().square().mean().item() < 0.1


def test_detection_is_its_formula() -> None:
    """rho against the sum written out, at the place and frequency that were found, with half a symbol of delay."""
    arrived = impair(modulate(symbols(0), SPEC), SPEC, 3.0, 50.5, key=semdiff.Key(9))
    best = detect(arrived, SPEC).candidates[0]
    k = np.arange(2 * SPEC.preamble)
    turned = arrived * np.exp(-2j * np.pi * best.cfo * (np.arange(len(arrived)) - best.start) / 4)
    template = np.tile(SPEC.sequence, 2)
    there = np.convolve(turned, SPEC.pulse, "same")[best.start + 4 * k]
    energy = np.sum(np.abs(np.convolve(arrived, SPEC.pulse, "same")[best.start + 4 * k]) ** 2)
    assert best.rho == pytest.approx(np.abs(np.vdot(template, there)) ** 2 / (len(k) * energy), rel=0.02)  # the template is filtered first
    assert best.cfo in frequencies(SPEC)


def test_a_long_recording_is_searched_in_blocks_without_seams() -> None:
    """Frames across the seams of a block of 2^15 samples, shorter by the template, are found like any other."""
    seam = 2**15 - (2 * SPEC.preamble - 1) * 4 - 2 * SPEC.span * 4
    for offset in (-300, -1, 0, 1):
        arrived = impair(modulate(symbols(0), SPEC), SPEC, 5.0, float(seam + offset - SPEC.guard * 4), trailing=2000, key=semdiff.Key(3))
        assert synchronize(arrived, SPEC)[1].start == pytest.approx(seam + offset, abs=0.5)


# What holds no frame


@pytest.mark.parametrize("count", [800, 5_000, 40_000])
def test_noise_alone_is_no_frame(count: int) -> None:
    for seed in range(5):
        with pytest.raises(ValueError, match="samples: no frame found, the best correlation with the preamble is 0"):
            synchronize(noise(count, seed), SPEC)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(5000, np.complex64),
        np.ones(5000, np.complex64),
        np.exp(0.3j * np.arange(5000)).astype(np.complex64),
        np.eye(1, 5000, 2500)[0].astype(np.complex64),
        np.zeros(0, np.complex64),
        np.ones(7, np.complex64),
    ],
    ids=["silence", "offset", "tone", "click", "nothing", "seven"],
)
def test_other_signals_are_no_frame(samples: np.ndarray) -> None:
    with pytest.raises(ValueError, match="samples: no frame found"):
        synchronize(samples, SPEC)


def test_another_frames_payload_is_no_frame() -> None:
    other = FrameSpec(payload=64, root=5)
    with pytest.raises(ValueError, match="no frame found"):
        synchronize(impair(modulate(symbols(0), other), other, 20.0, 100.0, key=semdiff.Key(0)), SPEC)


def test_a_cut_frame_says_so() -> None:
    arrived = impair(modulate(symbols(0), SPEC), SPEC, 20.0, 100.0, key=semdiff.Key(0))
    last = 100 + (SPEC.guard + SPEC.symbols - 1) * 4
    with pytest.raises(ValueError, match=r"the frame found at sample 16\d is cut, 40 samples after the recording's end are missing"):
        synchronize(arrived[: last + 1 - 40], SPEC)
    assert synchronize(arrived[: last + 1 + 40], SPEC)[1].start == pytest.approx(164, abs=0.1)
    assert synchronize(arrived[150:], SPEC)[1].start == pytest.approx(14, abs=0.2)  # the first pulses' tails are missing


# Bad input


@pytest.mark.parametrize(
    ("error", "words", "options"),
    [
        (ValueError, "payload: expected an integer in", {"payload": 0}),
        (TypeError, "payload: expected an integer in", {"payload": 6.4}),
        (TypeError, "payload: expected an integer in", {"payload": True}),
        (ValueError, "payload: expected an integer in", {"payload": 10**12}),
        (ValueError, "pilot_spacing: expected", {"payload": 64, "pilot_spacing": 0}),
        (ValueError, "preamble: expected an odd length, got 62", {"payload": 64, "preamble": 62}),
        (ValueError, "root: expected a number below", {"payload": 64, "preamble": 63, "root": 9}),
        (ValueError, "roll_off: expected a number in", {"payload": 64, "roll_off": math.nan}),
        (TypeError, "roll_off: expected a number in", {"payload": 64, "roll_off": "wide"}),
        (ValueError, "samples_per_symbol: expected", {"payload": 64, "samples_per_symbol": 1}),
        (ValueError, "guard: expected at least span = 12", {"payload": 64, "guard": 8}),
    ],
)
def test_bad_frames(error: type[Exception], words: str, options: dict[str, object]) -> None:
    with pytest.raises(error, match=words):
        FrameSpec(**options)  # type: ignore[arg-type]


def test_bad_symbols() -> None:
    with pytest.raises(TypeError, match="symbols: expected a complex tensor"):
        modulate(torch.ones(64), SPEC)
    with pytest.raises(ValueError, match=r"symbols: expected shape \(64,\)"):
        modulate(torch.ones(2, 64, dtype=torch.complex64), SPEC)
    with pytest.raises(ValueError, match="symbols: expected finite numbers"):
        modulate(torch.full((64,), complex(math.nan, 0)), SPEC)


def test_bad_samples() -> None:
    with pytest.raises(TypeError, match="samples: expected complex numbers, got float64"):
        synchronize(np.ones(5000), SPEC)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"samples: expected shape \(n,\)"):
        synchronize(np.ones((2, 5000), np.complex64), SPEC)
    with pytest.raises(ValueError, match="samples: expected finite numbers"):
        synchronize(np.full(5000, np.nan, np.complex64), SPEC)
    with pytest.raises(ValueError, match="coherence: expected"):
        synchronize(np.ones(5000, np.complex64), SPEC, coherence=0.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [("snr_db", math.nan), ("snr_db", 400.0), ("delay", -1.0), ("gain_db", math.inf), ("cfo", math.nan), ("trailing", -1)],
)
def test_bad_impairments(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        impair(modulate(symbols(0), SPEC), SPEC, **({"snr_db": 10.0} | {name: value}))  # type: ignore[arg-type]


def test_impairments_are_what_they_say() -> None:
    """Without audible noise: gain, whole delay and frequency against the formula; a delay of half a sample twice is one of one sample."""
    samples = modulate(symbols(0), SPEC)
    there = impair(samples, SPEC, 200.0, 10.0, -6.0, 1.0, 0.01, 5, semdiff.Key(0))
    n = np.arange(len(samples) + 15)
    late = np.pad(samples, (10, 5))
    np.testing.assert_allclose(there, 10**-0.3 * late * np.exp(1j * (1 + 2 * np.pi * 0.01 * n / 4)), atol=1e-5)
    half = impair(samples, SPEC, 200.0, 0.5, key=semdiff.Key(0))
    np.testing.assert_allclose(impair(half, SPEC, 200.0, 0.5, key=semdiff.Key(0))[1:], samples[:-1], atol=1e-4)


def test_impairments_noise_is_of_the_key_and_of_the_snr() -> None:
    samples = modulate(symbols(0), SPEC)
    one, again, other = (impair(samples, SPEC, 7.0, 5000.0, gain_db=12.0, key=semdiff.Key(k)) for k in (0, 0, 1))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    assert np.mean(np.abs(one[:5000]) ** 2) == pytest.approx(10**1.2 * 10**-0.7, rel=0.06)  # four deviations of 5,000 samples

# SPDX-License-Identifier: Apache-2.0
"""From samples to symbols: start, frequency, timing, phase, gain and noise, all learned from what the receiver knows of the frame.

0. The receiver's constant offset: for step 1 the median of the samples, which the first ones of a receiver that warms up do not move; then,
   as a tone beside the preamble, by least squares, and the samples without it go through steps 2 to 4 again.
1. Detection: normalised correlation with the preamble.
2. Coarse frequency: the phase between the preamble's two halves, divided by their distance (Moose, 1994).
3. Timing: the maximum of the preamble's correlation between samples; the band-limited signal is taken there.
4. Fine frequency: the peak of the periodogram of all known symbols, the maximum-likelihood estimate for one tone (Rife and Boorstyn, 1974).
5. Phase: the known symbols' average under a Gaussian window around each symbol, so that it may drift.
   At a frequency that is wrong by 1 / N a Zadoff-Chu sequence looks much like itself at another place, so steps 2 to 4 are taken for every
   place that detection cannot tell from the best, and the known symbols of the whole frame choose.
6. Gain by least squares, and noise variance from the residual, divided by the degrees of freedom that are left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from semdiff.phy.channel import Received
from semdiff.phy.sync.detection import Candidate, detect
from semdiff.phy.sync.frame import FrameSpec
from semdiff.phy.sync.pulse import Samples, advance, rotate

MARGIN = 4  # symbols beyond the pulses' reach, where the ends of a cut may wrap around
ROUNDS = 3  # of steps 2 to 4 for one place: each undoes what the one before left of a constant offset
NEAR = 0.6  # of the best correlation: on the bank's grid the true place has 0.8 of its own at least, a false one up to 0.76


@dataclass(frozen=True)
class Synchronization:
    """Hold what was found about one frame."""

    start: float  # sample of the first preamble symbol
    gain: float  # amplitude, 1 for samples as `modulate` makes them
    phase: float  # radians, at the first payload symbol, in (-pi, pi]
    cfo: float  # carrier-frequency offset, cycles a symbol
    snr_db: float  # of a symbol after the matched filter
    correlation: float  # of the preamble, normalised, in [0, 1]
    threshold: float  # what it had to exceed


def synchronize(samples: Samples, spec: FrameSpec, coherence: float = 256.0) -> tuple[Received, Synchronization]:
    """Find the strongest frame in a recording, complex (n,): its payload as Received(y, h, noise_var), and what was found.

    y: complex64 (1, payload), amplitude and frequency undone. h: complex64 (1, payload), |h| = 1, the phase of each symbol.
    noise_var: float64 (1, 1).
    coherence: symbols over which the phase is steady once the frequency is known, the deviation of the window in step 5.
    Any delay, gain and phase, and a frequency offset up to 0.02 cycles a symbol. The sample clock's error must not add up to more than some
    hundredths of a symbol along the frame. A constant offset of any size is taken away. One path: echoes are not equalised. Without noise
    the estimated SNR ends at 45 to 50 dB.

    ValueError where no frame is found, or where it is cut by the recording's end; TypeError or ValueError for samples that are none.
    """
    samples = _checked(samples)
    samples = samples - _middle(samples)
    if not coherence > 0:
        raise ValueError(f"coherence: expected a number of symbols above zero, got {coherence}")
    found = detect(samples, spec)
    best = found.candidates[0]
    if best.rho <= found.threshold:
        raise ValueError(
            f"samples: no frame found, the best correlation with the preamble is {best.rho:.3f} "
            f"and noise alone would reach {found.threshold:.3f}"
        )
    tries = [_straighten(samples, c, spec) for c in _rivals(found.candidates, spec)]
    chosen = max(tries, key=lambda s: s.score)
    missing = math.ceil(chosen.start) + (spec.symbols - 1) * spec.samples_per_symbol + 1 - len(samples)
    if missing > 0:
        raise ValueError(
            f"samples: the frame found at sample {chosen.start:.0f} is cut, {missing} samples after the recording's end are missing"
        )

    places, values = spec.known()
    symbols = chosen.symbols
    phase, trace = _phases(values.conj() * symbols[places], places, spec.symbols, coherence)
    straight = symbols[places] * np.exp(-1j * phase[places]) * values.conj()
    gain = float(straight.real.mean())
    # Of two real numbers a symbol, the phase takes the window's trace, gain, frequency and timing one each, and the constant offset two.
    residual = float(np.sum(np.abs(straight - gain) ** 2)) / (len(places) - (trace + 5) / 2)
    payload, _ = spec.places()
    noise_var = max(residual / gain**2, 1e-12)
    received = Received(
        torch.from_numpy((symbols[payload] / gain).astype(np.complex64))[None],
        torch.from_numpy(np.exp(1j * phase[payload]).astype(np.complex64))[None],
        torch.full((1, 1), noise_var, dtype=torch.float64, device="cpu"),
    )
    report = Synchronization(
        start=chosen.start,
        gain=gain,
        phase=float(np.angle(np.exp(1j * (phase[payload[0]] + 2 * np.pi * chosen.cfo * payload[0])))),
        cfo=chosen.cfo,
        snr_db=-10 * math.log10(noise_var),
        correlation=best.rho,
        threshold=found.threshold,
    )
    return received, report


def _checked(samples: Samples) -> NDArray[np.complex128]:
    array = np.asarray(samples)
    if not np.iscomplexobj(array):
        raise TypeError(f"samples: expected complex numbers, got {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"samples: expected shape (n,), got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError("samples: expected finite numbers, got NaN or infinity")
    return array.astype(np.complex128)


class _Straight(NamedTuple):
    """Hold a frame's symbols with timing and frequency undone, and how well the known ones fit, in [0, 1]."""

    symbols: Samples
    start: float
    cfo: float
    score: float


def _rivals(candidates: list[Candidate], spec: FrameSpec) -> list[Candidate]:
    """Return the best, and those elsewhere that come near it."""
    kept: list[Candidate] = []
    for c in candidates:
        if c.rho >= NEAR * candidates[0].rho and all(abs(c.start - k.start) > spec.samples_per_symbol for k in kept):
            kept.append(c)
    return kept


def _middle(samples: Samples) -> complex:
    """Return the median of both parts, of the samples that are not zero, which is what some receivers begin with."""
    heard = samples[samples != 0]
    return complex(np.median(heard.real), np.median(heard.imag)) if len(heard) else 0j


def _straighten(samples: Samples, candidate: Candidate, spec: FrameSpec) -> _Straight:
    cut, first, inside = _cut(samples, candidate.start, spec)
    cut -= inside * _offset(_symbols(_filtered(cut, first, candidate.cfo, spec), first, spec), candidate.cfo, 0.0, spec)
    for _ in range(ROUNDS):
        found = _straightened(cut, first, candidate, spec)
        cut -= inside * _offset(found.symbols, found.cfo, found.start - candidate.start, spec)
    return found


def _offset(symbols: Samples, cfo: float, late: float, spec: FrameSpec) -> complex:
    """Estimate the constant in every sample, from a frame's symbols that were straightened by `cfo` and `late`: a tone beside the preamble
    there, both by least squares."""
    tone = np.exp(-2j * np.pi * cfo * np.arange(2 * spec.preamble))
    columns = np.stack([np.tile(spec.sequence, 2), tone], 1)
    heard = np.linalg.lstsq(columns, symbols[: 2 * spec.preamble], rcond=None)[0][1]
    nu = cfo / spec.samples_per_symbol
    reach = spec.span * spec.samples_per_symbol
    gain = np.sum(spec.pulse * np.exp(2j * np.pi * nu * np.arange(-reach, reach + 1))).real  # of the matched filter for the tone
    return complex(heard / gain * np.exp(2j * np.pi * nu * late))


def _straightened(cut: Samples, first: int, candidate: Candidate, spec: FrameSpec) -> _Straight:
    cfo = candidate.cfo + _coarse_frequency(_symbols(_filtered(cut, first, candidate.cfo, spec), first, spec), spec)
    matched = _filtered(cut, first, cfo, spec)
    late = _timing(matched, first, spec)
    symbols = _symbols(advance(matched, late), first, spec)
    places, values = spec.known()
    fine = _fine_frequency(values.conj() * symbols[places], places, spec)
    symbols = rotate(symbols, -fine)
    fit = abs(np.vdot(values, symbols[places])) ** 2 / (len(places) * np.vdot(symbols[places], symbols[places]).real)
    return _Straight(symbols, candidate.start + late, cfo + fine, float(fit))


def _cut(samples: Samples, start: int, spec: FrameSpec) -> tuple[Samples, int, NDArray[np.bool_]]:
    """Cut out the frame with a margin at both ends, zeros where nothing was recorded; tell where its first symbol is, and what was."""
    per_symbol = spec.samples_per_symbol
    first = (spec.span + MARGIN) * per_symbol
    low, high = start - first, start + (spec.symbols - 1) * per_symbol + first + 1
    inside = samples[max(low, 0) : high]
    before = max(-low, 0)
    around = before, high - low - before - len(inside)
    return np.pad(inside, around), first, np.pad(np.ones(len(inside), bool), around)


def _filtered(cut: Samples, first: int, cfo: float, spec: FrameSpec) -> Samples:
    """Return the matched filter's output, after the frequency is moved back: filtering first would leave interference between symbols."""
    return np.convolve(rotate(cut, -cfo / spec.samples_per_symbol, -first), spec.pulse, "same")


def _symbols(matched: Samples, first: int, spec: FrameSpec) -> Samples:
    return matched[first :: spec.samples_per_symbol][: spec.symbols]


def _coarse_frequency(symbols: Samples, spec: FrameSpec) -> float:
    halves = (symbols[: 2 * spec.preamble].reshape(2, -1) * spec.sequence.conj()).sum(1)
    return float(np.angle(halves[1] * halves[0].conj()) / (2 * np.pi * spec.preamble))


def _timing(matched: Samples, first: int, spec: FrameSpec) -> float:
    """Estimate how many samples after `first` the frame begins, within 1.5: the correlation's maximum on a grid of 1/8,
    refined by a parabola."""
    per_symbol, count = spec.samples_per_symbol, 2 * spec.preamble
    part = matched[: first * 2 + count * per_symbol]
    comb = np.zeros(len(part), np.complex128)
    comb[first : first + count * per_symbol : per_symbol] = np.tile(spec.sequence, 2)
    spectrum = np.fft.fft(part) * np.fft.fft(comb).conj()
    grid = np.arange(-12, 13) / 8
    power = np.abs(np.exp(2j * np.pi * np.outer(grid, np.fft.fftfreq(len(part)))) @ spectrum) ** 2
    return float(grid[power.argmax()] + _vertex(power, int(power.argmax())) / 8)


def _fine_frequency(known: Samples, places: NDArray[np.int64], spec: FrameSpec) -> float:
    """Estimate the cycles a symbol that are left after the coarse estimate, which is right to within 1 / (4 N)."""
    size = 1 << (8 * spec.symbols).bit_length()
    line = np.zeros(size, np.complex128)
    line[places] = known
    reach = size // (4 * spec.preamble)
    power = np.abs(np.roll(np.fft.fft(line), reach)[: 2 * reach + 1]) ** 2
    peak = int(power.argmax())
    return (peak - reach + _vertex(power, peak)) / size


def _vertex(values: NDArray[np.float64], peak: int) -> float:
    """Return where the parabola through three neighbours has its top, relative to the middle one; 0 at an end."""
    if not 0 < peak < len(values) - 1:
        return 0.0
    left, middle, right = values[peak - 1 : peak + 2]
    bend = left - 2 * middle + right
    return float((left - right) / (2 * bend)) if bend < 0 else 0.0


def _phases(known: Samples, places: NDArray[np.int64], count: int, coherence: float) -> tuple[NDArray[np.float64], float]:
    """Estimate the phase at each of `count` symbols, radians; and the smoother's trace, the numbers it took from the known symbols."""
    reach = min(int(3 * coherence) + 1, count - 1)
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / coherence) ** 2)
    line, mask = np.zeros(count, np.complex128), np.zeros(count)
    line[places], mask[places] = known, 1.0
    smooth = np.convolve(line, window)[reach : reach + count]
    weight = np.convolve(mask, window)[reach : reach + count]
    return np.angle(smooth), float((1 / weight[places]).sum())

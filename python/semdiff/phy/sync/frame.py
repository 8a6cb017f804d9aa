# SPDX-License-Identifier: Apache-2.0
"""A frame: silence, a preamble, the payload with pilots among it, silence.

    guard | z z | p p p p p p p p * p p p p p p p p * ... | guard      z: Zadoff-Chu sequence, p: payload, *: pilot

The preamble is one Zadoff-Chu sequence twice (Chu, 1972; the form of 3GPP TS 36.211, 5.7.2): constant modulus and ideal cyclic
autocorrelation, so it is found by correlation, and the phase between the two halves is the frequency offset. A pilot comes after every
`pilot_spacing` payload symbols and after the last, so that every payload symbol lies between symbols that the receiver knows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from semdiff.phy.sync.pulse import Samples, root_raised_cosine, shape

LARGEST = 2**24  # symbols; a description that says more is damaged
# field: (smallest, largest)
LIMITS = {
    "payload": (1, LARGEST),
    "pilot_spacing": (1, LARGEST),
    "preamble": (31, 4095),
    "root": (1, 4094),
    "samples_per_symbol": (2, 64),
    "span": (4, 64),
    "guard": (4, 4096),
}


@dataclass(frozen=True)
class FrameSpec:
    """Hold what both ends know of a frame. TypeError or ValueError, naming the field, for what cannot be."""

    payload: int  # symbols
    pilot_spacing: int = 8  # payload symbols for each pilot
    preamble: int = 61  # length of the Zadoff-Chu sequence, odd; it is sent twice
    root: int = 13  # its root, coprime with the length: of those of 61 the one whose correlation is hardest to mistake at a wrong frequency
    samples_per_symbol: int = 4
    roll_off: float = 0.25
    span: int = 12  # symbols that a pulse reaches each way
    guard: int = 16  # symbols of silence at each end

    def __post_init__(self) -> None:
        for name, (low, high) in LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name}: expected an integer in [{low}, {high}], got {type(value).__name__}")
            if not low <= value <= high:
                raise ValueError(f"{name}: expected an integer in [{low}, {high}], got {value}")
        if isinstance(self.roll_off, bool) or not isinstance(self.roll_off, (int, float)):
            raise TypeError(f"roll_off: expected a number in [0.1, 1], got {type(self.roll_off).__name__}")
        if not 0.1 <= self.roll_off <= 1:
            raise ValueError(f"roll_off: expected a number in [0.1, 1], got {self.roll_off}")
        if self.preamble % 2 == 0:
            raise ValueError(f"preamble: expected an odd length, got {self.preamble}")
        if math.gcd(self.root, self.preamble) != 1 or self.root >= self.preamble:
            raise ValueError(f"root: expected a number below the preamble's length {self.preamble} and coprime with it, got {self.root}")
        if self.guard < self.span:
            raise ValueError(f"guard: expected at least span = {self.span} symbols, so that no pulse is cut, got {self.guard}")

    @property
    def pilots(self) -> int:
        return -(-self.payload // self.pilot_spacing)

    @property
    def symbols(self) -> int:
        """Channel uses from the first preamble symbol to the last pilot; the guard is silence."""
        return 2 * self.preamble + self.payload + self.pilots

    @property
    def samples(self) -> int:
        """Samples of the whole frame with its guards."""
        return (2 * self.guard + self.symbols) * self.samples_per_symbol

    @cached_property
    def pulse(self) -> NDArray[np.float64]:
        return root_raised_cosine(self.samples_per_symbol, self.roll_off, self.span)

    @cached_property
    def sequence(self) -> Samples:
        """The Zadoff-Chu sequence exp(-j pi u k (k + 1) / N), k = 0..N-1."""
        k = np.arange(self.preamble)
        return np.asarray(np.exp(-1j * np.pi * ((self.root * k * (k + 1)) % (2 * self.preamble)) / self.preamble))

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where the payload and the pilots are, counted in symbols from the first of the preamble."""
        payload = np.arange(self.payload)
        pilot = np.minimum((np.arange(self.pilots) + 1) * self.pilot_spacing, self.payload) + np.arange(self.pilots)
        return 2 * self.preamble + payload + payload // self.pilot_spacing, 2 * self.preamble + pilot

    def known(self) -> tuple[NDArray[np.int64], Samples]:
        """Return the symbols that the receiver knows, preamble and pilots: their places and values. Pilots walk along the same sequence."""
        places = np.concatenate([np.arange(2 * self.preamble), self.places()[1]])
        return places, self.sequence[np.arange(len(places)) % self.preamble]


def modulate(symbols: Tensor, spec: FrameSpec) -> NDArray[np.complex64]:
    """Make one frame's samples, complex64 (spec.samples,), from its payload: complex (spec.payload,) or (1, spec.payload).

    Symbol k of the frame has its pulse's centre at sample (guard + k) * samples_per_symbol. Pulses have unit energy, so E|s|^2 = 1 is unit
    energy for each symbol. TypeError or ValueError, naming symbols, for anything else.
    """
    if not isinstance(symbols, Tensor) or not symbols.is_complex():
        raise TypeError(f"symbols: expected a complex tensor, got {getattr(symbols, 'dtype', type(symbols).__name__)}")
    if tuple(symbols.shape) not in ((spec.payload,), (1, spec.payload)):
        raise ValueError(f"symbols: expected shape ({spec.payload},), the frame's payload, got {tuple(symbols.shape)}")
    payload = symbols.detach().reshape(-1).cpu().numpy()
    if not np.isfinite(payload).all():
        raise ValueError("symbols: expected finite numbers, got NaN or infinity")
    whole = np.empty(spec.symbols, np.complex128)
    places, values = spec.known()
    whole[places] = values
    whole[spec.places()[0]] = payload
    body = shape(whole, spec.pulse, spec.samples_per_symbol)
    samples = np.zeros(spec.samples, np.complex64)
    first = (spec.guard - spec.span) * spec.samples_per_symbol
    samples[first : first + len(body)] = body
    return samples

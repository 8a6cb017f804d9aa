# SPDX-License-Identifier: Apache-2.0
"""Symbols over a 3GPP channel of Sionna's, on an OFDM grid with pilots and a cyclic prefix.

Power: every cell of the grid, pilot or data, is sent with unit power. Sionna's `no` is E|n|^2 of a complex symbol, which is semdiff's N0,
and its TDL and CDL models have E|h|^2 = 1 over realisations, so snr_db is the average SNR as everywhere in semdiff.

Shapes: Sionna's grids are (batch, ends, antennas, OFDM symbols, subcarriers). semdiff's symbols (B, n) fill the cells that are not pilots
in that order: all subcarriers of the first OFDM symbol with data, then those of the next.

The channel multiplies each cell by one gain, as ApplyOFDMChannel does it: no interference between OFDM symbols or subcarriers, which holds
while echoes are shorter than the prefix (checked) and the Doppler spread is far below the subcarriers' spacing (not checked).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from semdiff.phy.channel import AWGN, Channel, Received, Uses, check_symbols, noise_variance
from semdiff.phy.sionna_phy import keyed, sionna_phy
from semdiff.rng import Key, KeyLike

PILOT_PERIOD = 7  # one OFDM symbol in seven is pilots: two in a slot of fourteen
PILOTS = Key(38901)
TDL_MODELS = ("A", "B", "C", "D", "E")
LEAST_NOISE = 0.999e-10  # N0 at 100 dB, with room for rounding
_OPTIONS = {"precision": "double", "device": "cpu"}  # single loses the equaliser's noise variance, 1 / g - 1 of a gain g near 1, from 50 dB


class SionnaOFDM(Channel):
    """Send through Sionna's OFDM grid, channel and LMMSE equaliser. Symbols arrive equalised, y = s + e, so h is 1.

    noise_var, float64 (B, n), is E|e|^2 of each symbol as the equaliser states it. With one antenna at each end the LMMSE estimate without
    its bias is y / h, whose noise is N0 / |h|^2.

    model: A to E for 3GPP TR 38.901's TDL-A to TDL-E, or any of Sionna's channel models with one antenna at each end (a CDL, say).
    delay_spread in seconds and speed in m/s are for the TDL models.
    csi: "perfect", the equaliser knows the channel; "ls", it estimates it by least squares at the pilots and uses the nearest pilot's. The
    noise of that estimate is in noise_var; what the channel changes between the pilots is not, so at speed the receiver believes in less
    noise than there is. Pilots and prefix are charged in both cases.

    Computed on the CPU in double precision. Differentiable in s.
    """

    def __init__(
        self,
        model: Any = "A",
        delay_spread: float = 100e-9,
        speed: float = 0.0,
        carrier_frequency: float = 3.5e9,
        subcarriers: int = 64,
        subcarrier_spacing: float = 30e3,
        cyclic_prefix: int = 5,
        csi: Literal["perfect", "ls"] = "perfect",
    ) -> None:
        super().__init__()
        phy = sionna_phy()
        if csi not in ("perfect", "ls"):
            raise ValueError(f"csi: expected perfect or ls, got {csi!r}")
        if isinstance(model, str):
            if model not in TDL_MODELS:
                raise ValueError(f"model: expected one of {', '.join(TDL_MODELS)} or a channel model of Sionna's, got {model!r}")
            if not (0 <= delay_spread < math.inf and 0 <= speed < math.inf and 0 < carrier_frequency < math.inf):
                raise ValueError(
                    "delay_spread, speed, carrier_frequency: expected finite numbers, the first two >= 0 and the last above 0, "
                    f"got {delay_spread}, {speed}, {carrier_frequency}"
                )
            model = phy.channel.tr38901.TDL(model, delay_spread, carrier_frequency, min_speed=speed, max_speed=speed, **_OPTIONS)
        elif not callable(model):
            raise TypeError(f"model: expected one of {', '.join(TDL_MODELS)} or a channel model of Sionna's, got {type(model).__name__}")
        for name, count in (("subcarriers", subcarriers), ("cyclic_prefix", cyclic_prefix)):
            if isinstance(count, bool) or not isinstance(count, int):
                raise TypeError(f"{name}: expected an integer, got {type(count).__name__}")
        if subcarriers < 1 or not 0 <= cyclic_prefix <= subcarriers or not 0 < subcarrier_spacing < math.inf:
            raise ValueError(
                "subcarriers, cyclic_prefix, subcarrier_spacing: expected at least 1, 0 to subcarriers and a number above 0, "
                f"got {subcarriers}, {cyclic_prefix}, {subcarrier_spacing}"
            )
        self.model, self.csi = model, csi
        self.subcarriers, self.subcarrier_spacing, self.cyclic_prefix = subcarriers, subcarrier_spacing, cyclic_prefix
        self._grids = lru_cache(maxsize=8)(self._build)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_grids"}  # it is made again where a copy arrives

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._grids = lru_cache(maxsize=8)(self._build)

    def extra_repr(self) -> str:
        names = ("csi", "subcarriers", "subcarrier_spacing", "cyclic_prefix")
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in names)

    def uses(self, symbols: int) -> Uses:
        """Count the uses, subcarriers that are left over in the last OFDM symbol with the pilots; as `Channel.uses`."""
        data, pilots = self._ofdm_symbols(symbols)
        idle = data * self.subcarriers - symbols
        return Uses(symbols, pilots * self.subcarriers + idle, (data + pilots) * self.cyclic_prefix)

    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """Send symbols (B, n), each sample through a realisation of its own; as `Channel.forward`, but with snr_db at most 100."""
        check_symbols(s)
        if s.dim() != 2 or 0 in s.shape:
            raise ValueError(f"s: expected shape (B, n) with at least one symbol, got {tuple(s.shape)}")
        n0 = noise_variance(snr_db, s).cpu()
        if bool((n0 < LEAST_NOISE).any()):
            raise ValueError(f"snr_db: expected at most 100, beyond which the equaliser's noise variance is rounding errors, got {snr_db}")
        fading, noise = Key.of(key).split(2)
        grid = self._grids(s.shape[1])
        h = self._frequency_response([fading.fold_in(i) for i in range(s.shape[0])], grid)
        padded = torch.nn.functional.pad(s.to("cpu", torch.complex128), (0, grid.resources.num_data_symbols - s.shape[1]))
        clean = grid.apply(grid.map(padded[:, None, None]), h)
        y = AWGN()(clean.flatten(1), snr_db, noise).y.reshape(clean.shape)
        no = n0[:, None, None]
        h_hat, error = grid.estimate(y, no) if self.csi == "ls" else (h, torch.zeros(1, dtype=torch.float64, device="cpu"))
        x, no_eff = (out[:, 0, 0, : s.shape[1]] for out in grid.equalize(y, h_hat, error, no))
        ones = torch.ones(s.shape[0], 1, dtype=s.dtype, device=s.device)
        return Received(x.to(s), ones, no_eff.detach().to(s.device))

    def _ofdm_symbols(self, symbols: int) -> tuple[int, int]:
        """Return the numbers of OFDM symbols with data and with pilots."""
        data = -(-symbols // self.subcarriers)
        return data, -(-data // (PILOT_PERIOD - 1))

    def _build(self, symbols: int) -> _Grid:
        data, pilots = self._ofdm_symbols(symbols)
        return _Grid(data + pilots, self.subcarriers, self.subcarrier_spacing, self.cyclic_prefix)

    def _frequency_response(self, keys: list[Key], grid: _Grid) -> Tensor:
        """Return the gains, (B, 1, 1, 1, 1, OFDM symbols, subcarriers), drawn one by one: they do not depend on the batch."""
        drawn = []
        for key in keys:
            with keyed(key):
                drawn.append(self.model(1, grid.resources.num_ofdm_symbols, 1 / grid.resources.ofdm_symbol_duration))
        a, tau = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        if a.shape[1:5] != (1, 1, 1, 1):
            receivers, theirs, transmitters, its = a.shape[1:5]
            raise ValueError(
                "model: expected one transmitter and one receiver of one antenna each, "
                f"got {transmitters} of {its} and {receivers} of {theirs}"
            )
        prefix = self.cyclic_prefix / (self.subcarriers * self.subcarrier_spacing)
        if not float(tau.max()) <= prefix:
            raise ValueError(f"cyclic_prefix: expected at least the longest delay, {float(tau.max()):.3g} s, got {prefix:.3g} s")
        h: Tensor = sionna_phy().channel.cir_to_ofdm_channel(grid.frequencies, a.to(torch.complex128), tau.double())
        return h


class _Grid:
    """Hold Sionna's blocks for a grid of one number of OFDM symbols."""

    def __init__(self, ofdm_symbols: int, subcarriers: int, spacing: float, cyclic_prefix: int) -> None:
        phy = sionna_phy()
        with keyed(PILOTS):  # the pilots are random QPSK
            self.resources = phy.ofdm.ResourceGrid(
                ofdm_symbols,
                subcarriers,
                spacing,
                cyclic_prefix_length=cyclic_prefix,
                pilot_pattern="kronecker",
                pilot_ofdm_symbol_indices=list(range(0, ofdm_symbols, PILOT_PERIOD)),
                **_OPTIONS,
            )
        streams = phy.mimo.StreamManagement([[1]], 1)
        self.frequencies = phy.channel.subcarrier_frequencies(subcarriers, spacing, **_OPTIONS)
        self.map = phy.ofdm.ResourceGridMapper(self.resources, **_OPTIONS)
        self.apply = phy.channel.ApplyOFDMChannel(**_OPTIONS)
        self.estimate = phy.ofdm.LSChannelEstimator(self.resources, interpolation_type="nn", **_OPTIONS)
        self.equalize = phy.ofdm.LMMSEEqualizer(self.resources, streams, **_OPTIONS)

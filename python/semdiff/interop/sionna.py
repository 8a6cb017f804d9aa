# SPDX-License-Identifier: Apache-2.0
"""Symbols over a 3GPP channel of Sionna's, on an OFDM grid with pilots and a cyclic prefix.

Sionna's `no` is E|n|^2 of a complex symbol, which is semdiff's N0; its TDL and CDL models have E|h|^2 = 1 over realisations, so snr_db is
the average SNR as everywhere in semdiff. Its grids are (batch, antennas..., OFDM symbols, subcarriers); semdiff's symbols are (B, n), in
that order. The channel is applied for each subcarrier and constant during an OFDM symbol, as ApplyOFDMChannel does it: no interference
between symbols or subcarriers, which holds while echoes are shorter than the prefix (checked) and the Doppler spread far below the spacing.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import torch
from torch import Tensor

from semdiff.channel import AWGN, Channel, Received, Uses, check_symbols, noise_variance
from semdiff.interop.phy import keyed, sionna_phy
from semdiff.rng import Key, KeyLike, key_tensor

PILOT_PERIOD = 7  # one OFDM symbol in seven is pilots: two in a slot of fourteen
PILOTS = Key(38901)
TDL_MODELS = ("A", "B", "C", "D", "E")


class SionnaOFDM(Channel):
    """channel(s, snr_db, key) -> Received: Sionna's grid, channel and LMMSE equaliser. Symbols arrive equalised, so h is 1.

    noise_var, float64 (B, n), is the equaliser's effective noise variance of each symbol (its estimates are unbiased).

    model: A to E for 3GPP TR 38.901's TDL-A to TDL-E, or any of Sionna's channel models with one antenna at each end (a CDL, say).
    delay_spread in seconds and speed in m/s are for the TDL models. csi: the equaliser knows the channel (perfect), or estimates it by
    least squares from the pilots and takes the nearest one (ls). The pilots and the prefix are charged in both cases. CPU, complex64.
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
            if not (delay_spread >= 0 and speed >= 0 and carrier_frequency > 0):
                raise ValueError(
                    "delay_spread, speed, carrier_frequency: expected numbers that are not negative, "
                    f"got {delay_spread}, {speed}, {carrier_frequency}"
                )
            model = phy.channel.tr38901.TDL(
                model, delay_spread, carrier_frequency, min_speed=speed, max_speed=speed, precision="single", device="cpu"
            )
        elif not callable(model):
            raise TypeError(f"model: expected one of {', '.join(TDL_MODELS)} or a channel model of Sionna's, got {type(model).__name__}")
        if subcarriers < 1 or cyclic_prefix < 0 or not subcarrier_spacing > 0:
            raise ValueError(
                "subcarriers, cyclic_prefix, subcarrier_spacing: expected at least 1, at least 0 and a number above zero, "
                f"got {subcarriers}, {cyclic_prefix}, {subcarrier_spacing}"
            )
        self.model, self.csi = model, csi
        self.subcarriers, self.subcarrier_spacing, self.cyclic_prefix = subcarriers, subcarrier_spacing, cyclic_prefix
        self._grids = lru_cache(maxsize=8)(self._build)

    def uses(self, symbols: int) -> Uses:
        """Subcarriers that are left over in the last OFDM symbol are counted with the pilots."""
        data, pilots = self._ofdm_symbols(symbols)
        idle = data * self.subcarriers - symbols
        return Uses(symbols, pilots * self.subcarriers + idle, (data + pilots) * self.cyclic_prefix)

    @torch.no_grad()
    def forward(self, s: Tensor, snr_db: float | Tensor, key: KeyLike = None) -> Received:
        """s: complex (B, n), unit power in each sample. One realisation of the channel a sample, whatever the others are."""
        check_symbols(s)
        if s.dim() != 2:
            raise ValueError(f"s: expected shape (B, n), got {tuple(s.shape)}")
        n0 = noise_variance(snr_db, s)
        fading, noise = Key.from_tensor(key_tensor(key)).split(2)
        grid = self._grids(s.shape[1])
        h = self._frequency_response([fading.fold_in(i) for i in range(s.shape[0])], grid)
        data = s.to("cpu", torch.complex64)
        padded = torch.nn.functional.pad(data, (0, grid.resources.num_data_symbols - s.shape[1]))
        sent = grid.map(padded[:, None, None])
        clean = grid.apply(sent, h)
        y = AWGN()(clean.flatten(1), snr_db, noise).y.reshape(clean.shape)
        no = n0.cpu().float()[:, None, None]
        h_hat, error = grid.estimate(y, no) if self.csi == "ls" else (h, torch.zeros(1))
        x, no_eff = (out[:, 0, 0, : s.shape[1]] for out in grid.equalize(y, h_hat, error, no))
        ones = torch.ones(s.shape[0], 1, dtype=s.dtype, device=s.device)
        return Received(x.to(s), ones, no_eff.to(s.device, torch.float64))

    def _ofdm_symbols(self, symbols: int) -> tuple[int, int]:
        """(with data, with pilots)."""
        data = -(-symbols // self.subcarriers)
        return data, -(-data // (PILOT_PERIOD - 1))

    def _build(self, symbols: int) -> _Grid:
        data, pilots = self._ofdm_symbols(symbols)
        return _Grid(data + pilots, self.subcarriers, self.subcarrier_spacing, self.cyclic_prefix)

    def _frequency_response(self, keys: list[Key], grid: _Grid) -> Tensor:
        """(B, 1, 1, 1, 1, OFDM symbols, subcarriers). Drawn one by one, so that a sample's channel does not depend on its batch mates."""
        drawn = []
        for key in keys:
            with keyed(key):
                drawn.append(self.model(1, grid.resources.num_ofdm_symbols, 1 / grid.resources.ofdm_symbol_duration))
        a, tau = (torch.cat(parts) for parts in zip(*drawn, strict=True))
        if a.shape[1:5] != (1, 1, 1, 1):
            raise ValueError(f"model: expected one antenna at each end, got {a.shape[2]} and {a.shape[4]}")
        prefix = self.cyclic_prefix / (self.subcarriers * self.subcarrier_spacing)
        if float(tau.max()) > prefix:
            raise ValueError(f"cyclic_prefix: expected at least the longest delay, {float(tau.max()):.3g} s, got {prefix:.3g} s")
        h: Tensor = sionna_phy().channel.cir_to_ofdm_channel(grid.frequencies, a, tau)
        return h


class _Grid:
    """Sionna's blocks for a grid of one number of OFDM symbols."""

    def __init__(self, ofdm_symbols: int, subcarriers: int, spacing: float, cyclic_prefix: int) -> None:
        phy, options = sionna_phy(), {"precision": "single", "device": "cpu"}
        with keyed(PILOTS):  # the pilots are random QPSK
            self.resources = phy.ofdm.ResourceGrid(
                ofdm_symbols,
                subcarriers,
                spacing,
                cyclic_prefix_length=cyclic_prefix,
                pilot_pattern="kronecker",
                pilot_ofdm_symbol_indices=list(range(0, ofdm_symbols, PILOT_PERIOD)),
                **options,
            )
        streams = phy.mimo.StreamManagement([[1]], 1)
        self.frequencies = phy.channel.subcarrier_frequencies(subcarriers, spacing, **options)
        self.map = phy.ofdm.ResourceGridMapper(self.resources, **options)
        self.apply = phy.channel.ApplyOFDMChannel(**options)
        self.estimate = phy.ofdm.LSChannelEstimator(self.resources, interpolation_type="nn", **options)
        self.equalize = phy.ofdm.LMMSEEqualizer(self.resources, streams, **options)

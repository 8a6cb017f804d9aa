# SPDX-License-Identifier: Apache-2.0
"""What one transmission gave, and what it cost on the air."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from semdiff.phy.channel import Channel, Received, measured_snr_db, without_noise


@dataclass(frozen=True)
class Ledger:
    """Complex channel uses for one image."""

    payload: int  # uses that carry the image's symbols
    source_values: int  # C * H * W of the image as given
    side_information: int = 0  # uses for anything else that the receiver is told
    pilots: int = 0  # uses for symbols that the receiver knows, from which it learns the channel
    preamble: int = 0  # uses by which the receiver finds the start of a frame
    cyclic_prefix: int = 0  # uses that repeat what was sent (OFDM)

    @property
    def total(self) -> int:
        return self.payload + self.side_information + self.pilots + self.preamble + self.cyclic_prefix

    @property
    def cbr(self) -> float:
        """Complex uses for each source value, everything counted."""
        return self.total / self.source_values


@dataclass(frozen=True)
class Transmission:
    """What `SemanticLink.transmit` returns."""

    images: Tensor  # (B, C, H, W), float, in [0, 1]
    ledger: Ledger  # for one image; all images of a batch cost the same
    snr_db: Tensor  # (B,), float64: measured, sum |h s|^2 / sum |y - h s|^2, with the gain that the receiver knows
    t: Tensor  # (B,), float64: the time at which denoising began; NaN without diffusion
    evaluations: int  # denoiser evaluations for each image; with steps="auto" the most that any took
    seconds: float  # wall-clock time of the whole batch


def make_transmission(
    pictures: Tensor, symbols: Tensor, received: Received, channel: Channel, begun: float, t: Tensor | None = None, evaluations: int = 0
) -> Transmission:
    """Pictures (B, C, H, W), sent as symbols (B, uses) that came back as `received`. begun: what time.perf_counter() said at the start."""
    ledger = Ledger(source_values=pictures[0].numel(), **channel.uses(symbols.shape[1])._asdict())
    snr = measured_snr_db(without_noise(symbols, received.h), received.y)
    if t is None:
        t = torch.full((len(pictures),), torch.nan, dtype=torch.float64, device="cpu")
    return Transmission(pictures, ledger, snr, t, evaluations, time.perf_counter() - begun)

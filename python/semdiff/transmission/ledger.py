# SPDX-License-Identifier: Apache-2.0
"""Record a transmission: its images and its cost in channel uses."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from semdiff.phy.channel import Channel, Received, measured_snr_db, without_noise


@dataclass(frozen=True)
class Ledger:
    """Count the complex channel uses of one image by what they carry.

    Attributes:
        payload: uses for the image's symbols.
        source_values: C * H * W of the image as given.
        side_information: uses for anything else that the receiver is told.
        pilots: uses for symbols that the receiver knows, from which it estimates the channel.
        preamble: uses by which the receiver finds the start of a frame.
        cyclic_prefix: uses that repeat what was sent (OFDM).

    Example:
        >>> from semdiff.link import Ledger
        >>> ledger = Ledger(payload=64, source_values=784, pilots=8)
        >>> ledger.total, round(ledger.cbr, 4)
        (72, 0.0918)
    """

    payload: int
    source_values: int
    side_information: int = 0
    pilots: int = 0
    preamble: int = 0
    cyclic_prefix: int = 0

    @property
    def total(self) -> int:
        """Sum all uses."""
        return self.payload + self.side_information + self.pilots + self.preamble + self.cyclic_prefix

    @property
    def cbr(self) -> float:
        """Compute the channel bandwidth ratio: complex uses for each source value, all of them counted."""
        return self.total / self.source_values


@dataclass(frozen=True)
class Transmission:
    """Hold the received images of one batch, their cost, and what was measured. `ImageTransmitter.transmit` returns it.

    Attributes:
        images: float (B, C, H, W) in [0, 1].
        ledger: the channel uses of one image; all images of a batch cost the same.
        snr_db: float64 (B,), measured: sum |h s|^2 / sum |y - h s|^2 in dB, with the gain h that the receiver knows.
        t: float64 (B,), the time at which denoising began; NaN without diffusion.
        evaluations: denoiser evaluations for each image; with steps="auto" the most that any image took.
        seconds: wall-clock time of the whole batch.
    """

    images: Tensor
    ledger: Ledger
    snr_db: Tensor
    t: Tensor
    evaluations: int
    seconds: float


def make_transmission(
    pictures: Tensor, symbols: Tensor, received: Received, channel: Channel, begun: float, t: Tensor | None = None, evaluations: int = 0
) -> Transmission:
    """Assemble a `Transmission` and count the channel uses.

    Args:
        pictures: received images, (B, C, H, W).
        symbols: as sent, complex (B, uses).
        received: as the channel returned them.
        channel: the channel, which counts pilots and prefixes.
        begun: time.perf_counter() at the start.
        t: time at which denoising began, (B,); None is NaN.
        evaluations: denoiser evaluations for each image.

    Returns:
        The transmission.
    """
    ledger = Ledger(source_values=pictures[0].numel(), **channel.uses(symbols.shape[1])._asdict())
    snr = measured_snr_db(without_noise(symbols, received.h), received.y)
    if t is None:
        t = torch.full((len(pictures),), torch.nan, dtype=torch.float64, device="cpu")
    return Transmission(pictures, ledger, snr, t, evaluations, time.perf_counter() - begun)

# SPDX-License-Identifier: Apache-2.0
"""Describe the symbols of an image: the shape of its features, and the channel uses at each rate."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.transmission.header import HEADER_USES


class Layout(NamedTuple):
    """Hold the shape of an image's features and count the channel uses that they take.

    Attributes:
        image: (C, H, W) of the image.
        multiple: images are padded to multiples of so many pixels.
        cell: pixels on the side of the square that one set of features stands for.
        channels: real features of each cell at the full rate.
        rates: numbers of symbol channels on offer, at most `channels`.
        header: whether a header is sent ahead, see `semdiff.transmission.header`.
        nominal: True gives ratios on whole cells, for models of any size; False gives those of this image, padding included.
    """

    image: tuple[int, int, int]
    multiple: int
    cell: int
    channels: int
    rates: tuple[int, ...]
    header: bool = False
    nominal: bool = False

    @property
    def symbols(self) -> tuple[int, int, int]:
        """Return (channels, h, w) of the features at the full rate."""
        _, height, width = (-(-n // self.multiple) * self.multiple for n in self.image)
        return self.channels, height // self.cell, width // self.cell

    def uses(self, channels: int) -> int:
        """Count the complex channel uses of one image sent with `channels` symbol channels, header included."""
        _, h, w = self.symbols
        return -(-channels * h * w // 2) + (HEADER_USES if self.header else 0)

    @property
    def counts(self) -> list[int]:
        """List the numbers of symbol channels that can be sent, in rising order.

        They are the trained rates and all numbers between, since the first channels matter most. Numbers that take
        equally many channel uses appear once, since the receiver could not tell them apart.
        """
        counts = [*range(min(self.rates), max(self.rates) + 1), *self.rates]
        return sorted({self.uses(channels): channels for channels in counts}.values())

    def cbr(self, channels: int) -> float:
        """Compute the complex channel uses for each source value, sent with `channels` symbol channels."""
        c, height, width = self.image
        return channels / (2 * c * self.cell**2) if self.nominal else self.uses(channels) / (c * height * width)

    @property
    def cbrs(self) -> dict[int, float]:
        """Return `cbr` by number of symbol channels, for the rates on offer."""
        return {channels: self.cbr(channels) for channels in self.rates}

    def channels_of(self, symbols: Tensor) -> int:
        """Find the number of symbol channels with which symbols were sent.

        Args:
            symbols: complex (B, uses), finite.

        Returns:
            The number of symbol channels that takes so many uses.

        Raises:
            TypeError, ValueError: for symbols that do not belong to this layout.
        """
        if not isinstance(symbols, Tensor) or not symbols.is_complex():
            raise TypeError(f"symbols: expected a complex tensor (B, uses), got {getattr(symbols, 'dtype', type(symbols).__name__)}")
        offers = {self.uses(channels): channels for channels in self.counts}
        if symbols.dim() != 2 or symbols.shape[0] == 0 or symbols.shape[1] not in offers:
            trained = sorted(map(self.uses, self.rates))
            between = " or what whole channels between them take" if len(offers) > len(trained) else ""
            raise ValueError(f"symbols: expected shape (B, uses) with uses one of {trained}{between}, got {tuple(symbols.shape)}")
        if not bool(torch.view_as_real(symbols).isfinite().all()):
            raise ValueError("symbols: expected finite numbers, got NaN or infinity")
        return offers[symbols.shape[1]]

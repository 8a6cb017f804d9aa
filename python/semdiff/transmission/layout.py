# SPDX-License-Identifier: Apache-2.0
"""How images of one size lie on the air: the shape of their features, and what each rate costs."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.transmission.header import USES as HEADER_USES


class Layout(NamedTuple):
    """image: (C, H, W), padded to multiples of `multiple` pixels. Each cell of `cell` x `cell` pixels has `channels` real features at the
    full rate.

    rates: how many of them each offer sends. header: whether a header goes ahead. nominal: the offers are called by their ratio on whole
    cells, for models of any size; else by what an image really costs.
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
        """(channels, h, w) of the features at the full rate."""
        _, height, width = (-(-n // self.multiple) * self.multiple for n in self.image)
        return self.channels, height // self.cell, width // self.cell

    def uses(self, channels: int) -> int:
        """Complex channel uses for one image, the header among them."""
        _, h, w = self.symbols
        return -(-channels * h * w // 2) + (HEADER_USES if self.header else 0)

    @property
    def counts(self) -> list[int]:
        """Numbers of symbol channels that can be sent, since the first matter most: the rates and all between them, as far as the number
        of uses tells them apart."""
        counts = [*range(min(self.rates), max(self.rates) + 1), *self.rates]
        return sorted({self.uses(channels): channels for channels in counts}.values())

    def cbr(self, channels: int) -> float:
        """Complex uses for each source value."""
        c, height, width = self.image
        return channels / (2 * c * self.cell**2) if self.nominal else self.uses(channels) / (c * height * width)

    @property
    def cbrs(self) -> dict[int, float]:
        """`cbr` of the rates on offer."""
        return {channels: self.cbr(channels) for channels in self.rates}

    def channels_of(self, symbols: Tensor) -> int:
        """The rate at which symbols, complex (B, uses), were sent. TypeError or ValueError where they are none of this layout."""
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

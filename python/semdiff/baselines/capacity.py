# SPDX-License-Identifier: Apache-2.0
"""The same image codecs behind an ideal channel code: as many bits as Shannon's capacity, never an error. No real code reaches this."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semdiff.baselines.arguments import check_pictures, choose_formats, choose_uses
from semdiff.baselines.packet import read, write
from semdiff.phy.channel import normalize_power, pack
from semdiff.rng import Key, normal
from semdiff.transmission.steps import StepCount
from semdiff.transmission.transmitter import Air, Decoded, ImageTransmitter


class Capacity(ImageTransmitter):
    """codec -> as many bits as the channel's capacity -> codec. Arguments as of `Digital`.

    Over fading the sum of log2(1 + |h|^2 / noise_var) over the picture's channel uses: the sender knows the gain and adapts the rate to it,
    so there is no outage. The power stays the same at every use.
    """

    any_uses = True  # an evaluation asks it for exactly the uses of the learned systems

    def __init__(self, codec: str = "best", outage: float | Tensor = 0.5) -> None:
        self.formats = choose_formats(codec)
        self.outage = torch.as_tensor(outage, dtype=torch.float32, device="cpu")

    def exchange(self, images: Tensor, air: Air, *, cbr: float | None, steps: StepCount, realism: float, key: Key) -> Decoded:
        """As `Digital.exchange`. Where the codec finds nothing that fits the capacity, the `outage` picture is shown."""
        shape = check_pictures(images)
        batch, uses = images.shape[0], choose_uses(cbr, shape[0] * shape[1] * shape[2])
        source = images.detach().float().cpu()
        # The symbols of an ideal code look like noise; they only probe the channel for its gains, which are those that `Digital` meets.
        symbols, _ = normalize_power(pack(normal((batch, 2 * uses), key.fold_in(1))))
        received = air(symbols)
        if received.y.shape != symbols.shape:
            got = tuple(received.y.shape)
            raise ValueError(f"channel: expected one received symbol for each sent, shape {tuple(symbols.shape)}, got {got}")
        snr = received.h.abs().square().double() / received.noise_var
        bits = (torch.log1p(snr) / math.log(2)).expand(symbols.shape).sum(1)
        pictures = self.outage.expand(source.shape).clone()
        for i, budget in enumerate(bits.floor().int().tolist()):
            picture = read(write(source[i], budget, self.formats), shape, self.formats)
            if picture is not None:
                pictures[i] = picture
        return Decoded(pictures.to(images))

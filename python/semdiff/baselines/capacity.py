# SPDX-License-Identifier: Apache-2.0
"""The same image codecs behind an ideal channel code: as many bits as Shannon's capacity, never an error. No real code reaches this."""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from semdiff.baselines.arguments import check_pictures, check_unused, choose_formats, choose_uses
from semdiff.baselines.packet import read, write
from semdiff.phy.channel import AWGN, Channel, normalize_power, pack
from semdiff.rng import Key, KeyLike, normal
from semdiff.transmission.inputs import per_sample
from semdiff.transmission.ledger import Transmission, conclude
from semdiff.transmission.steps import Steps


class Capacity:
    """codec -> as many bits as the channel's capacity -> codec. Arguments as of `Digital`.

    Over fading the sum of log2(1 + |h|^2 / noise_var) over the picture's channel uses: the sender knows the gain and adapts the rate to it,
    so there is no outage. The power stays the same at every use.
    """

    any_uses = True  # an evaluation asks it for exactly the uses of the learned systems

    def __init__(self, codec: str = "best", outage: float | Tensor = 0.5) -> None:
        self.formats = choose_formats(codec)
        self.outage = torch.as_tensor(outage, dtype=torch.float32, device="cpu")

    @torch.no_grad()
    def transmit(
        self,
        images: Tensor,
        snr_db: float | Tensor,
        cbr: float | None = None,
        channel: Channel | None = None,
        steps: Steps | None = None,
        realism: float | None = None,
        key: KeyLike = None,
    ) -> Transmission:
        """As `Digital.transmit`. Where the codec finds nothing that fits the capacity, the `outage` picture is shown."""
        begun = time.perf_counter()
        shape = check_pictures(images)
        check_unused(steps, realism)
        batch, values = images.shape[0], shape[0] * shape[1] * shape[2]
        wanted = per_sample(snr_db, "snr_db", batch)
        uses = choose_uses(cbr, values)
        source = images.detach().float().cpu()
        # The symbols of an ideal code look like noise; they only probe the channel for its gains, which are those that `Digital` meets.
        base = Key.of(key)
        symbols, _ = normalize_power(pack(normal((batch, 2 * uses), base.fold_in(1))))
        channel = AWGN() if channel is None else channel
        received = channel(symbols, wanted, base.fold_in(0))
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
        return conclude(pictures.to(images), symbols, received, channel, begun)

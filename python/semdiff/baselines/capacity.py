# SPDX-License-Identifier: Apache-2.0
"""Send an image codec's bytes at Shannon's capacity, never with an error. No real code reaches this."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from semdiff._util.child_keys import CODEWORD
from semdiff.baselines.digital_inputs import check_pictures, choose_formats, choose_uses
from semdiff.baselines.packet import read_packet, write_packet
from semdiff.phy.channel import normalize_power, pack
from semdiff.rng import Key, normal
from semdiff.transmission.step_count import StepCount
from semdiff.transmission.transmitter import Air, Decoded, ImageTransmitter


class Capacity(ImageTransmitter):
    """Send images by a codec and an ideal channel code: as many bits as the channel's capacity.

    Over fading the capacity is the sum of log2(1 + |h|^2 / noise_var) over the image's channel uses: the sender knows the gain and adapts
    the rate to it, so there is no outage. The power is the same at every use.

    Args:
        codec: jpeg, jp2, webp, avif, or best, see `Digital`.
        outage: a number or (C, H, W), shown where not even the smallest file fits.

    Example:
        >>> import semdiff as sd
        >>> from semdiff.baselines import Capacity
        >>> from semdiff.data import sample_photos
        >>> sent = Capacity("jpeg").transmit(sample_photos()[:1, :, :64, :64], snr_db=10.0, cbr=1 / 12, key=sd.Key(0))
        >>> sent.images.shape, sent.ledger.total
        (torch.Size([1, 3, 64, 64]), 1024)
    """

    any_uses = True  # an evaluation asks it for exactly the uses of the learned systems

    def __init__(self, codec: str = "best", outage: float | Tensor = 0.5) -> None:
        self.formats = choose_formats(codec)
        self.outage = torch.as_tensor(outage, dtype=torch.float32, device="cpu")

    def exchange(self, images: Tensor, air: Air, *, cbr: float | None, steps: StepCount, realism: float, key: Key) -> Decoded:
        """Compress to the channel's capacity and decode without an error.

        Args:
            images: float (B, 1 or 3, H, W) in [0, 1].
            air: the channel; its gains and noise give the capacity.
            cbr: rounded to whole channel uses; None is 1/12.
            steps, realism: without effect.
            key: of the symbols that probe the channel.
        """
        shape = check_pictures(images)
        batch, uses = images.shape[0], choose_uses(cbr, shape[0] * shape[1] * shape[2])
        source = images.detach().float().cpu()
        # The symbols of an ideal code look like noise; they only probe the channel for its gains, which are those that `Digital` meets.
        symbols, _ = normalize_power(pack(normal((batch, 2 * uses), key.fold_in(CODEWORD))))
        received = air(symbols)
        if received.y.shape != symbols.shape:
            got = tuple(received.y.shape)
            raise ValueError(f"channel: expected one received symbol for each sent, shape {tuple(symbols.shape)}, got {got}")
        snr = received.h.abs().square().double() / received.noise_var
        bits = (torch.log1p(snr) / math.log(2)).expand(symbols.shape).sum(1)
        pictures = self.outage.expand(source.shape).clone()
        for i, budget in enumerate(bits.floor().int().tolist()):
            picture = read_packet(write_packet(source[i], budget, self.formats), shape, self.formats)
            if picture is not None:
                pictures[i] = picture
        return Decoded(pictures.to(images))

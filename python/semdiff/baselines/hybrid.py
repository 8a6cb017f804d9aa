# SPDX-License-Identifier: Apache-2.0
"""Send images by hybrid digital-analog coding: a codec's picture behind a channel code, and what it lacks as plain numbers beside it."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.baselines.digital import equalized_symbols
from semdiff.baselines.digital_inputs import check_pictures, choose_formats, choose_uses
from semdiff.baselines.hybrid_reception import HybridReception, receive_hybrid
from semdiff.baselines.modem import Modem, shared_modem
from semdiff.baselines.packet import read_packet, write_packet
from semdiff.baselines.residual import (
    Plan,
    analyze,
    classify,
    describe,
    from_bits,
    make_plan,
    profile_bits,
    read_profile,
    to_bits,
)
from semdiff.baselines.schemes import choose_scheme
from semdiff.phy.channel import pack, unpack
from semdiff.phy.sionna_phy import sionna_phy
from semdiff.rng import Key
from semdiff.transmission.inputs import check_share, per_sample
from semdiff.transmission.step_count import StepCount
from semdiff.transmission.transmitter import Air, Decoded, ImageTransmitter

SCALE_BITS, SCALE_STEP_DB = 8, 0.1
HALF = 2 ** (SCALE_BITS - 1)
NOTHING = 0.5  # a base picture where not even the smallest file fits: both ends know it


class Coded(NamedTuple):
    """Hold what a sender makes of one image.

    Attributes:
        bits: of the packet, uint8.
        numbers: that are sent beside it, of unit power or a little less, (slots,).
        base: what the receiver will have of the codec, (C, H, W).
        plan: of the residual.
        scale: by which the numbers were multiplied.
    """

    bits: Tensor
    numbers: Tensor
    base: Tensor
    plan: Plan
    scale: float


class Hybrid(ImageTransmitter):
    """Send images by a codec and a channel code, and the codec's error by an analog code beside it.

    A part of the uses carries a packet: the codec's picture, the base, and a `Profile` of what the base lacks. The others carry the
    strongest coefficients of that residual, as they are. The receiver's picture therefore improves with the SNR, beyond the one that the
    channel code was chosen for, where a codec's stays as it is. Cells get as many symbols as pay: see `semdiff.baselines.residual`.

    Where the packet's CRC fails, the receiver knows nothing of the base, and shows the `outage` image.

    Args:
        share: of the uses for the packet. 1 is `Digital`, which also pictures get whose packet a profile would fill by half.
        margin_db: the packet's modulation and code rate are chosen for an SNR so much lower.
        codec, target_bler, outage: as of `Digital`, for the packet.
        design_snr_db: an SNR in dB to choose all for, whatever the channel's is; None is the channel's.

    Raises:
        ValueError: naming the argument.
        ImportError: where sionna is not installed.

    Example:
        >>> import semdiff as sd
        >>> from semdiff.baselines import Hybrid
        >>> from semdiff.data import sample_photos
        >>> sent = Hybrid(codec="webp").transmit(sample_photos()[:1, :, :64, :64], snr_db=10.0, cbr=1 / 12, key=sd.Key(0))
        >>> sent.images.shape, sent.ledger.total
        (torch.Size([1, 3, 64, 64]), 1024)
    """

    any_uses = True  # an evaluation asks it for exactly the uses of the learned systems

    def __init__(
        self,
        share: float = 0.7,
        margin_db: float = 0.0,
        codec: str = "best",
        target_bler: float = 0.01,
        design_snr_db: float | None = None,
        outage: float | Tensor = 0.5,
    ) -> None:
        sionna_phy()  # what is missing is said before any work
        self.share = check_share(share, "share")
        if self.share == 0.0:
            raise ValueError(f"share: expected a number above 0, since the packet says what the rest means, got {share}")
        self.margin_db = float(per_sample(margin_db, "margin_db", 1))
        self.codec, self.formats = codec, choose_formats(codec)
        if not 1e-4 <= target_bler <= 0.5:
            raise ValueError(f"target_bler: expected a share in [0.0001, 0.5], got {target_bler}")
        self.target_bler = target_bler
        self.design_snr_db = None if design_snr_db is None else float(per_sample(design_snr_db, "design_snr_db", 1))
        self.outage = torch.as_tensor(outage, dtype=torch.float32, device="cpu")

    def modem(self, uses: int, snr_db: float, colours: int) -> Modem:
        """Choose how the packet is sent, which both ends derive from what they know.

        Args:
            uses: channel uses of one image.
            snr_db: of the channel.
            colours: of the image.

        Returns:
            The modem; its `uses` are fewer than `uses` where a residual is sent beside the packet.
        """
        for packet_uses in (round(self.share * uses), uses):
            least = 0 if packet_uses == uses else 2 * (SCALE_BITS + profile_bits(colours))
            if packet_uses * 8 < least:  # no scheme brings more than eight bits a use
                continue
            modem = shared_modem(packet_uses, choose_scheme(packet_uses, snr_db - self.margin_db, self.target_bler))
            if modem.info_bits >= least:
                break
        return modem

    def exchange(self, images: Tensor, air: Air, *, cbr: float | None, steps: StepCount, realism: float, key: Key) -> Decoded:
        """Compress, code, send and decode.

        Args:
            images: float (B, 1 or 3, H, W) in [0, 1].
            air: the channel.
            cbr: rounded to whole channel uses; None is 1/12.
            steps, realism, key: as in `show`.
        """
        shape = check_pictures(images)
        uses = choose_uses(cbr, shape[0] * shape[1] * shape[2])
        source = images.detach().float().cpu()
        designs = [snr if self.design_snr_db is None else self.design_snr_db for snr in air.snr_db.tolist()]
        modems = [self.modem(uses, snr, shape[0]) for snr in designs]
        symbols = torch.cat([self._send(*one, uses) for one in zip(source, modems, designs, strict=True)])
        x, noise_var = equalized_symbols(air(symbols), symbols)
        received = [self._receive(*one, shape) for one in zip(x, noise_var, modems, designs, strict=True)]
        shown = [self._shown(one, shape, steps, realism, key.fold_in(n)) for n, one in enumerate(received)]
        evaluations = max(one.evaluations for one in shown)
        return Decoded(torch.cat([one.images for one in shown]).to(images), evaluations=evaluations)

    def show(self, reception: HybridReception, steps: StepCount, realism: float, key: Key) -> Decoded:
        """Make a picture of what arrived: the linear estimate.

        Args:
            reception: of one picture.
            steps, realism, key: without effect.
        """
        return Decoded(reception.picture.clamp(0, 1))

    def _shown(
        self, received: HybridReception | Tensor | None, shape: tuple[int, int, int], steps: StepCount, realism: float, key: Key
    ) -> Decoded:
        if isinstance(received, HybridReception):
            return self.show(received, steps, realism, key)
        return Decoded((self.outage.expand(shape) if received is None else received)[None])

    def code(self, image: Tensor, info_bits: int, slots: int, snr_db: float) -> Coded:
        """Code one image: the packet, and what is sent beside it.

        Args:
            image: (C, H, W) in [0, 1].
            info_bits: of the packet.
            slots: how many real numbers are sent.
            snr_db: that both ends expect, in dB.
        """
        shape = (image.shape[0], image.shape[1], image.shape[2])
        side = SCALE_BITS + profile_bits(shape[0])
        packet = write_packet(image, info_bits - side, self.formats)
        base = self._base(packet, shape)
        classes, residual = classify(analyze(base)), analyze(image - base)
        profile = describe(residual, classes)
        plan = make_plan(profile, classes, shape[0], slots, 10 ** (-snr_db / 10))
        numbers = plan.send(residual)
        level, scale = _quantised(numbers)
        bits = torch.cat([to_bits(torch.tensor([level], device="cpu"), SCALE_BITS), profile.to_bits(), packet])
        return Coded(bits, numbers * scale, base, plan, scale)

    def _send(self, image: Tensor, modem: Modem, snr_db: float, uses: int) -> Tensor:
        """One image's symbols, (1, uses)."""
        if modem.uses == uses:
            return modem.send(write_packet(image, modem.info_bits, self.formats)[None])
        coded = self.code(image, modem.info_bits, 2 * (uses - modem.uses), snr_db)
        return torch.cat([modem.send(coded.bits[None]), pack(coded.numbers[None])], 1)

    def _receive(
        self, x: Tensor, noise_var: Tensor, modem: Modem, snr_db: float, shape: tuple[int, int, int]
    ) -> HybridReception | Tensor | None:
        """Return what arrived of one image, or the image where it was in the packet alone, or None where its packet is lost."""
        bits, arrived = modem.receive(x[None, : modem.uses], noise_var[None, : modem.uses])
        if not bool(arrived):
            return None
        packet = bits[0].to(torch.uint8)
        if modem.uses == len(x):
            return read_packet(packet, shape, self.formats)
        side = SCALE_BITS + profile_bits(shape[0])
        base = self._base(packet[side:], shape)
        profile = read_profile(packet[SCALE_BITS:side], shape[0])
        plan = make_plan(profile, classify(analyze(base)), shape[0], 2 * (len(x) - modem.uses), 10 ** (-snr_db / 10))
        numbers = unpack(x[None, modem.uses :], (1, plan.slots))[0]
        scale, noise = _scale(int(from_bits(packet[:SCALE_BITS], SCALE_BITS))), noise_var[modem.uses :].repeat_interleave(2)
        return receive_hybrid(base, plan, numbers, scale, noise)

    def _base(self, packet: Tensor, shape: tuple[int, int, int]) -> Tensor:
        """The packet's picture."""
        picture = read_packet(packet, shape, self.formats)
        return torch.full(shape, NOTHING, device="cpu") if picture is None else picture


def _quantised(numbers: Tensor) -> tuple[int, float]:
    """The level and the scale that bring numbers to unit power or just below."""
    power = float(numbers.square().mean())
    level = HALF if power == 0 else HALF - math.ceil(10 * math.log10(power) / SCALE_STEP_DB)
    level = min(max(level, 0), 2 * HALF - 1)
    return level, _scale(level)


def _scale(level: int) -> float:
    return float(10 ** ((level - HALF) * SCALE_STEP_DB / 20))

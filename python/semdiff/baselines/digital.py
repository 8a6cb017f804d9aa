# SPDX-License-Identifier: Apache-2.0
"""Send images by separate source and channel coding: an image codec, a 5G code and QAM."""

from __future__ import annotations

import torch
from torch import Tensor

from semdiff.baselines.digital_inputs import check_pictures, choose_formats, choose_uses
from semdiff.baselines.modem import Scheme, shared_modem
from semdiff.baselines.packet import read_packet, write_packet
from semdiff.baselines.schemes import choose_scheme
from semdiff.phy.channel import Received
from semdiff.phy.equalizer import equalize
from semdiff.phy.sionna_phy import sionna_phy
from semdiff.rng import Key
from semdiff.transmission.inputs import per_sample
from semdiff.transmission.step_count import StepCount
from semdiff.transmission.transmitter import Air, Decoded, ImageTransmitter


class Digital(ImageTransmitter):
    """Send images by a codec and a channel code: codec -> CRC, LDPC, QAM -> channel -> soft decoding -> codec.

    Where the CRC fails, the receiver shows the `outage` image.

    Args:
        codec: jpeg, jp2, webp, avif, or best: for each image the one of least squared error, which costs two bits. Headers that follow from
            the image's size are known to both ends, see `semdiff.baselines.codecs`.
        target_bler: modulation and code rate are the fastest that lose at most this share of blocks over AWGN at the SNR. Both ends know
            the SNR, so the choice is not sent.
        design_snr_db: an SNR in dB to choose them for, whatever the channel's is; None is the channel's.
        outage: a number or (C, H, W), shown where nothing arrives: the mean of a training set, say.

    Raises:
        ValueError: naming the argument.
        ImportError: where sionna is not installed.

    Example:
        >>> import semdiff as sd
        >>> from semdiff.baselines import Digital
        >>> from semdiff.data import sample_photos
        >>> sent = Digital("webp").transmit(sample_photos()[:1, :, :64, :64], snr_db=10.0, cbr=1 / 12, key=sd.Key(0))
        >>> sent.images.shape, sent.ledger.total
        (torch.Size([1, 3, 64, 64]), 1024)
    """

    any_uses = True  # an evaluation asks it for exactly the uses of the learned systems

    def __init__(
        self, codec: str = "best", target_bler: float = 0.01, design_snr_db: float | None = None, outage: float | Tensor = 0.5
    ) -> None:
        sionna_phy()  # what is missing is said before any work
        self.formats = choose_formats(codec)
        if not 1e-4 <= target_bler <= 0.5:
            raise ValueError(f"target_bler: expected a share in [0.0001, 0.5], got {target_bler}")
        self.target_bler = target_bler
        self.design_snr_db = None if design_snr_db is None else float(per_sample(design_snr_db, "design_snr_db", 1))
        self.outage = torch.as_tensor(outage, dtype=torch.float32, device="cpu")

    def scheme(self, uses: int, snr_db: float) -> Scheme:
        """Choose the modulation and the code rate.

        Args:
            uses: channel uses of one image.
            snr_db: of the channel.
        """
        return choose_scheme(uses, snr_db if self.design_snr_db is None else self.design_snr_db, self.target_bler)

    def exchange(self, images: Tensor, air: Air, *, cbr: float | None, steps: StepCount, realism: float, key: Key) -> Decoded:
        """Compress, code, send and decode.

        Args:
            images: float (B, 1 or 3, H, W) in [0, 1].
            air: the channel.
            cbr: rounded to whole channel uses; None is 1/12.
            steps, realism, key: without effect.
        """
        shape = check_pictures(images)
        uses = choose_uses(cbr, shape[0] * shape[1] * shape[2])
        source = images.detach().float().cpu()
        schemes = [self.scheme(uses, snr) for snr in air.snr_db.tolist()]
        groups = {scheme: [i for i, own in enumerate(schemes) if own == scheme] for scheme in dict.fromkeys(schemes)}
        symbols = torch.empty(len(schemes), uses, dtype=torch.complex64, device="cpu")
        for scheme, rows in groups.items():
            coder = shared_modem(uses, scheme)
            symbols[rows] = coder.send(torch.stack([write_packet(source[i], coder.info_bits, self.formats) for i in rows]))
        x, noise_var = equalized_symbols(air(symbols), symbols)
        pictures = self.outage.expand(source.shape).clone()
        for scheme, rows in groups.items():
            packets, arrived = shared_modem(uses, scheme).receive(x[rows], noise_var[rows])
            for i, packet, ok in zip(rows, packets, arrived.tolist(), strict=True):
                picture = read_packet(packet, shape, self.formats) if ok else None
                if picture is not None:
                    pictures[i] = picture
        return Decoded(pictures.to(images))


def equalized_symbols(received: Received, symbols: Tensor) -> tuple[Tensor, Tensor]:
    """Equalise one symbol, with one noise variance, for each that was sent.

    Args:
        received: as the channel returned them.
        symbols: as sent, (B, uses).

    Returns:
        Symbols and noise variances, (B, uses) both.

    Raises:
        ValueError: where the channel did not return one for each.
    """
    uses = symbols.shape[1]
    x, noise_var, _ = (v[:, :uses] for v in equalize(received, "zf"))  # without a MIMO channel's padding
    if x.shape != symbols.shape:
        raise ValueError(f"channel: expected one received symbol for each sent, shape {tuple(symbols.shape)}, got {tuple(x.shape)}")
    return x, noise_var.expand(symbols.shape)

# SPDX-License-Identifier: Apache-2.0
"""Send bits as 5G does: CRC, LDPC code (3GPP TS 38.212), Gray-labelled QAM, and soft belief-propagation decoding.

Sionna's blocks do the arithmetic. A transport that exceeds the largest code block is cut into equal blocks; it arrives only if all do.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from semdiff.phy.sionna_phy import sionna_phy
from semdiff.rng import Key, normal

LARGEST_BLOCK = 8448  # bits that go into one LDPC code block, base graph 1
LARGEST_LOW_RATE_BLOCK = 3840  # base graph 2, which codes at rates up to LOW_RATE
LOW_RATE = Fraction(1, 4)
SMALLEST_BLOCK = 12 + 16  # the smallest block of sionna's encoder, and room for something besides the CRC
ITERATIONS = 20  # of belief propagation at most, sionna's usual number
ROUND = 5  # iterations between two looks at the CRC. Chosen by hand
SCRAMBLER = Key(38211)


class Scheme(NamedTuple):
    """Hold a modulation and a code rate, which both ends derive from the SNR.

    Attributes:
        bits_per_symbol: 2, 4, 6 or 8: QPSK to 256-QAM.
        rate: information bits (CRC included) for each coded bit.
    """

    bits_per_symbol: int  # 2, 4, 6, 8: QPSK to 256-QAM
    rate: Fraction  # information bits (CRC included) for each coded bit

    @property
    def efficiency(self) -> float:
        """Compute the information bits for each channel use, CRC included."""
        return float(self.bits_per_symbol * self.rate)

    def blocks(self, uses: int) -> int:
        """Count the code blocks of a transport of `uses` channel uses."""
        largest = LARGEST_LOW_RATE_BLOCK if self.rate <= LOW_RATE else LARGEST_BLOCK
        return max(1, math.ceil(uses * self.efficiency / largest))

    def block_uses(self, uses: int) -> int:
        """Compute the channel uses of each code block of a transport of `uses` channel uses."""
        return uses // self.blocks(uses)


class Modem:
    """Send bits by one scheme over one number of channel uses: `info_bits` bits a transport, in symbols of unit average power.

    Args:
        uses: channel uses of a transport.
        scheme: modulation and code rate.

    Raises:
        ValueError: where the uses do not hold the smallest code block.
    """

    def __init__(self, uses: int, scheme: Scheme) -> None:
        self.uses, self.scheme = uses, scheme
        self.blocks, self.block_uses = scheme.blocks(uses), scheme.block_uses(uses)
        self.n = self.block_uses * scheme.bits_per_symbol
        self.k = math.ceil(self.n * scheme.rate)  # never below rate 1/5, the least of the code
        if self.k < SMALLEST_BLOCK:
            raise ValueError(
                f"uses: expected enough for a code block of {SMALLEST_BLOCK} bits with CRC, got {uses}, "
                f"which at {scheme.efficiency:.2f} bits a symbol hold {self.k}"
            )
        crc = "CRC16" if self.k <= 3824 + 16 else "CRC24A"  # TS 38.212, 7.2.1
        self.block_bits = self.k - int(crc.removeprefix("CRC").rstrip("A"))
        self.info_bits = self.blocks * self.block_bits
        fec, mapping = sionna_phy().fec, sionna_phy().mapping
        options = {"device": "cpu", "precision": "single"}
        self._add_crc = fec.crc.CRCEncoder(crc, k=self.block_bits, **options)
        self._check_crc = fec.crc.CRCDecoder(self._add_crc, **options)
        self._encode = fec.ldpc.LDPC5GEncoder(self.k, self.n, num_bits_per_symbol=scheme.bits_per_symbol, **options)
        self._decode = fec.ldpc.LDPC5GDecoder(self._encode, return_state=True, num_iter=ROUND, **options)
        self._map = mapping.Mapper("qam", scheme.bits_per_symbol, **options)
        self._demap = mapping.Demapper("app", "qam", scheme.bits_per_symbol, **options)
        # Padding must not favour some of the constellation's points: their average power is 1 only if all are equally likely.
        self._scrambler = (normal((self.info_bits,), SCRAMBLER) > 0).float()

    @torch.no_grad()
    def send(self, bits: Tensor) -> Tensor:
        """Encode bits as symbols.

        Args:
            bits: (B, info_bits) of 0 and 1.

        Returns:
            complex64 (B, uses).
        """
        scrambled = (bits.float() - self._scrambler).abs().reshape(-1, self.blocks, self.block_bits)
        symbols: Tensor = self._map(self._encode(self._add_crc(scrambled))).flatten(1)
        return torch.cat([symbols, symbols[:, : self.uses - symbols.shape[1]]], 1)  # fewer than `blocks` uses are left over

    @torch.no_grad()
    def receive(self, x: Tensor, noise_var: Tensor) -> tuple[Tensor, Tensor]:
        """Decode received symbols.

        Args:
            x: equalised symbols, complex (B, uses).
            noise_var: their noise variances, broadcastable to them.

        Returns:
            Bits (B, info_bits), and whether each transport arrived, bool (B,).
        """
        used = self.blocks * self.block_uses
        x, variance = torch.broadcast_tensors(x.to(torch.complex64), noise_var.to(torch.float32))[0:2]
        llr = self._demap(x[:, :used].contiguous(), variance[:, :used].contiguous())
        bits, valid = self._decode_blocks(llr.reshape(-1, self.n))
        bits = bits.reshape(-1, self.info_bits)
        return (bits - self._scrambler).abs(), valid.reshape(-1, self.blocks).all(1)

    def _decode_blocks(self, llr: Tensor) -> tuple[Tensor, Tensor]:
        """(bits (N, block_bits), CRC valid (N,)). Blocks whose CRC is right leave the belief propagation, as in hardware."""
        bits = llr.new_zeros(llr.shape[0], self.block_bits)
        valid = torch.zeros(llr.shape[0], dtype=torch.bool, device=llr.device)
        for part in torch.arange(llr.shape[0], device=llr.device).split(64):  # so that the messages fit the cache
            waiting, state = part, None
            for _ in range(ITERATIONS // ROUND):
                decoded, state = self._decode(llr[waiting], msg_v2c=state)
                bits[waiting], right = self._check_crc(decoded)
                valid[waiting] = right = right.reshape(-1)
                waiting, state = waiting[~right], state[~right]
                if waiting.numel() == 0:
                    break
        return bits, valid


@lru_cache(maxsize=64)
def shared_modem(uses: int, scheme: Scheme) -> Modem:
    """Return a `Modem`, made at the first call: building its code's graph takes longer than decoding a few blocks.

    Args:
        uses, scheme: of the modem.
    """
    with torch.device("cpu"):  # whatever the default device is: what is kept here serves every later call
        return Modem(uses, scheme)

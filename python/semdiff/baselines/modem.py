# SPDX-License-Identifier: Apache-2.0
"""Bits over the air as 5G does it: CRC, LDPC code (3GPP TS 38.212), Gray-labelled QAM, and soft belief-propagation decoding.

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
ITERATIONS, ROUND = 20, 5
SCRAMBLER = Key(38211)


class Scheme(NamedTuple):
    """A modulation and a code rate: what both ends derive from the SNR."""

    bits_per_symbol: int  # 2, 4, 6, 8: QPSK to 256-QAM
    rate: Fraction  # information bits (CRC included) for each coded bit

    @property
    def efficiency(self) -> float:
        """Information bits for each channel use, CRC included."""
        return float(self.bits_per_symbol * self.rate)

    def blocks(self, uses: int) -> int:
        largest = LARGEST_LOW_RATE_BLOCK if self.rate <= LOW_RATE else LARGEST_BLOCK
        return max(1, math.ceil(uses * self.efficiency / largest))

    def block_uses(self, uses: int) -> int:
        return uses // self.blocks(uses)


class Modem:
    """One scheme at one number of channel uses: `info_bits` bits a transport, in `uses` symbols of unit average power.

    ValueError where the uses do not hold the smallest code block.
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
        """bits (B, info_bits) of 0 and 1 to symbols, complex64 (B, uses)."""
        scrambled = (bits.float() - self._scrambler).abs().reshape(-1, self.blocks, self.block_bits)
        symbols: Tensor = self._map(self._encode(self._add_crc(scrambled))).flatten(1)
        return torch.cat([symbols, symbols[:, : self.uses - symbols.shape[1]]], 1)  # fewer than `blocks` uses are left over

    @torch.no_grad()
    def receive(self, x: Tensor, noise_var: Tensor) -> tuple[Tensor, Tensor]:
        """Equalised symbols (B, uses) and their noise variances, broadcastable to them, to (bits (B, info_bits), arrived (B,))."""
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
def modem(uses: int, scheme: Scheme) -> Modem:
    """A Modem, kept: building its code's graph takes longer than decoding a few blocks."""
    with torch.device("cpu"):  # whatever the default device is: what is kept here serves every later call
        return Modem(uses, scheme)

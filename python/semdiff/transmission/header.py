# SPDX-License-Identifier: Apache-2.0
"""One number ahead of the symbols: how much a sample's features were divided by, to be of unit power.

A fully convolutional network learns how much power each place deserves. Dividing by the power of the whole picture, as the air demands,
hides that from a receiver that sees other pictures beside it, so it is told: 7 bits, a step of 0.38 dB, by the first-order Reed-Muller code
of length 64 (biorthogonal, decoded by a Hadamard transform; Green, JPL 1966), sent twice, two chips a symbol, at distance 64 of 128.
The range is wide, since a trained network's features have from -16 to 0 dB of power, depending on SNR and rate, and pictures differ by
another 10 dB. What is told is the mean of the level's posterior: where the header is clear that is the level that was sent, in a deep
fade what is usual. The most likely level would be any of the 128 there, and a picture that is taken for 20 dB fainter is lost.
"""

from __future__ import annotations

import torch
from torch import Tensor

USES = 64
LENGTH, REPEATS = 64, 2
LOWEST_DB, STEP_DB = -36.0, 48.0 / 127
USUAL_DB, SPREAD_DB = -8.0, 6.0  # mean and standard deviation of levels before anything is heard


def scale_to_symbols(scale: Tensor) -> Tensor:
    """Scales (B,) above zero to complex64 (B, USES), each of power 1. Scales beyond -36 to 12 dB are sent as the nearest end."""
    level = ((20 * scale.double().log10() - LOWEST_DB) / STEP_DB).round().clamp(0, 127).long()
    chips = (1 - 2 * (level // LENGTH))[:, None] * _codewords(scale.device)[level % LENGTH]
    return torch.view_as_complex(chips.repeat(1, REPEATS).view(len(scale), USES, 2).float() * 0.5**0.5)


def symbols_to_scale(x: Tensor, weight: Tensor) -> Tensor:
    """10^(E[level in dB] / 20), float64 (B,), for received symbols x, complex (B, USES). weight (B, USES): gain over noise variance.

    With x = gain s + noise and chips of amplitude sqrt(1/2) the log-likelihood of a codeword is sqrt(2) times its correlation with
    weight x, up to what all have in common.
    """
    chips = torch.view_as_real(x * weight.to(x.real.dtype)).double().reshape(len(x), REPEATS, LENGTH).sum(1)
    correlation = chips @ _codewords(x.device).double().T
    levels_db = LOWEST_DB + STEP_DB * torch.arange(2 * LENGTH, dtype=torch.float64, device=x.device)
    prior = -0.5 * ((levels_db - USUAL_DB) / SPREAD_DB).square()
    posterior = (2**0.5 * torch.cat([correlation, -correlation], 1) + prior).softmax(1)
    return 10 ** (posterior @ levels_db / 20)


def _codewords(device: torch.device) -> Tensor:
    """Sylvester's Hadamard matrix (LENGTH, LENGTH): entry (i, j) is -1 to the number of ones that i and j share."""
    n = torch.arange(LENGTH, device=device)
    shared = n[:, None] & n
    for shift in (4, 2, 1):
        shared = shared ^ (shared >> shift)
    return 1 - 2 * (shared & 1)

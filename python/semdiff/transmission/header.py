# SPDX-License-Identifier: Apache-2.0
"""Send one number ahead of the symbols: the factor by which a sample's features were divided to have unit power.

A fully convolutional network learns how much power each place deserves. A transmission needs unit power over the whole picture, and
dividing by that power hides from the receiver what the network decided, so the divisor is sent: 7 bits, in steps of 0.38 dB. The code is
the first-order Reed-Muller code of length 64 (biorthogonal, decoded by a Hadamard transform; Green, JPL 1966), sent twice, two chips a
symbol, at distance 64 of 128.

The range covers trained networks, whose features have a power of -16 to 0 dB, depending on SNR and rate, and pictures, which differ by
another 10 dB. The receiver takes the mean of the level's posterior: for a clear header that is the level sent, in a deep fade the usual
one. The most likely level could be any of the 128 in a deep fade, and a picture taken for 20 dB fainter than it is would be lost.
"""

from __future__ import annotations

import torch
from torch import Tensor

HEADER_USES = 64
LENGTH, REPEATS = 64, 2
LOWEST_DB, STEP_DB = -36.0, 48.0 / 127
# Prior of a level in dB, for a header that noise hides. Chosen by hand: features have -16 to 0 dB on average, pictures differ by 10 dB.
PRIOR_MEAN_DB, PRIOR_STD_DB = -8.0, 6.0


def scale_to_symbols(scale: Tensor) -> Tensor:
    """Encode scales as header symbols.

    Args:
        scale: float (B,), above zero. Scales beyond -36 to 12 dB are sent as the nearest end.

    Returns:
        complex64 (B, HEADER_USES), each symbol of power 1.
    """
    level = ((20 * scale.double().log10() - LOWEST_DB) / STEP_DB).round().clamp(0, 127).long()
    chips = (1 - 2 * (level // LENGTH))[:, None] * _codewords(scale.device)[level % LENGTH]
    return torch.view_as_complex(chips.repeat(1, REPEATS).view(len(scale), HEADER_USES, 2).float() * 0.5**0.5)


def symbols_to_scale(x: Tensor, weight: Tensor) -> Tensor:
    """Decode scales from received header symbols, as the mean of the level's posterior.

    With x = gain s + noise and chips of amplitude sqrt(1/2) the log-likelihood of a codeword is, up to a constant, sqrt(2) times its
    correlation with weight x.

    Args:
        x: received symbols, complex (B, HEADER_USES).
        weight: float (B, HEADER_USES), gain over noise variance of each symbol.

    Returns:
        10^(E[level in dB] / 20), float64 (B,).
    """
    chips = torch.view_as_real(x * weight.to(x.real.dtype)).double().reshape(len(x), REPEATS, LENGTH).sum(1)
    correlation = chips @ _codewords(x.device).double().T
    levels_db = LOWEST_DB + STEP_DB * torch.arange(2 * LENGTH, dtype=torch.float64, device=x.device)
    prior = -0.5 * ((levels_db - PRIOR_MEAN_DB) / PRIOR_STD_DB).square()
    posterior = (2**0.5 * torch.cat([correlation, -correlation], 1) + prior).softmax(1)
    return 10 ** (posterior @ levels_db / 20)


def _codewords(device: torch.device) -> Tensor:
    """Sylvester's Hadamard matrix (LENGTH, LENGTH): entry (i, j) is -1 to the number of ones that i and j share."""
    n = torch.arange(LENGTH, device=device)
    shared = n[:, None] & n
    for shift in (4, 2, 1):
        shared = shared ^ (shared >> shift)
    return 1 - 2 * (shared & 1)

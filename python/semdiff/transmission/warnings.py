# SPDX-License-Identifier: Apache-2.0
"""Warn of use outside a model's training. The model still works there, at some loss."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from semdiff.transmission.symbols import TINY

TOLERANCE_DB = 0.05  # chosen by hand: an SNR that was estimated, or computed from a noise variance, is off by less


def check_range(trained: Sequence[float] | None) -> None:
    """Check a range of SNRs.

    Args:
        trained: None, or [low, high] in dB with low < high.

    Raises:
        ValueError: for anything else.
    """
    if trained is not None and not (len(trained) == 2 and trained[0] < trained[1]):
        raise ValueError(f"snr_db_range: expected two rising SNRs in dB, got {trained}")


def average_snr_db(gain: Tensor, noise_var: Tensor, fading: bool) -> Tensor:
    """Compute the average SNR of symbols.

    Args:
        gain: complex gains, broadcastable to the symbols (B, uses).
        noise_var: noise variances, broadcastable to the symbols.
        fading: True averages over the batch, since a deep fade of one sample does not make the channel one of another SNR.

    Returns:
        float64 in dB, (B,), or (1,) with fading.
    """
    power = gain.abs().square().double().mean(1).cpu() / noise_var.double().cpu().mean(1)
    return 10 * (power.mean(0, keepdim=True) if fading else power).clamp_min(TINY).log10()


def warn_of_snr(snr_db: Tensor, trained: Sequence[float] | None) -> None:
    """Give one UserWarning where SNRs lie outside the training's range.

    Args:
        snr_db: (B,).
        trained: [low, high] in dB; None is unknown and gives no warning.
    """
    if trained is None:
        return
    low, high = trained
    beyond = snr_db[(snr_db < low - TOLERANCE_DB) | (snr_db > high + TOLERANCE_DB)]
    if len(beyond):
        least, most = float(beyond.min()), float(beyond.max())
        got = f"{least:.4g}" if most - least < TOLERANCE_DB else f"{least:.4g} to {most:.4g}"
        warnings.warn(f"snr_db: this model was trained for {low:g} to {high:g} dB and not for {got} dB", stacklevel=2)


def warn_of_rate(cbr: float, trained: Sequence[float]) -> None:
    """Give a UserWarning for a bandwidth ratio between those of the training.

    Args:
        cbr: the ratio in use.
        trained: the ratios of the training.
    """
    known = ", ".join(f"1/{1 / ratio:.3g}" for ratio in sorted(trained, reverse=True))
    warnings.warn(f"cbr: this model was trained for {known} and not for 1/{1 / cbr:.3g}", stacklevel=2)

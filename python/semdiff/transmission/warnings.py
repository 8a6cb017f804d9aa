# SPDX-License-Identifier: Apache-2.0
"""What a model was trained for. It works beyond that, as it happens; whoever goes there is told."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from torch import Tensor

from semdiff.transmission.symbols import SMALLEST

TOLERANCE_DB = 0.05  # an SNR that was estimated, or came back from a noise variance


def check_range(trained: Sequence[float] | None) -> None:
    """None or [low, high] with low < high. ValueError otherwise."""
    if trained is not None and not (len(trained) == 2 and trained[0] < trained[1]):
        raise ValueError(f"snr_db_range: expected two rising SNRs in dB, got {trained}")


def average_snr_db(gain: Tensor, noise_var: Tensor, fading: bool) -> Tensor:
    """Of symbols (B, uses) with these gains and noises, broadcastable to them: float64 (B,). fading: (1,), the batch's average, since a
    sample in a deep fade is no channel of another SNR."""
    power = gain.abs().square().double().mean(1).cpu() / noise_var.double().cpu().mean(1)
    return 10 * (power.mean(0, keepdim=True) if fading else power).clamp_min(SMALLEST).log10()


def warn_of_snr(snr_db: Tensor, trained: Sequence[float] | None) -> None:
    """One UserWarning where SNRs (B,) lie outside the range [low, high] of training; None is not known."""
    if trained is None:
        return
    low, high = trained
    beyond = snr_db[(snr_db < low - TOLERANCE_DB) | (snr_db > high + TOLERANCE_DB)]
    if len(beyond):
        least, most = float(beyond.min()), float(beyond.max())
        got = f"{least:.4g}" if most - least < TOLERANCE_DB else f"{least:.4g} to {most:.4g}"
        warnings.warn(f"snr_db: this model was trained for {low:g} to {high:g} dB and not for {got} dB", stacklevel=2)


def warn_of_rate(cbr: float, trained: Sequence[float]) -> None:
    """A UserWarning: a bandwidth ratio between those of training."""
    known = ", ".join(f"1/{1 / ratio:.3g}" for ratio in sorted(trained, reverse=True))
    warnings.warn(f"cbr: this model was trained for {known} and not for 1/{1 / cbr:.3g}", stacklevel=2)

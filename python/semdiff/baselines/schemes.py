# SPDX-License-Identifier: Apache-2.0
"""Choose modulation and code rate for an SNR, from thresholds.csv, which `python -m semdiff.baselines.thresholds` makes by simulation."""

from __future__ import annotations

import csv
import math
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from semdiff.baselines.modem import Scheme


class Threshold(NamedTuple):
    """Hold the SNRs in dB at which a block of so many channel uses fails one time in ten, and one in a hundred, over AWGN.

    Attributes:
        tenth: SNR in dB for a block error rate of 10 %.
        hundredth: SNR in dB for 1 %.
    """

    tenth: float
    hundredth: float

    def at(self, error_rate: float) -> float:
        """Interpolate the SNR in dB for a block error rate.

        log10 of the error rate is taken as linear in dB. Real curves fall ever faster, so the result is on the high side.

        Args:
            error_rate: the block error rate.
        """
        return self.tenth + (self.hundredth - self.tenth) * math.log10(0.1 / error_rate)


@lru_cache(maxsize=1)
def load_thresholds() -> dict[Scheme, dict[int, Threshold]]:
    """Read thresholds.csv: thresholds by scheme and block length in channel uses."""
    table: dict[Scheme, dict[int, Threshold]] = {}
    text = (files("semdiff.baselines") / "thresholds.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        scheme = Scheme(int(row["bits_per_symbol"]), Fraction(row["rate"]))
        table.setdefault(scheme, {})[int(row["uses"])] = Threshold(float(row["snr_db_10_percent"]), float(row["snr_db_1_percent"]))
    return table


def needed_snr_db(scheme: Scheme, uses: int, target: float) -> float | None:
    """Compute the SNR in dB at which a transport fails with a given probability.

    Longer blocks do better than shorter ones, so the longest measured block that is not longer stands for this one. Where the transport is
    cut into several blocks, each gets its share of the target.

    Args:
        scheme: modulation and code rate.
        uses: channel uses of the transport.
        target: the probability.

    Returns:
        The SNR, or None where the uses are fewer than any that were measured.
    """
    lengths = [length for length in load_thresholds()[scheme] if length <= scheme.block_uses(uses)]
    return load_thresholds()[scheme][max(lengths)].at(target / scheme.blocks(uses)) if lengths else None


def choose_scheme(uses: int, snr_db: float, target: float) -> Scheme:
    """Choose the scheme of most bits whose block error rate at an SNR is low enough, or the most robust one where there is none.

    Args:
        uses: channel uses of the transport.
        snr_db: the SNR.
        target: the highest block error rate.

    Raises:
        ValueError: where the uses are fewer than any scheme was measured for.
    """
    needed = {scheme: snr for scheme in load_thresholds() if (snr := needed_snr_db(scheme, uses, target)) is not None}
    if not needed:
        least = min(length for lengths in load_thresholds().values() for length in lengths)
        raise ValueError(f"cbr: expected one that gives at least {least} channel uses, got {uses}")
    able = [scheme for scheme, snr in needed.items() if snr <= snr_db]
    return max(able, key=lambda scheme: scheme.efficiency) if able else min(needed, key=lambda scheme: needed[scheme])

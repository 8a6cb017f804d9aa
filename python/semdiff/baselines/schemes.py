# SPDX-License-Identifier: Apache-2.0
"""Which modulation and code rate for an SNR: from thresholds.csv, which `python -m semdiff.baselines.thresholds` made by simulation."""

from __future__ import annotations

import csv
import math
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple

from semdiff.baselines.modem import Scheme


class Threshold(NamedTuple):
    """The SNR in dB at which a block of so many channel uses fails one time in ten, and one in a hundred, over AWGN."""

    tenth: float
    hundredth: float

    def at(self, rate: float) -> float:
        """The SNR for a block error rate: its log10 is taken for linear in dB. Real curves fall ever faster, so this errs upwards."""
        return self.tenth + (self.hundredth - self.tenth) * math.log10(0.1 / rate)


@lru_cache(maxsize=1)
def thresholds() -> dict[Scheme, dict[int, Threshold]]:
    """By scheme and block length in channel uses."""
    table: dict[Scheme, dict[int, Threshold]] = {}
    text = (files("semdiff.baselines") / "thresholds.csv").read_text(encoding="utf-8")
    for row in csv.DictReader(text.splitlines()):
        scheme = Scheme(int(row["bits_per_symbol"]), Fraction(row["rate"]))
        table.setdefault(scheme, {})[int(row["uses"])] = Threshold(float(row["snr_db_10_percent"]), float(row["snr_db_1_percent"]))
    return table


def needed_snr_db(scheme: Scheme, uses: int, target: float) -> float | None:
    """The SNR at which `uses` channel uses fail with probability `target`; None where they are fewer than any that were measured.

    Longer blocks do better than shorter ones, so the longest that was measured and is not longer stands for this one. Where the
    transport is cut into several blocks, each gets its share of the target.
    """
    lengths = [length for length in thresholds()[scheme] if length <= scheme.block_uses(uses)]
    return thresholds()[scheme][max(lengths)].at(target / scheme.blocks(uses)) if lengths else None


def choose(uses: int, snr_db: float, target: float) -> Scheme:
    """The scheme of most bits whose block error rate at this SNR is at most `target`; the most robust one where there is none.

    ValueError where the uses are fewer than any scheme was measured for.
    """
    needed = {scheme: snr for scheme in thresholds() if (snr := needed_snr_db(scheme, uses, target)) is not None}
    if not needed:
        least = min(length for lengths in thresholds().values() for length in lengths)
        raise ValueError(f"cbr: expected one that gives at least {least} channel uses, got {uses}")
    able = [scheme for scheme, snr in needed.items() if snr <= snr_db]
    return max(able, key=lambda scheme: scheme.efficiency) if able else min(needed, key=lambda scheme: needed[scheme])

# SPDX-License-Identifier: Apache-2.0
"""Measure the SNR at which each scheme loses 10 % and 1 % of its blocks over AWGN, and write thresholds.csv.

    python -m semdiff.baselines.thresholds thresholds.csv [--uses 32 64 ...] [--blocks 512]

From an estimate the SNR goes in steps of half a decibel until both error rates lie between two points; ln(block error rate) is interpolated
linearly.
"""

from __future__ import annotations

import argparse
import math
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import NormalDist

import torch

from semdiff._util.atomic import write_atomically
from semdiff._util.csv_files import to_csv
from semdiff.baselines.modem import Modem, Scheme
from semdiff.phy.channel import AWGN
from semdiff.rng import Key, normal

RATES = {2: ("1/5", "1/3", "1/2", "2/3"), 4: ("1/2", "2/3", "5/6"), 6: ("2/3", "5/6"), 8: ("3/4", "5/6")}
# Long blocks lose little to the capacity, so a coarse choice would be what they lose most by.
FINE_RATES = {
    2: ("1/5", "1/4", "1/3", "2/5", "1/2", "3/5", "2/3", "3/4"),
    4: ("2/5", "1/2", "3/5", "2/3", "3/4", "5/6"),
    6: ("3/5", "2/3", "3/4", "5/6"),
    8: ("2/3", "3/4", "5/6"),
}
FINE_FROM = 1024
USES = (32, 64, 128, 256, 512, 1024)
COLUMNS = ("bits_per_symbol", "rate", "uses", "snr_db_10_percent", "snr_db_1_percent", "blocks")
STEP_DB = 0.5


def block_error_rate(modem: Modem, snr_db: float, blocks: int, key: Key, enough: int = 40) -> float:
    """Measure the share of transports that fail over AWGN.

    Args:
        modem: sends and receives.
        snr_db: the SNR.
        blocks: transports to send.
        key: of bits and noise.
        enough: failures after which to stop.
    """
    failed = sent = 0
    while sent < blocks and failed < enough:
        size = min(64, blocks - sent)
        bits_key, noise_key = key.fold_in(sent).split()
        bits = (normal((size, modem.info_bits), bits_key) > 0).float()
        y, _, noise_var = AWGN()(modem.send(bits), snr_db, noise_key)
        decoded, arrived = modem.receive(y, noise_var)
        failed += int((~(arrived & (decoded == bits).all(1))).sum())
        sent += size
    return failed / sent


def interpolate_threshold(points: list[tuple[float, float]], target: float) -> float:
    """Interpolate the SNR at which the block error rate meets a target, on a line in (SNR, ln block error rate).

    Args:
        points: (SNR in dB, block error rate) by rising SNR.
        target: the block error rate.

    Raises:
        ValueError: where the points lie on one side of the target.
    """
    for (low, above), (high, below) in pairwise(points):
        if above >= target >= below:
            share = math.log(above / target) / math.log(above / below) if above > below else 0.0
            return low + share * (high - low)
    raise ValueError(f"points: expected block error rates on both sides of {target}, got {points}")


def normal_approximation_db(efficiency: float, uses: int, error_rate: float) -> float:
    """Estimate the least SNR in dB that any code needs (Polyanskiy, Poor, Verdu, IEEE Trans. Inf. Theory, 2010).

    Args:
        efficiency: bits for each channel use.
        uses: channel uses of a block.
        error_rate: of blocks.
    """
    quantile = -NormalDist().inv_cdf(error_rate)
    low, high = -30.0, 60.0
    while high - low > 0.01:
        snr = 10 ** ((low + high) / 20)
        dispersion = snr * (snr + 2) / (snr + 1) ** 2 / math.log(2) ** 2
        bits = math.log2(1 + snr) - math.sqrt(dispersion / uses) * quantile + math.log2(uses) / (2 * uses)
        low, high = ((low + high) / 2, high) if bits < efficiency else (low, (low + high) / 2)
    return high


def measure_thresholds(scheme: Scheme, uses: int, blocks: int) -> tuple[float, float]:
    """Measure the SNRs in dB for block error rates of 10 % and 1 %.

    Args:
        scheme: modulation and code rate.
        uses: channel uses of a block.
        blocks: transports for each point.
    """
    modem, key = Modem(uses, scheme), Key(uses)

    def point(snr_db: float) -> tuple[float, float]:
        # No failure at all is taken for half of one, so that its logarithm exists.
        return snr_db, max(block_error_rate(modem, snr_db, blocks, key), 0.5 / blocks)

    points = [point(normal_approximation_db(scheme.efficiency, uses, 0.1) + STEP_DB)]
    while points[0][1] < 0.1:
        points.insert(0, point(points[0][0] - STEP_DB))
    while points[-1][1] > 0.01:
        points.append(point(points[-1][0] + STEP_DB))
    return interpolate_threshold(points, 0.1), interpolate_threshold(points, 0.01)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--uses", type=int, nargs="+", default=USES)
    parser.add_argument("--blocks", type=int, default=512)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[tuple[object, ...]] = []
    for uses in options.uses:
        for bits_per_symbol, rates in (FINE_RATES if uses >= FINE_FROM else RATES).items():
            for rate in rates:
                try:
                    tenth, hundredth = measure_thresholds(Scheme(bits_per_symbol, Fraction(rate)), uses, options.blocks)
                except ValueError as error:
                    print(f"{uses} uses, {bits_per_symbol} bits, rate {rate}: left out ({error})", flush=True)
                    continue
                rows.append((bits_per_symbol, rate, uses, f"{tenth:.2f}", f"{hundredth:.2f}", options.blocks))
                print(*rows[-1], flush=True)
    write_atomically(options.path, to_csv(COLUMNS, rows))


if __name__ == "__main__":
    main()

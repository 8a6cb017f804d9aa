# SPDX-License-Identifier: Apache-2.0
"""Are a billion normal numbers normal? python -m studies.normals [--numbers N] [--dtype float32]

It holds moments, tails, correlations and the distribution function of numbers of one key against those of a standard normal, and writes
docs/results/normals.md. A billion numbers take some minutes on one core.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from scipy import stats
from torch import Tensor
from tqdm import tqdm

import semdiff
from semdiff import Key
from studies.writing import table, write_lines

PAGE = Path(__file__).parents[1] / "docs" / "results" / "normals.md"
CHUNK, BINS, SEED = 1 << 24, 4096, 2026
POWERS, EDGES, LAGS = range(1, 9), range(1, 7), (1, 2, 3, 4, 5, 7, 8, 16)


def normal_moment(power: int) -> int:
    """E[z^power]: the product of the odd numbers below an even power."""
    return 0 if power % 2 else math.prod(range(1, power, 2))


class Sums:
    """Count and sum over the numbers, chunk by chunk."""

    def __init__(self) -> None:
        self.count, self.largest = 0, 0.0
        self.powers, self.beyond = torch.zeros(len(POWERS), dtype=torch.float64), torch.zeros(len(EDGES), dtype=torch.float64)
        self.products, self.squares = torch.zeros(2, len(LAGS), dtype=torch.float64)
        self.bins = torch.zeros(BINS, dtype=torch.float64)

    def add(self, z: Tensor) -> None:
        power, size, squared = torch.ones_like(z), z.abs(), z.square() - 1
        for i in range(len(POWERS)):
            power *= z
            self.powers[i] += power.sum()
        for i, edge in enumerate(EDGES):
            self.beyond[i] += (size > edge).sum()
        for i, lag in enumerate(LAGS):
            self.products[i] += z[lag:] @ z[:-lag]
            self.squares[i] += squared[lag:] @ squared[:-lag]
        self.bins += torch.histc(torch.special.ndtr(z), BINS, 0, 1)
        self.count, self.largest = self.count + len(z), max(self.largest, float(size.max()))

    def rows(self) -> list[tuple[str, float, float, float]]:
        """Statistics: the name, what was found, what is expected, and the difference in standard deviations."""
        n = self.count
        rows: list[tuple[str, float, float, float]] = []
        for power, total in zip(POWERS, self.powers.tolist(), strict=True):
            mean = normal_moment(power)
            rows.append((f"mean of z^{power}", total / n, mean, (total / n - mean) / math.sqrt((normal_moment(2 * power) - mean**2) / n)))
        for edge, found in zip(EDGES, self.beyond.tolist(), strict=True):
            share = 2 * stats.norm.sf(edge)
            rows.append((f"beyond {edge} deviations", found, n * share, (found - n * share) / math.sqrt(n * share * (1 - share))))
        for lag, product, square in zip(LAGS, self.products.tolist(), self.squares.tolist(), strict=True):
            rows.append((f"correlation with the number {lag} places on", product / n, 0.0, product / math.sqrt(n)))
            rows.append((f"the same of the squares, {lag} places on", square / n / 2, 0.0, square / math.sqrt(4 * n)))
        return rows

    def chi_squared(self) -> tuple[float, float]:
        """Of the counts in bins of equal probability, and its p-value."""
        expected = self.count / BINS
        value = float(((self.bins - expected).square() / expected).sum())
        return value, float(stats.chi2.sf(value, BINS - 1))

    def kolmogorov(self) -> tuple[float, float]:
        """The largest distance of the distribution function at the bins' edges, times the root of the count, and its p-value."""
        share = self.bins.cumsum(0) / self.count
        value = float((share - torch.arange(1, BINS + 1, dtype=torch.float64) / BINS).abs().max()) * math.sqrt(self.count)
        return value, float(stats.kstwobign.sf(value))


def cells(row: tuple[str, float, float, float]) -> list[str]:
    name, found, expected, off = row
    if name.startswith("beyond"):
        return [name, f"{found:,.0f}", f"{expected:,.0f}", f"{off:+.2f}"]
    return [name, f"{found:.6f}", f"{expected:g}", f"{off:+.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.normals", description=__doc__)
    parser.add_argument("--numbers", type=float, default=1e9)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    options = parser.parse_args()
    sums, key, dtype = Sums(), Key(SEED), getattr(torch, options.dtype)
    for i in tqdm(range(math.ceil(options.numbers / CHUNK)), unit_scale=CHUNK, unit="number"):
        sums.add(semdiff.normal((CHUNK,), key.fold_in(i), dtype).double())
    rows, (chi, chi_p), (ks, ks_p) = sums.rows(), sums.chi_squared(), sums.kolmogorov()
    worst = max(abs(row[3]) for row in rows)
    lines = [
        "# A billion normal numbers", "",
        f"{sums.count:,} numbers of {options.dtype} from `semdiff.normal`, stream version {Key.stream_version}, against a standard normal:",
        "`python -m studies.normals` writes this page. The last column is the difference in standard deviations of what chance alone",
        f"makes of it. Of {len(rows)} statistics the worst is at {worst:.1f}, where chance puts the worst at"
        f" {stats.norm.isf(0.5 * (1 - 0.5 ** (1 / len(rows)))):.1f} as often above as below, if they were independent.", "",
        f"Chi-squared of {BINS} bins of equal probability: {chi:.0f}, p = {chi_p:.2f}. Kolmogorov-Smirnov at their edges: {ks:.2f},"
        f" p = {ks_p:.2f}. The largest magnitude is {sums.largest:.2f}; none can be above 6.76 (32 bits).", "",
        *table(["statistic", "found", "expected", "deviations"], map(cells, rows)),
    ]  # fmt: skip
    write_lines(PAGE, lines)
    print("\n".join(lines))


if __name__ == "__main__":
    main()

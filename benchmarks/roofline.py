# SPDX-License-Identifier: Apache-2.0
"""How near each operator comes to what this machine allows: the time of moving its bytes as fast as a copy does, or of making its normal
numbers as fast as `semdiff.normal` does, whichever is more, over the time that it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """One bar for each operator and number of threads, at the most elements that were timed."""
    largest = max(r["elements"] for r in rows)
    shown = [r for r in rows if r["elements"] == largest and r["op"] not in ("normal", "svd_2x2")]  # a limit itself; neither limits it
    ops, threads = list(dict.fromkeys(r["op"] for r in shown)), sorted({r["threads"] for r in shown})
    figure, axes = plt.subplots(figsize=(8, 0.6 + 0.42 * len(ops)), layout="constrained")
    height = 0.8 / len(threads)
    for k, count in enumerate(threads):
        for i, op in enumerate(ops):
            row = next(r for r in shown if r["op"] == op and r["threads"] == count)
            colour = {"memory": "tab:blue", "generator": "tab:orange"}[row["bound"]]
            axes.barh(i + k * height, 100 * row["of_limit"], height * 0.9, color=colour, alpha=1 - 0.4 * k)
            axes.text(100 * row["of_limit"] + 1, i + k * height, f"{count} thread{'s' if count > 1 else ''}", va="center", fontsize=7)
    axes.axvline(100, color="black", linewidth=0.8)
    axes.set_yticks([i + 0.4 - height / 2 for i in range(len(ops))], ops, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"% of the limit, {largest:,} elements\nblue: copying the bytes, orange: making the normal numbers")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)

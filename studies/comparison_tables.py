# SPDX-License-Identifier: Apache-2.0
"""The tables of docs/results/comparison.md, of what comparison.csv beside it holds: python -m studies.comparison_tables

comparison.csv is the summary.csv of `semdiff evaluate fashion-mnist`.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from semdiff._util.atomic import write_atomically
from studies.writing import fill, table

RESULTS = Path(__file__).parents[1] / "docs" / "results"
PAGE = RESULTS / "comparison.md"
# (system, realism) as comparison.csv has them.
SYSTEMS = {
    ("link", "0.0"): "link, up-sampler's mean",
    ("link", "0.5"): "link, realism 0.5",
    ("link", "1.0"): "link, 4-step sample",
    ("ffdnet", ""): "up-sampler's mean, FFDNet",
    ("adjscc", ""): "ADJSCC",
    ("deepjscc", ""): "DeepJSCC",
    ("adjscc-lpips", ""): "ADJSCC trained on LPIPS as well",
    ("digital", ""): "codec, LDPC, QAM",
    ("capacity", ""): "the same codecs at capacity",
}
CHANNELS = {"awgn": "awgn", "rayleigh(coherence=block)": "fading"}
USES = {"1/12": "64", "1/24": "32"}
Row = dict[str, str]


def read(path: Path = RESULTS / "comparison.csv") -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def quality(row: Row) -> str:
    """PSNR in dB / LPIPS / Frechet distance."""
    return f"{float(row['psnr']):.2f} / {float(row['lpips_alex']):.3f} / {float(row['frechet_classifier']):.1f}"


def parts(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The tables, by the names that they have in the page."""
    snrs = sorted({float(row["snr_db"]) for row in rows})
    made = {}
    for channel, name in CHANNELS.items():
        for cbr, uses in USES.items():
            at = {(r["system"], r["realism"], float(r["snr_db"])): r for r in rows if r["channel"] == channel and r["uses"] == uses}
            body = [[label, *(quality(at[*system, snr]) for snr in snrs)] for system, label in SYSTEMS.items()]
            made[f"{name}: {cbr}"] = table([f"CBR {cbr}", *(f"{snr:g} dB" for snr in snrs)], body)
    return made


def main() -> None:
    write_atomically(PAGE, fill(PAGE.name, PAGE.read_text(encoding="utf-8"), parts(read())).encode())


if __name__ == "__main__":
    main()

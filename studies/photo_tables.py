# SPDX-License-Identifier: Apache-2.0
"""The tables of photographs, of what docs/results/photos.csv and kodak.csv hold: each number stands in one file, and is copied from there.

python -m studies.photo_tables writes them into the pages of PAGES, from <!-- NAME --> to <!-- end -->; what is around them stays.
`--add photos FOLDER` (or kodak) first takes the finished cells of an evaluation (`semdiff evaluate kodak --out FOLDER`) into the CSV.
"""

from __future__ import annotations

import argparse
import csv
import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from semdiff._util.atomic import write_atomically
from studies.writing import fill, table, write_csv

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
SYSTEMS = {
    "link, mean decoder": "link, mean decoder",
    "link, realism 0.5": "link, realism 0.5",
    "link, detail decoder": "link, detail decoder",
    "adjscc": "ADJSCC",
    "deepjscc": "DeepJSCC",
    "adjscc-lpips": "ADJSCC trained on LPIPS as well",
    "digital": "best codec, LDPC, QAM",
    "hybrid": "best codec, LDPC, QAM at 0.7 of the uses, its error at the others",
    "capacity": "best codec at capacity",
}
RATES = tuple(Fraction(1, n) for n in (12, 24, 48))
CHANNELS = {"awgn": "awgn", "rayleigh(coherence=block)": "rayleigh, block", "rayleigh(coherence=fast)": "rayleigh, fast"}
# The generated parts of each page.
PAGES = {
    "README.md": ("photos: 1/24",),
    "docs/results/photos.md": ("photos: about", "photos: awgn", "photos: fading", "codecs"),
    "docs/results/kodak.md": ("kodak: about", "kodak", "codecs"),
}
FADING = {"rayleigh, block": "block", "rayleigh, fast": "fast"}
# PSNR on Kodak at CBR 1/24 over AWGN as published (SwinJSCC, Yang et al., IEEE TCCN, arXiv 2308.09361), not measured here.
PUBLISHED = {"SwinJSCC (published, arXiv 2308.09361)": {1.0: 28.3, 10.0: 31.5}}
Row = dict[str, str]


def read(path: Path) -> list[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def rate(row: dict[str, Any]) -> Fraction:
    """The rate that a row's CBR is called by; a header's uses may be in it."""
    return min(RATES, key=lambda r: abs(float(row["cbr"]) / float(r) - 1))


def cells(folder: Path) -> list[dict[str, Any]]:
    """The rows of an evaluation's finished cells."""
    return [json.loads(path.read_text("utf-8"))["row"] for path in sorted((folder / "cells").glob("*.json"))]


def from_evaluation(row: dict[str, Any]) -> dict[str, Any]:
    """A row of an evaluation as one of ours."""
    name = row["system"]
    if name == "link":
        realism = float(row["realism"])
        name += ", " + {0.0: "mean decoder", 1.0: "detail decoder"}.get(realism, f"realism {realism:g}")
    numbers = {k: f"{float(row[k]):.4g}" for k in ("psnr", "psnr_se", "ms_ssim", "lpips_alex", "lpips_alex_se")}
    place = {"channel": CHANNELS[row["channel"]], "cbr": f"{float(rate(row)):.6g}", "snr_db": f"{float(row['snr_db']):g}"}
    return {"system": name, **place, "seed": str(row["seed"]), "images": row["images"], "uses": row["uses"], **numbers}


def add(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Takes rows into a CSV, sorted. A row that is there already stays as it is."""
    found = read(path) if path.exists() else []
    names = list(found[0]) if found else ["system", "channel", "cbr", "snr_db", "seed", "images", "uses", "psnr", "psnr_se", "ms_ssim"]
    names += [] if found else ["lpips_alex", "lpips_alex_se"]
    key = ("system", "channel", "cbr", "snr_db", "seed")
    known = {tuple(row[k] for k in key) for row in found}
    found += [{name: row.get(name, "") for name in names} for row in rows if tuple(row[k] for k in key) not in known]
    order = list(SYSTEMS)
    write_csv(
        path,
        sorted(found, key=lambda r: (order.index(r["system"]), r["channel"], -float(r["cbr"]), int(r["seed"]), float(r["snr_db"]))),
    )


def quality(row: Row | None) -> str:
    """PSNR in dB / LPIPS."""
    if row is None:
        return "–"
    return f"{float(row['psnr']):.2f} / {float(row['lpips_alex']):.3f}"


def lines(rows: Sequence[Row], snrs: Sequence[float], label: str) -> list[list[str]]:
    """A line for each system that the rows (of one channel and rate, the first seed) have."""
    at = {(row["system"], float(row["snr_db"])): row for row in rows if row["seed"] == "0"}
    there = [name for name in SYSTEMS if any(system == name for system, _ in at)]
    return [[f"{label}, {SYSTEMS[name]}", *(quality(at.get((name, snr))) for snr in snrs)] for name in there]


def snrs_of(rows: Sequence[Row]) -> list[float]:
    return sorted({float(row["snr_db"]) for row in rows})


def awgn_table(rows: Sequence[Row], rates: Sequence[Fraction] = RATES) -> list[str]:
    snrs = snrs_of(rows)
    body = [
        line
        for r in rates
        for line in lines([row for row in rows if row["channel"] == "awgn" and rate(row) == r], snrs, f"1/{r.denominator}")
    ]
    return table(["CBR, system", *(f"{snr:g} dB" for snr in snrs)], body)


def fading_table(rows: Sequence[Row], r: Fraction = RATES[1]) -> list[str]:
    snrs = snrs_of(rows)
    body = [
        line
        for channel, word in FADING.items()
        for line in lines([row for row in rows if row["channel"] == channel and rate(row) == r], snrs, word)
    ]
    return table([f"CBR 1/{r.denominator}, Rayleigh fading, system", *(f"{snr:g} dB" for snr in snrs)], body)


def kodak_table(rows: Sequence[Row]) -> list[str]:
    """AWGN and block fading, and below each how far the mean decoder is ahead of the codecs in PSNR."""
    snrs, body = snrs_of(rows), []
    for channel, word in ({"awgn": "AWGN"} | FADING).items():
        here = [row for row in rows if row["channel"] == channel]
        body += lines(here, snrs, word)
        at = {(row["system"], float(row["snr_db"])): float(row["psnr"]) for row in here if row["seed"] == "0"}
        for other in ("digital", "capacity"):
            pairs = [(at.get(("link, mean decoder", snr)), at.get((other, snr))) for snr in snrs]
            gains = ["–" if ours is None or theirs is None else f"{ours - theirs:+.1f} dB" for ours, theirs in pairs]
            body += [[f"{word}, mean decoder less {SYSTEMS[other]}", *gains]] if set(gains) != {"–"} else []
        if channel == "awgn":
            for name, values in PUBLISHED.items():
                body.append([f"{word}, {name}", *(f"{values[snr]:.1f} / –" if snr in values else "–" for snr in snrs)])
    return table(["CBR 1/24, channel, system", *(f"{snr:g} dB" for snr in snrs)], body)


PHOTOS = """
24 held-out photographs (semdiff-photos, test), the middle 432x480 pixels of each: PSNR in dB / LPIPS (AlexNet), seed 0. All systems of a
rate have the same channel uses, the link's header of 64 among them: {uses}. The detail decoder and the last ADJSCC were trained on LPIPS
(AlexNet). `semdiff evaluate photos` computes, photos.csv beside this holds standard errors and more metrics, and `python -m
studies.photo_tables` makes the tables.
"""
KODAK = """
Kodak's 24 pictures of 768x512 pixels, the six upright ones turned a quarter, seed 0, CBR 1/24: PSNR in dB / LPIPS (AlexNet). All systems
have the same channel uses, the link's header of 64 among them ({uses}), but the published one, which is quoted.
The detail decoder was trained on LPIPS (AlexNet). `semdiff evaluate kodak` computes, with the pictures' folder in $SEMDIFF_KODAK
(`semdiff.data.kodak` says where they are), kodak.csv beside this holds standard errors, and `python -m studies.photo_tables` makes
the table.
"""
CODECS = """
Best codec, LDPC, QAM: for each picture the best of JPEG, JPEG 2000, WebP and AVIF, behind a 5G LDPC code and QAM that lose at most 1 % of
the pictures over AWGN at the average SNR. The sender does not know a fade: below the SNR of its scheme the picture is lost, and a grey
one counts. At capacity: the same codecs with as many bits as an ideal code of any length brings over, each block's gain known to the
sender. No real system reaches it. Over block fading all systems meet the same 24 gains.
"""


def parts(photos: Sequence[Row], kodak: Sequence[Row]) -> dict[str, list[str]]:
    """What is generated, by the name that it has in the pages."""
    return {
        "photos: 1/24": awgn_table(photos, RATES[1:2]),
        "photos: about": _wrapped(PHOTOS, photos),
        "photos: awgn": awgn_table(photos),
        "photos: fading": fading_table(photos),
        "kodak: about": _wrapped(KODAK, kodak),
        "kodak": kodak_table(kodak),
        "codecs": _wrapped(CODECS, []),
    }


def _wrapped(text: str, rows: Sequence[Row]) -> list[str]:
    return textwrap.wrap(" ".join(text.split()).format(uses=_uses(rows)), 150, break_long_words=False, break_on_hyphens=False)


def _uses(rows: Sequence[Row]) -> str:
    found = sorted({(-rate(row), int(row["uses"])) for row in rows if row.get("uses")})
    return ", ".join(f"{uses:,} at 1/{(-r).denominator}" for r, uses in found)


def filled(page: str, text: str, made: Mapping[str, Sequence[str]]) -> str:
    """The text of a page of PAGES with its parts made anew."""
    return fill(page, text, {name: made[name] for name in PAGES[page]})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--add", nargs=2, action="append", default=[], metavar=("NAME", "FOLDER"))
    options = parser.parse_args()
    for name, folder in options.add:
        add(RESULTS / f"{name}.csv", map(from_evaluation, cells(Path(folder))))
    made = parts(read(RESULTS / "photos.csv"), read(RESULTS / "kodak.csv"))
    for page in PAGES:
        place = ROOT / page
        write_atomically(place, filled(page, place.read_text(encoding="utf-8"), made).encode())


if __name__ == "__main__":
    main()

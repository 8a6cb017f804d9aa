# SPDX-License-Identifier: Apache-2.0
"""Each number of the photograph tables stands once, in a CSV: what the pages and the README show is what the command makes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semdiff._util.atomic import write_atomically
from studies import comparison_tables
from studies.photo_tables import PAGES, RESULTS, ROOT, add, cells, filled, from_evaluation, parts, read
from studies.writing import fill

PHOTOS, KODAK = read(RESULTS / "photos.csv"), read(RESULTS / "kodak.csv")
MADE = parts(PHOTOS, KODAK)


@pytest.mark.parametrize("page", PAGES)
def test_pages_show_the_tables(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert filled(page, text, MADE) == text


def test_every_part_is_shown() -> None:
    assert {name for names in PAGES.values() for name in names} == set(MADE)
    assert all(len(lines) > 3 for lines in MADE.values())


def test_all_systems_of_a_rate_cost_the_same() -> None:
    """432x480 and 768x512 pixels in three colours: a 12th, 24th and 48th of them, and the link's header."""
    assert {(row["cbr"], row["uses"]) for row in PHOTOS} == {("0.0833333", "51904"), ("0.0416667", "25984"), ("0.0208333", "13024")}
    assert {(row["cbr"], row["uses"]) for row in KODAK} == {("0.0416667", "49216")}
    assert {row["images"] for row in PHOTOS + KODAK} == {"24"}


@pytest.mark.parametrize(("rows", "channels"), [(PHOTOS, ("awgn",)), (KODAK, ("awgn", "rayleigh, block"))], ids=["photographs", "kodak"])
def test_the_codecs_stand_beside_the_link(rows: list[dict[str, str]], channels: tuple[str, ...]) -> None:
    """At every SNR at CBR 1/24."""
    rows = [row for row in rows if row["cbr"] == "0.0416667" and row["channel"] in channels and row["seed"] == "0"]
    systems = ("link, mean decoder", "digital", "capacity")
    places = {name: {(row["channel"], row["snr_db"]) for row in rows if row["system"] == name} for name in systems}
    assert places["digital"] == places["capacity"] == places["link, mean decoder"]


def test_rows_come_from_an_evaluation_and_those_that_are_there_stay(tmp_path: Path) -> None:
    row = {
        "system": "link", "channel": "rayleigh(coherence=block)", "snr_db": 5.0, "cbr": 49216 / 1179648, "steps": 1, "realism": 1.0,
        "seed": 0, "images": 24, "uses": 49216, "psnr": 25.12345, "psnr_se": 0.5, "ms_ssim": 0.9, "lpips_alex": 0.2, "lpips_alex_se": 0.01,
    }  # fmt: skip
    place = tmp_path / "kodak.csv"
    for name, changed in (("first", row), ("again", row | {"psnr": 99.0}), ("other", row | {"realism": 0.0, "psnr": 26.0})):
        write_atomically(tmp_path / name / "cells" / "a.json", json.dumps({"row": changed}).encode())
        add(place, map(from_evaluation, cells(tmp_path / name)))
    found = read(place)
    assert [(r["system"], r["channel"], r["cbr"], r["snr_db"], r["psnr"]) for r in found] == [
        ("link, mean decoder", "rayleigh, block", "0.0416667", "5", "26"),
        ("link, detail decoder", "rayleigh, block", "0.0416667", "5", "25.12"),
    ]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_the_marks_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match=rf"{page}: expected <!-- {PAGES[page][0]} --> and <!-- end --> once"):
        filled(page, "# nothing", MADE)


def test_the_table_of_all_systems_is_what_its_file_holds() -> None:
    """Every row of comparison.csv stands in docs/results/comparison.md."""
    rows = comparison_tables.read()
    made = comparison_tables.parts(rows)
    assert sum(line.count(" / ") // 2 for lines in made.values() for line in lines) == len(rows)
    text = comparison_tables.PAGE.read_text("utf-8")
    assert fill(comparison_tables.PAGE.name, text, made) == text

# SPDX-License-Identifier: Apache-2.0
"""Results may carry names such as module:Name, as the evaluation's file that they came from did: reading them imports nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("tqdm")
pytest.importorskip("jinja2")

from semdiff.evaluation import Results, sweep
from semdiff.evaluation.report import write_report
from tests.python.evaluation_systems import Uncoded, images, psnr

OWN = "named_by_results:Name"


@pytest.mark.parametrize("word", ["uncoded", "awgn", "psnr"])
def test_reading_results_imports_no_module_that_they_name(word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system, a channel and a metric. The module lies where the command finds a user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "named_by_results.py").write_text("raise SystemExit('it was imported')\n")
    out = tmp_path / "out"
    sweep(out=out, systems={"uncoded": Uncoded()}, data=images(), channels="awgn", metrics={"psnr": psnr}, snr_db=[0, 5], pictures=2)
    place = out / "results.json"
    text = place.read_text("utf-8")
    assert f'"{word}' in text
    place.write_text(text.replace(f'"{word}', f'"{OWN}'), "utf-8")
    results = Results.load(out)
    assert OWN in str(results.summary())
    assert OWN in write_report(results, tmp_path / "report.html").read_text("utf-8")
    assert "named_by_results" not in sys.modules

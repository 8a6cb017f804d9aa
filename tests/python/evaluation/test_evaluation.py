# SPDX-License-Identifier: Apache-2.0
"""The sweep against direct computation; what survives a kill; shares of several processes; what is refused, and in which words."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import semdiff
from semdiff import Key

pytest.importorskip("diffusers")
pytest.importorskip("scipy")
pytest.importorskip("tqdm")

from semdiff.evaluation import Results, sweep
from semdiff.evaluation.identity import weights_digest
from semdiff.evaluation.json_files import read_json
from semdiff.evaluation.results import mean_and_interval
from tests.python.evaluation_systems import Dialled, Uncoded, images, lpips, psnr, run

ROOT = Path(__file__).parents[3]
METRICS = {"psnr": psnr}


def untimed(folder: Path) -> list[Any]:
    """All that a run wrote for its readers, but the times."""
    document = json.loads((folder / "results.json").read_text())
    for row in document["rows"]:
        del row["milliseconds"]
    lines = (folder / "results.csv").read_text().splitlines()
    rows = [{k: v for k, v in row.items() if k != "milliseconds"} for row in csv.DictReader(lines)]
    kept = {p.name: p.read_bytes() for p in (folder / "pictures").glob("*.npy")}
    return [document, rows, kept]


# --- the numbers -------------------------------------------------------------------------------------------------------------------------


def test_a_cell_is_what_the_system_gives() -> None:
    """Every number against a direct computation with the same keys."""
    found = run(None, seeds=[3, 4])
    assert len(found.rows) == 8
    data = images()
    for row in found.rows:
        system = Uncoded(1.0 if row["system"] == "uncoded" else 0.5)
        done = [system.transmit(p, row["snr_db"], key=Key(row["seed"]).fold_in(i)) for i, p in enumerate(data.split(4))]
        each = psnr(torch.cat([d.images for d in done]), data, None)
        assert row["psnr"] == pytest.approx(float(each.mean()), rel=1e-12)
        assert row["psnr_se"] == pytest.approx(float(each.std() / math.sqrt(6)), rel=1e-12)
        assert row["measured_snr_db"] == pytest.approx(float(torch.cat([d.snr_db for d in done]).mean()))
        assert (row["payload"], row["pilots"], row["uses"], row["cbr_used"], row["images"]) == (8, 0, 8, 0.5, 6)
        assert row["t"] is None
        assert row["milliseconds"] > 0
    assert found.complete
    assert found.folder is None


def test_all_systems_hear_the_same_noise() -> None:
    rows = run(None).rows
    for seed in (0, 1, 2):
        assert len({r["measured_snr_db"] for r in rows if r["seed"] == seed and r["snr_db"] == 10}) == 1
    assert len({r["measured_snr_db"] for r in rows if r["snr_db"] == 10}) == 3


def test_only_what_changes_something_is_swept() -> None:
    """A dial and steps for those who have them; the posterior mean is one cell for any steps."""
    found = sweep(
        systems={"dial": Dialled(), "plain": Uncoded()}, data=images(), metrics=METRICS, snr_db=5, steps=[2, 4], realism=[0.0, 0.5, 1.0]
    )
    got = [(r["system"], r["realism"], r["steps"]) for r in found.rows]
    dial = [("dial", 0.0, None), ("dial", 0.5, 2), ("dial", 0.5, 4), ("dial", 1.0, 2), ("dial", 1.0, 4)]
    assert got == [*dial, ("plain", None, None)]
    assert [r["evaluations"] for r in found.rows] == [1, 2, 4, 2, 4, 0]


def test_summary_is_students_interval() -> None:
    """n = 3: t_{0.975, 2} = 4.302653 (tables)."""
    mean, half = mean_and_interval([1.0, 2.0, 6.0])
    assert mean == 3.0
    assert half == pytest.approx(4.302652730 * math.sqrt(7.0) / math.sqrt(3.0), rel=1e-9)
    assert mean_and_interval([1.0]) == (1.0, None)
    assert mean_and_interval([1.0, None]) == (None, None)
    found = run(None)
    (line,) = [s for s in found.summary() if (s["system"], s["snr_db"]) == ("half", 0)]
    expected = mean_and_interval([r["psnr"] for r in found.rows if (r["system"], r["snr_db"]) == ("half", 0)])
    assert (line["psnr"], line["psnr_ci95"], line["seeds"]) == (*expected, 3)


def test_results_and_pictures_come_back(tmp_path: Path) -> None:
    found, data = run(tmp_path), images()
    again = Results.load(tmp_path)
    assert again.rows == found.rows
    assert again.summary() == found.summary()
    assert again.header == found.header
    assert Results.load(tmp_path / "results.json").rows == found.rows
    sent = again.originals()
    assert sent is not None
    torch.testing.assert_close(torch.from_numpy(sent) / 255, data[:2], rtol=0, atol=0.5 / 255 + 1e-6)
    kept = list(again.pictures())
    assert [(r["system"], r["seed"]) for r, _ in kept] == [("uncoded", 0), ("half", 0)] * 2
    done = Uncoded(0.5).transmit(data[:4], 10.0, key=Key(0).fold_in(0)).images[:2]
    torch.testing.assert_close(torch.from_numpy(kept[3][1]) / 255, done, rtol=0, atol=0.5 / 255 + 1e-6)
    pandas = pytest.importorskip("pandas")
    assert isinstance(found.to_pandas(), pandas.DataFrame)
    assert list(found.to_pandas()["psnr"]) == [r["psnr"] for r in found.rows]


def test_header_says_what_was_compared(tmp_path: Path) -> None:
    header = run(tmp_path).header
    assert header["environments"][0]["torch"] == torch.__version__
    assert header["environments"][0]["isa"] == semdiff.build_info()["isa"]
    assert header["seeds"] == [0, 1, 2]
    assert header["systems"]["half"]["weights_sha256"] is None
    assert len(header["data"]["sha256"]) == 64


def test_weights_digest_sees_every_weight() -> None:
    class Holder:
        def __init__(self, seed: int) -> None:
            torch.manual_seed(seed)
            self.net = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))

    first = weights_digest(Holder(0))
    assert first == weights_digest(Holder(0)) != weights_digest(Holder(1))
    changed = Holder(0)
    changed.net[1].running_mean[2] = 1e-3  # type: ignore[index, union-attr]
    assert weights_digest(changed) != first


# --- resuming and sharing ----------------------------------------------------------------------------------------------------------------


def test_nothing_is_done_twice(tmp_path: Path) -> None:
    system = Uncoded()
    fields: dict[str, Any] = {"systems": {"a": system}, "data": images(), "metrics": METRICS, "snr_db": [0, 5]}
    sweep(out=tmp_path, **fields)
    calls = system.calls
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cells").iterdir()}
    sweep(out=tmp_path, **fields)
    assert system.calls == calls
    assert len(sweep(out=tmp_path, **(fields | {"snr_db": [0, 5, 10]})).rows) == 3  # one more cell: one rehearsal, one transmission
    assert system.calls == calls + 2
    assert {p: p.stat().st_mtime_ns for p in before} == before


@pytest.mark.parametrize("change", [{"batch": 3}, {"data": images(5)}, {"metrics": {"psnr": lpips}}, {"systems": {"a": Dialled()}}])
def test_what_a_cell_depends_on_makes_another_cell(tmp_path: Path, change: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"systems": {"a": Uncoded()}, "data": images(), "metrics": METRICS, "snr_db": 0}
    sweep(out=tmp_path, **fields)
    sweep(out=tmp_path, **(fields | change))
    assert len(list((tmp_path / "cells").iterdir())) == 2


def start(out: Path, nap: float, **variables: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.python.evaluation_systems", str(out), str(nap)]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_killed_and_resumed_is_as_if_never_killed(tmp_path: Path) -> None:
    cut, whole = tmp_path / "cut", tmp_path / "whole"
    process = start(cut, 0.15)
    deadline = time.monotonic() + 120
    while len(list((cut / "cells").glob("*.json"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = {p.name: p.read_bytes() for p in (cut / "cells").glob("*.json")}
    assert 4 <= len(done) < 12
    assert not (cut / "results.json").exists()
    with pytest.raises(FileNotFoundError, match=f"{len(done)} cells are there"):
        Results.load(cut)
    (cut / "cells" / f".{'0' * 64}.json.1.part").write_text('{"half of a cell')  # what a kill in the middle of a write leaves
    run(cut)
    run(whole)
    assert untimed(cut) == untimed(whole)
    assert {name: (cut / "cells" / name).read_bytes() for name in done} == done


@pytest.mark.slow
def test_two_processes_share_the_cells(tmp_path: Path) -> None:
    both, whole = tmp_path / "both", tmp_path / "whole"
    two = [start(both, 0.02, RANK=str(rank), WORLD_SIZE="2") for rank in (0, 1)]
    said = [p.communicate(timeout=120)[0].split() for p in two]
    assert "True" in {complete for complete, _ in said}  # the last to finish has all
    assert [p.returncode for p in two] == [0, 0]
    run(whole)
    assert untimed(both)[1:] == untimed(whole)[1:]
    assert untimed(both)[0]["rows"] == untimed(whole)[0]["rows"]


@pytest.mark.slow
def test_two_evaluations_of_one_folder_do_no_cell_twice(tmp_path: Path) -> None:
    """Neither knows of the other but by the folder: 12 cells of two batches, and a rehearsal of each system by each process."""
    both, whole = tmp_path / "both", tmp_path / "whole"
    two = [start(both, 0.3) for _ in range(2)]
    said = [p.communicate(timeout=300)[0].split() for p in two]
    assert [complete for complete, _ in said] == ["True", "True"]
    assert sum(int(sent) for _, sent in said) <= 12 * 2 + 2 * 2
    run(whole)
    assert untimed(both)[1:] == untimed(whole)[1:]
    assert untimed(both)[0]["rows"] == untimed(whole)[0]["rows"]
    assert not list(both.rglob(".claims"))


@pytest.mark.slow
def test_one_killed_process_of_two_ends_the_other_and_the_rest_is_done_by_the_same_command(tmp_path: Path) -> None:
    both, whole = tmp_path / "both", tmp_path / "whole"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tests.python.killed_rank"]
    cut = subprocess.run([*command, "evaluate", str(both)], cwd=ROOT, env=os.environ | {"KILLED": "1"}, capture_output=True, text=True)
    assert cut.returncode != 0
    assert "Signal 9 (SIGKILL)" in cut.stderr
    assert not (both / "results.json").exists()
    again = subprocess.run([*command, "evaluate", str(both)], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    run(whole)
    assert untimed(both)[1:] == untimed(whole)[1:]


def test_a_share_is_a_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    counts = []
    for rank in range(3):
        monkeypatch.setenv("RANK", str(rank))
        found = run(tmp_path)
        counts.append(len(found.rows))
        assert found.complete == (rank == 2) == (tmp_path / "results.json").exists()
    assert counts == [4, 8, 12]
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(ValueError, match=r"RANK, WORLD_SIZE: .*got RANK='3', WORLD_SIZE='3'"):
        run(tmp_path)


@pytest.mark.slow
def test_torchrun(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "tests.python.evaluation_systems"]
    subprocess.run([*command, str(tmp_path / "both"), "0.02"], cwd=ROOT, check=True, capture_output=True)
    run(tmp_path / "whole")
    assert untimed(tmp_path / "both")[1:] == untimed(tmp_path / "whole")[1:]


# --- files that are not what they should be ----------------------------------------------------------------------------------------------


def test_other_versions_and_damage_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    place = tmp_path / "results.json"
    good = json.loads(place.read_text())

    def written(**changes: Any) -> Path:
        place.write_text(json.dumps({k: v for k, v in (good | changes).items() if v is not None}))
        return tmp_path

    with pytest.raises(ValueError, match=r"results\.json: format_version: expected 1, .*got 2"):
        Results.load(written(format_version=2))
    with pytest.raises(ValueError, match=r"results\.json: format: expected 'semdiff evaluation', got 'something'"):
        Results.load(written(format="something"))
    with pytest.raises(ValueError, match=r"results\.json: digests: expected this field"):
        Results.load(written(digests=None))
    with pytest.raises(ValueError, match=r"rows: expected the column uses"):
        Results.load(written(rows=[{k: v for k, v in row.items() if k != "uses"} for row in good["rows"]]))
    place.write_text('{"format": ')
    with pytest.raises(ValueError, match="does not parse"):
        Results.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="expected a folder with results"):
        Results.load(tmp_path / "nowhere")


def test_an_altered_cell_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    cell = next((tmp_path / "cells").glob("*.json"))
    document = read_json(cell, "semdiff evaluation cell", 1)
    document["identity"]["cell"]["seed"] = 77
    cell.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"{cell.name}: altered, .* delete it"):
        run(tmp_path)


# --- metrics -----------------------------------------------------------------------------------------------------------------------------


def test_metrics_are_numbers_an_image() -> None:
    with pytest.raises(ValueError, match=r"metrics\.bad: expected one number an image, shape \(B,\), got \(\)"):
        sweep(systems={"a": Uncoded()}, data=images(), metrics={"bad": lambda x, y, labels: x.mean()}, snr_db=0)


def test_named_metrics_are_semdiffs() -> None:
    metrics = pytest.importorskip("semdiff.metrics")
    found = sweep(systems={"a": Uncoded()}, data=images(), metrics=["psnr"], snr_db=5)
    received = Uncoded().transmit(images(), 5.0, key=Key(0).fold_in(0)).images
    assert found.rows[0]["psnr"] == pytest.approx(float(metrics.psnr(received, images()).double().mean()), rel=1e-6)
    with pytest.raises(ValueError, match=r"metrics: unknown metric 'pnsr', did you mean 'psnr'\? known: "):
        sweep(systems={"a": Uncoded()}, data=images(), metrics=["pnsr"], snr_db=5)

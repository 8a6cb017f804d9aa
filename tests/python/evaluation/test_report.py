# SPDX-License-Identifier: Apache-2.0
"""The figures hold the numbers of the results, and the page stands alone."""

from __future__ import annotations

import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("diffusers")
pytest.importorskip("matplotlib")
pytest.importorskip("PIL")
pytest.importorskip("scipy")

from semdiff.evaluation import Results, plots, report, sweep
from semdiff.evaluation.report import write_report
from tests.python.browser import SIZES, browser_of, fits_the_window
from tests.python.evaluation_systems import Dialled, Uncoded, images, lpips, psnr

METRICS = {"psnr": psnr, "lpips": lpips}
VOID = {"meta", "img", "input", "br", "hr", "link", "path", "use", "rect", "circle", "stop"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("report")
    systems = {"dial": Dialled(), "plain <b>": Uncoded(0.5)}
    axes: dict[str, Any] = {"snr_db": [0, 10], "steps": [1, 3], "realism": [0, 0.5, 1], "seeds": [0, 1], "cbr": [0.5]}
    sweep(out=place, systems=systems, data=images(), metrics=METRICS, pictures=3, **axes)
    return place


@pytest.fixture(scope="module")
def results(folder: Path) -> Results:
    return Results.load(folder)


def curves(figure: Any) -> dict[str, list[tuple[float, float]]]:
    """The points of each labelled curve of the first panel."""
    axes = figure.axes[0]
    return {c.get_label(): list(zip(*(v.tolist() for v in c.lines[0].get_data()), strict=True)) for c in axes.containers}


def test_over_snr_draws_the_summary(results: Results) -> None:
    found = curves(plots.over_snr(results, "psnr"))
    assert list(found) == ["dial, posterior mean", "dial, realism 0.5, 3 steps", "dial, sample, 3 steps", "plain <b>"]
    for name, points in found.items():
        rows = [r for r in results.summary() if plots.receiver_label(r) == name]
        assert points == [(r["snr_db"], r["psnr"]) for r in rows]


def test_error_bars_are_the_intervals(results: Results) -> None:
    figure = plots.over_snr(results, "psnr")
    rows = [r for r in results.summary() if r["system"] == "plain <b>"]
    bars = figure.axes[0].containers[-1].lines[2][0].get_segments()
    for row, ((_, low), (_, high)) in zip(rows, bars, strict=True):
        assert high - low == pytest.approx(2 * row["psnr_ci95"])
    one_seed = [row | {"seeds": 1, "psnr_ci95": None} for row in rows]
    assert plots.error_bar(one_seed[0], "psnr") == pytest.approx(1.96 * rows[0]["psnr_se"])


def test_long_intervals_do_not_flatten_the_curves(results: Results) -> None:
    """Of two seeds they may be a hundred times the curves' height; those that are shorter than it are whole."""
    summary = [row | {"psnr_ci95": 150.0} for row in results.summary()]
    figure = plots.over_snr(type("Known", (Results,), {"summary": lambda self: summary})(results.header, results.rows), "psnr")
    heights = [r["psnr"] for r in summary if r["steps"] in (None, 3)]
    low, high = min(heights), max(heights)
    assert figure.axes[0].get_ylim() == pytest.approx((2 * low - high, 2 * high - low))
    short = [row | {"psnr_ci95": (high - low) / 4} for row in summary]
    figure = plots.over_snr(type("Known", (Results,), {"summary": lambda self: short})(results.header, results.rows), "psnr")
    bottom, top = figure.axes[0].get_ylim()
    assert bottom < low - (high - low) / 4
    assert top > high + (high - low) / 4


def test_distortion_perception_runs_along_the_dial(results: Results) -> None:
    figure = plots.distortion_perception(results)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("LPIPS, lower is better", "PSNR (dB), higher is better")
    at = [r for r in results.summary() if (r["system"], r["snr_db"]) == ("dial", 0)]
    x, y = axes.containers[0].lines[0].get_data()
    assert list(zip(x, y, strict=True)) == [(r["lpips"], r["psnr"]) for r in at if r["steps"] in (None, 3)]
    assert len(axes.containers) == 4  # two systems at two SNRs


def test_latency_runs_along_the_steps(results: Results) -> None:
    axes = plots.quality_over_latency(results, "psnr").axes[0]
    x, y = axes.containers[0].lines[0].get_data()
    at = [r for r in results.summary() if (r["system"], r["snr_db"], r["realism"]) == ("dial", 0, 1)]
    assert [r["steps"] for r in at] == [1, 3]
    assert list(zip(x, y, strict=True)) == [(r["milliseconds"], r["psnr"]) for r in at]


def test_pictures_are_the_kept_ones(results: Results) -> None:
    strips = dict(plots.picture_strips(results, "awgn", 0.5, 10))
    assert list(strips) == [
        "sent", "dial, posterior mean", "dial, realism 0.5, 1 step", "dial, realism 0.5, 3 steps", "dial, sample, 1 step",
        "dial, sample, 3 steps", "plain <b>",
    ]  # fmt: skip
    assert {s.shape for s in strips.values()} == {(3, 1, 4, 4)}
    assert bool((torch.from_numpy(strips["dial, posterior mean"]) == 128).all())  # grey, whatever was heard
    assert len(plots.pictures(results, "awgn", 0.5, 10).axes) == 7 * 3
    with pytest.raises(ValueError, match="results: expected kept pictures"):
        plots.pictures(results, "awgn", 0.5, 11)


def test_what_was_not_measured_is_refused(results: Results) -> None:
    with pytest.raises(ValueError, match=r"metric: expected one that was measured \(psnr, lpips\), got 'fid'"):
        plots.over_snr(results, "fid")
    few = Results(results.header | {"metrics": ["psnr"]}, results.rows)
    with pytest.raises(ValueError, match="perception: expected results with one of lpips, fid"):
        plots.distortion_perception(few)
    with pytest.raises(ValueError, match="expected rows to draw, got none"):
        plots.over_snr(Results(results.header, []), "psnr")


def test_every_system_is_in_the_legend() -> None:
    systems = {"_a": Uncoded(0.5), "b": Uncoded(1.0)}
    found = sweep(systems=systems, data=images(), metrics={"psnr": psnr}, snr_db=[0, 5])
    for figure in (plots.over_snr(found, "psnr"), plots.quality_over_latency(found, "psnr")):
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["_a", "b"]


def test_directions() -> None:
    known = {"psnr": "higher", "ms_ssim": "higher", "accuracy": "higher", "lpips_vgg": "lower", "fid": "lower", "my_own": ""}
    assert {m: plots.better(m) for m in known} == known


class Page(HTMLParser):
    """What a page loads, says and leaves open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.words: list[str] = []
        self.tags: dict[str, int] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.sources += [v for k, v in given.items() if k in ("src", "srcset", "data", "action") and v]
        if tag == "a":
            self.targets.append(given.get("href") or "")
        if tag == "section":
            self.ids.append(given.get("id") or "")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_the_page_stands_alone(folder: Path, tmp_path: Path) -> None:
    place = write_report(folder, tmp_path / "new" / "report.html")
    text = place.read_text(encoding="utf-8")
    found = Page(text)
    assert found.open == []
    assert all(s.startswith("data:image/png;base64,") for s in found.sources)
    assert all(t.startswith("#") and t[1:] in found.ids for t in found.targets)
    assert not {"script", "link", "iframe"} & set(found.tags)
    loads = [u for u in re.findall(r"(?:url\(|@import|https?:)[^)\s\"']*", text) if not u.startswith(("url(#", "http://www.w3.org/"))]
    assert loads == []
    assert found.tags["svg"] == 2 + 1 + 2
    assert found.tags["img"] == found.tags["input"] == 2 * 7 * 3
    assert "currentColor" in text
    assert "#010203" not in text
    words = "".join(found.words)
    assert "plain <b>" in words  # escaped, not a tag
    assert "b" not in found.tags
    assert list(tmp_path.rglob("*.part")) == []


def test_the_page_says_how_to_reproduce_it(folder: Path, results: Results, tmp_path: Path) -> None:
    text = "".join(Page(write_report(results, tmp_path / "r.html").read_text()).words)
    assert "seeds = [0, 1]" in text
    assert f'"torch": "{torch.__version__}"' in text
    assert results.header["data"]["sha256"] in text
    assert "objects handed to sweep(systems=...)" in text
    assert "where its weights are" in text
    summary = results.summary()
    best = max(r["psnr"] for r in summary if r["snr_db"] == 10)
    assert (f"{best:.2f}" if best >= 10 else f"{best:.3f}") in text


@pytest.mark.parametrize(
    ("system", "place"),
    [
        ({"name": "x", "weights_sha256": None}, "it has none"),
        ({"name": "link", "weights_sha256": "0", "path": "runs/model"}, "model runs/model"),
        ({"name": "adjscc", "weights_sha256": "0", "options": {"model": "photos"}}, "model photos"),
        ({"name": "link", "weights_sha256": "0", "path": None, "options": {}}, "in the package"),
        ({"name": "deepjscc", "weights_sha256": "0"}, "in the repository's folder weights"),
        ({"name": "mine:Own", "weights_sha256": "0"}, "with the one who made it"),
    ],
)
def test_where_weights_are(system: dict[str, Any], place: str) -> None:
    assert report.weights_place(system) == place


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
def test_the_page_in_a_browser(folder: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    """Nothing is cut off, and a click makes a picture as large as the window, another one small again."""
    place = write_report(folder, tmp_path / "report.html")
    with browser_of(size) as page:
        page.get(place.as_uri())
        assert fits_the_window(page)
        picture = page.find_elements("css selector", "details[open] table.pictures img")[1]
        page.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
        small = picture.size
        for expected in ({"width": size[0], "height": size[1]}, small):
            picture.click()
            assert picture.size == expected


def test_the_same_results_give_the_same_page(folder: Path, tmp_path: Path) -> None:
    assert write_report(folder, tmp_path / "a.html").read_bytes() == write_report(folder, tmp_path / "b.html").read_bytes()


def test_a_page_without_pictures_or_perception(tmp_path: Path) -> None:
    found = sweep(systems={"a": Uncoded()}, data=images(), metrics={"psnr": psnr}, snr_db=0)
    text = "".join(Page(write_report(found, tmp_path / "r.html").read_text()).words)
    assert "pictures = 8 in the configuration" in text
    assert "Needs a metric of distortion and one of perception" in text
    assert "largest CBR" in text
    with pytest.raises(ValueError, match="results: expected at least one row"):
        write_report(Results(found.header, []), tmp_path / "r.html")


def test_metrics_that_were_trained_on_are_marked(results: Results) -> None:
    systems = {"dial": {"trained_on": ["lpips"]}, "plain <b>": {}}
    known = Results(results.header | {"systems": systems}, results.rows)
    psnr_table, lpips_table = re.findall(r"<table>.*?</table>", report._summary(known))
    assert "†" not in psnr_table
    assert "<td>dial, posterior mean †</td>" in lpips_table
    assert "<td>plain &lt;b&gt;</td>" in lpips_table
    assert [name.endswith("†") for name in curves(plots.over_snr(known, "lpips"))] == [True, True, True, False]
    assert "†" not in report._summary(results)


SCRIPT = "</td><script>alert(1)</script><img src=x onerror=alert(1)>'\"&"
MATHS = [r"$\frac{$", "a $x^2$ b", r"\$5", "5 $", "$$", r"$\unknown$", "{{ 7 * 7 }}", "<b>", "_hidden"]


def hostile(results: Results, folder: Path, tmp_path: Path, text: str) -> Path:
    """The results with the text wherever a text stands, as a file that `semdiff report` is given."""
    place = tmp_path / "hostile"
    shutil.copytree(folder, place)
    document = json.loads((place / "results.json").read_text())
    names = {metric: f"{metric} {text}" for metric in document["metrics"]}
    labels = {label: f"{label} {text}" for label in document["systems"]}
    document["metrics"] = list(names.values())
    document["data"] |= {"name": text, "sha256": text}
    document["systems"] = {labels[k]: v | {"name": f"x.{text}", "weights_sha256": text} for k, v in document["systems"].items()}
    document["environments"] = [e | {"machine": text, "isa": text, text: text} for e in document["environments"]]
    for row in document["rows"]:
        row |= {"system": labels[row["system"]], "channel": text}
        row |= {f"{new}{end}": row.pop(f"{old}{end}") for old, new in names.items() for end in ("", "_se")}
    (place / "results.json").write_text(json.dumps(document))
    return place


def test_nothing_in_a_results_file_is_more_than_text(results: Results, folder: Path, tmp_path: Path) -> None:
    place = hostile(results, folder, tmp_path, SCRIPT)
    text = write_report(place, tmp_path / "r.html").read_text(encoding="utf-8")
    found = Page(text)
    assert found.open == []
    assert not {"script", "b", "iframe"} & set(found.tags)
    assert found.tags["img"] == 2 * 7 * 3  # the kept pictures alone
    assert all(s.startswith("data:image/png;base64,") for s in found.sources)
    assert all(t.startswith("#") and t[1:] in found.ids for t in found.targets)
    words = "".join(found.words)
    assert words.count(SCRIPT) > 50  # shown as it is


@pytest.mark.slow
@pytest.mark.parametrize("label", MATHS)
def test_labels_are_no_formulas(results: Results, folder: Path, tmp_path: Path, label: str) -> None:
    """In the page, in every figure, and in a figure of kept pictures; also where a figure is drawn under other settings."""
    found = Results.load(hostile(results, folder, tmp_path, label))
    words = "".join(Page(write_report(found, tmp_path / "r.html").read_text()).words)
    assert words.count(f"dial {label}, posterior mean") >= 4
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context({"text.parse_math": True, "svg.fonttype": "none"}):
        for figure in (plots.over_snr(found, found.metrics[0]), plots.pictures(found, label, 0.5, 10)):
            assert f"plain <b> {label}" in "".join(Page(report.to_svg(figure)).words)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"digests": ["../../x"] * 24}, "digests: expected sha256 digests in 64 hexadecimal digits, got"),
        ({"digests": ["0" * 64]}, "digests: expected one for each of 24 rows, got 1"),
        ({"digests": 3}, "digests: expected sha256 digests"),
        ({"metrics": "psnr"}, "metrics: expected names, at least one, got 'psnr'"),
        ({"seeds": []}, "seeds: expected integers, at least one"),
        ({"data": {"name": "x"}}, "data: expected an object with name, shape"),
        ({"systems": {"dial": {}}}, "systems: expected an object of objects with name and weights_sha256"),
        ({"systems": {"dial": {"name": "x", "weights_sha256": None, "outputs": "mean"}}}, "systems: expected an object of objects"),
        ({"environments": [3]}, "environments: expected a list of objects with machine"),
        ({"rows": [3]}, "rows: expected a list of objects"),
        ({"rows": {}}, "rows: expected a list of objects"),
    ],
)
def test_other_headers_are_refused(folder: Path, tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    document = json.loads((folder / "results.json").read_text()) | changes
    (tmp_path / "results.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"results\.json: {words}"):
        Results.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("snr_db", "<script>", "snr_db: expected a number, got '<script>'"),
        ("snr_db", None, "snr_db: expected a number"),
        ("steps", 1.5, "steps: expected an integer or null"),
        ("system", 3, "system: expected text"),
        ("channel", "\ud800", "channel: expected text"),
        ("system", "other", "system: expected one of the header's, got 'other'"),
        ("psnr", "12", "psnr: expected a number or null, got '12'"),
        ("payload", True, "payload: expected an integer, got 'True'"),
    ],
)
def test_other_rows_are_refused(folder: Path, tmp_path: Path, name: str, value: Any, words: str) -> None:
    document = json.loads((folder / "results.json").read_text())
    document["rows"][5][name] = value
    (tmp_path / "results.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match=rf"results\.json: rows: {words}"):
        Results.load(tmp_path)


@pytest.mark.slow
def test_pictures_that_are_none_name_their_file(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "copy"
    shutil.copytree(folder, place)
    for content in (b"no picture", b"\x93NUMPY\x01\x00" + b"\xff" * 40, npy(torch.zeros(3, 4)), npy(torch.zeros(2**10, 1, 2, 2))[:200]):
        for path in (place / "pictures").iterdir():
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"originals\.npy: expected kept pictures"):
            write_report(place, tmp_path / "r.html")
    assert not (tmp_path / "r.html").exists()


def npy(values: torch.Tensor) -> bytes:
    file = io.BytesIO()
    np.save(file, values.to(torch.uint8).numpy())
    return file.getvalue()

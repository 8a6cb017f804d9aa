# SPDX-License-Identifier: Apache-2.0
"""Write an evaluation as one HTML page that opens from the disk: no script, no network; figures are inline SVG, images inline PNG."""

from __future__ import annotations

import base64
import io
import json
import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semdiff._util.atomic import write_atomically
from semdiff._util.words import counted
from semdiff.evaluation import plots
from semdiff.evaluation.cells import LEDGER
from semdiff.evaluation.config import Config
from semdiff.evaluation.results import Results, Row
from semdiff.evaluation.systems import SYSTEMS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Drawn in a colour that nothing else has, and then given to the page, which knows whether it is light or dark.
INK = "#010203"
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "semdiff",
    "font.family": "sans-serif",
    "font.size": 10,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    **{name: INK for name in ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color", "grid.color")},
}


def write_report(results: Results | str | Path, out: str | Path) -> Path:
    """Write the page.

    Args:
        results: `Results`, or a folder or file of them.
        out: path of the page.

    Returns:
        The path.

    Raises:
        ImportError: naming the extra, without matplotlib or jinja2.
        ValueError: where the results have no rows.
    """
    found = results if isinstance(results, Results) else Results.load(results)
    if not found.rows:
        raise ValueError("results: expected at least one row, got none")
    write_atomically(Path(out), page(found).encode())
    return Path(out)


def page(results: Results) -> str:
    """Make the whole document from the results."""
    sections = [("summary", "Summary", _summary(results))]
    for metric in results.metrics:
        sections.append((f"snr-{metric}", f"{plots.metric_name(metric)} over SNR", _over_snr(results, metric)))
    sections.append(("dial", "Distortion and perception", _dial(results)))
    sections.append(("latency", "Quality and latency", _latency(results)))
    sections.append(("pictures", "Pictures", _pictures(results)))
    sections.append(("bandwidth", "Bandwidth", _bandwidth(results)))
    sections.append(("reproduce", "How to reproduce", _reproduce(results)))
    data = results.header["data"]
    systems, seeds = ", ".join(results.header["systems"]), len(results.header["seeds"])
    lead = (
        f"{counted(data['shape'][0], 'image')} of {data['name']} ({'x'.join(map(str, data['shape'][1:]))}), {len(results.rows)} of "
        f"{counted(results.header['cells'], 'cell')}, {counted(seeds, 'seed')}. Systems: {systems}."
    )
    return _fill("page", css=_markup(_own_file("report.css")), lead=lead, sections=sections)


@cache
def _template() -> Any:
    """The macros of report.html, which escape what they are given."""
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ImportError("a report needs jinja2: pip install 'semdiff-torch[eval]'") from error
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_own_file("report.html")).module


def _fill(macro: str, **values: Any) -> str:
    return getattr(_template(), macro)(**values)  # type: ignore[no-any-return]


def _markup(text: str) -> str:
    """Text of ours, or of a library that has escaped it, that is not escaped again."""
    from markupsafe import Markup

    return Markup(text)


def _own_file(name: str) -> str:
    return (files("semdiff.evaluation") / name).read_text(encoding="utf-8")


def _summary(results: Results) -> str:
    """A table for each channel, bandwidth and metric: receivers down, SNRs across."""
    rows, tables = results.summary(), []
    spread = "95 % confidence interval over the seeds" if len(results.header["seeds"]) > 1 else "1.96 standard errors over the images"
    for metric in results.metrics:
        for place in plots.panel_keys(rows):
            here = [r for r in rows if (r["channel"], r["cbr"]) == place]
            tables.append(
                {"heading": f"{plots.axis_title(metric)}: {place[0]}, {plots.format_cbr(place[1])}"} | _pivot(results, here, metric)
            )
    note = f"Means over the images; \u00b1 {spread}. The best of each column is bold. All receivers had the same noise."
    return _fill("summary", note=note + _dagger(results, results.metrics) + _references(results), tables=tables)


def _pivot(results: Results, rows: list[Row], metric: str) -> dict[str, Any]:
    snrs = sorted({r["snr_db"] for r in rows})
    side = plots.better(metric)
    best: dict[float, float] = {}
    for snr_db in snrs:
        values = [r[metric] for r in rows if r["snr_db"] == snr_db and r[metric] is not None]
        if values and side:
            best[snr_db] = min(values) if side == "lower" else max(values)
    lines = []
    for name in dict.fromkeys(map(plots.receiver_label, rows)):
        mine = {r["snr_db"]: r for r in rows if plots.receiver_label(r) == name}
        first = next(iter(mine.values()))
        cells: list[dict[str, Any] | None] = []
        for snr_db in snrs:
            row = mine.get(snr_db)
            if row is None or row[metric] is None:
                cells.append(None)
                continue
            half = plots.error_bar(row, metric)
            marked = row[metric] == best.get(snr_db)
            cells.append({"value": _number(row[metric]), "best": marked, "half": _number(half) if half else ""})
        times = [r["milliseconds"] for r in mine.values()]
        line = {"name": name + plots.training_mark(results, first["system"], metric), "cells": cells}
        lines.append(line | {"evaluations": f"{first['evaluations']:g}", "milliseconds": f"{sum(times) / len(times):.1f}"})
    return {"names": ["receiver", *(f"{v:g} dB" for v in snrs), "evaluations", "ms an image"], "lines": lines}


def _over_snr(results: Results, metric: str) -> str:
    caption = f"{plots.axis_title(metric)}. Each system at every realism that was measured, with its most steps. {_bars(results)}"
    caption += _dagger(results, [metric])
    return _fill("charts", figures=[_chart(results, caption, "over_snr", metric)])


def _dial(results: Results) -> str:
    found = plots.perceptual_metrics(results)
    distortion = next((m for m in results.metrics if m not in found), None)
    if not found or distortion is None:
        expected, got = ", ".join(plots.PERCEPTUAL[:3]), ", ".join(results.metrics)
        return _fill("note", text=f"Needs a metric of distortion and one of perception ({expected}); measured: {got}.")
    caption = (
        f"From the least error to the most natural picture, along the realism dial (0 to 1); a system without one is a "
        f"point for each SNR, which the first system's words name. {_bars(results)}"
    )
    return _fill("charts", figures=[_chart(results, caption, "distortion_perception", distortion, perception) for perception in found])


def _latency(results: Results) -> str:
    caption = (
        "Along each line the steps grow, at the highest realism that was measured; the first system's words name the SNR. "
        "The time is that of one image in a batch of "
        f"{results.header['config'].get('batch', Config.batch)}: transmitter, channel and receiver, the median over the batches, on "
        f"{_machine(results)}. {_bars(results)}"
    )
    metrics = dict.fromkeys(results.metrics[:1] + plots.perceptual_metrics(results)[:1])
    return _fill("charts", figures=[_chart(results, caption, "quality_over_latency", metric) for metric in metrics])


def _pictures(results: Results) -> str:
    if not results.header["pictures"]:
        return _fill("no_pictures")
    rows, blocks = results.rows, []
    snrs = list(dict.fromkeys(r["snr_db"] for r in rows))
    shown = snrs[len(snrs) // 2]
    for channel, cbr in plots.panel_keys(rows):
        for snr_db in snrs:
            uses = sorted({r["uses"] for r in rows if (r["channel"], r["cbr"], r["snr_db"]) == (channel, cbr, snr_db)})
            heading = f"{channel}, {plots.format_cbr(cbr)}, {snr_db:g} dB: {' or '.join(map(str, uses))} channel uses an image"
            strips = [(name, list(map(_png, images))) for name, images in plots.picture_strips(results, channel, cbr, snr_db)]
            blocks.append({"heading": heading, "open": snr_db == shown, "strips": strips})
    return _fill("pictures", blocks=blocks)


def _bandwidth(results: Results) -> str:
    seen: dict[tuple[Any, ...], Row] = {}
    for r in results.rows:
        seen.setdefault((r["system"], r["channel"], r["cbr"]), r)
    lines = []
    for (system, channel, cbr), r in seen.items():
        used = f"{r['cbr_used']:.5f} (1/{1 / r['cbr_used']:.3g})" if r["cbr_used"] else "0"
        numbers = [*(str(r[n]) for n in LEDGER), str(r["uses"]), used]
        lines.append([system, channel, "largest" if cbr is None else f"{cbr:.5f}", *numbers])
    names = ["system", "channel", "CBR asked", *(n.replace("_", " ") for n in LEDGER), "uses", "CBR"]
    return _fill("bandwidth", names=names, lines=lines)


def _reproduce(results: Results) -> str:
    header = results.header
    return _fill(
        "reproduce",
        toml=Config.from_mapping(header["config"]).to_toml(),
        seeds=header["seeds"],
        own=[label for label, system in header["systems"].items() if "." in system["name"] and ":" not in system["name"]],
        systems=header["systems"],
        places={label: weights_place(system) for label, system in header["systems"].items()},
        data=header["data"],
        environments=json.dumps(header["environments"], indent=1),
    )


def weights_place(system: dict[str, Any]) -> str:
    """Say where a system's weights are, which its digest identifies.

    Args:
        system: of a results' header.
    """
    if not system["weights_sha256"]:
        return "it has none"
    named = system.get("path") or (system.get("options") or {}).get("model")
    if named:
        return f"model {named}"
    known = SYSTEMS.get(system["name"])
    return known.weights if known else "with the one who made it"


def plots_call(results: Results, name: str, *arguments: str) -> str:
    """Make the SVG of a figure of `plots`, in the page's colours.

    Args:
        results: of the evaluation.
        name: of the function.
        arguments: of the function.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("a report needs matplotlib: pip install 'semdiff-torch[eval]'") from error
    with matplotlib.rc_context(STYLE):
        return to_svg(getattr(plots, name)(results, *arguments))


def to_svg(figure: Figure) -> str:
    """Convert a figure to an SVG element in the page's text colour."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL).replace(INK, "currentColor")


def _chart(results: Results, caption: str, name: str, *metrics: str) -> dict[str, str]:
    """A figure of `plots`; its words are escaped by matplotlib."""
    call = f"plots.{name}({', '.join(['results', *map(json.dumps, metrics)])})"
    return {"svg": _markup(plots_call(results, name, *metrics)), "caption": caption, "call": call}


def _bars(results: Results) -> str:
    seeds = len(results.header["seeds"])
    return f"Bars: 95 % confidence over {seeds} seeds (Student's t)." if seeds > 1 else "Bars: 1.96 standard errors over the images."


def _dagger(results: Results, metrics: list[str]) -> str:
    marked = any(results.trained_on(system, metric) for system in results.header["systems"] for metric in metrics)
    return " †: trained to make this metric good, which then proves less." if marked else ""


def _references(results: Results) -> str:
    """Name the images that unpaired metrics compare with, and what the originals themselves have: no receiver is meant to be better."""
    against = results.header.get("references")
    if not against:
        return ""
    floor = ", ".join(f"{plots.metric_name(name)} {_number(value)}" for name, value in against["originals"].items())
    sets = f"{counted(against['images'], 'image')} of {against['name']}, which were not sent"
    return f" Unpaired metrics compare with {sets}; the originals themselves have {floor}."


def _machine(results: Results) -> str:
    found = [f"{e['machine']} ({e['isa']}, {e['threads']} thread{'s' if e['threads'] > 1 else ''})" for e in results.header["environments"]]
    return " and ".join(dict.fromkeys(found))


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _png(image: Any) -> str:
    """An image (C, H, W) of bytes as a PNG, in base64."""
    from PIL import Image

    content = io.BytesIO()
    picture = Image.fromarray(image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0))
    picture.save(content, "PNG", optimize=True)
    return base64.b64encode(content.getvalue()).decode()

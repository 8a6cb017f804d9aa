# SPDX-License-Identifier: Apache-2.0
"""An evaluation as one HTML page that opens from the disk: no script, no network; figures are inline SVG, pictures inline PNG."""

from __future__ import annotations

import base64
import io
import json
import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semdiff.atomic import write_atomically
from semdiff.evaluation import plots
from semdiff.evaluation.cells import LEDGER
from semdiff.evaluation.config import Config
from semdiff.evaluation.results import Results, Row
from semdiff.words import counted

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
    """Writes the page. results: `Results`, or a folder or file of them. ImportError naming the extra without matplotlib."""
    found = results if isinstance(results, Results) else Results.load(results)
    if not found.rows:
        raise ValueError("results: expected at least one row, got none")
    write_atomically(Path(out), page(found).encode())
    return Path(out)


def page(results: Results) -> str:
    """The whole document."""
    sections = [("summary", "Summary", _summary(results))]
    for metric in results.metrics:
        sections.append((f"snr-{metric}", f"{plots.name(metric)} over SNR", _over_snr(results, metric)))
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
    links = "".join(f'<a href="#{name}">{escape(text)}</a>' for name, text, _ in sections)
    body = "".join(f'<section id="{name}"><h2>{escape(text)}</h2>{content}</section>' for name, text, content in sections)
    css = (files("semdiff.evaluation") / "report.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>semdiff evaluation</title><style>{css}</style></head><body><main><h1>Images over a noisy channel</h1>"
        f'<p class="lead">{escape(lead)}</p><nav>{links}</nav>{body}</main></body></html>\n'
    )


def _summary(results: Results) -> str:
    """A table for each channel, bandwidth and metric: receivers down, SNRs across."""
    rows, parts = results.summary(), []
    spread = "95 % confidence interval over the seeds" if len(results.header["seeds"]) > 1 else "1.96 standard errors over the images"
    note = _dagger(results, results.metrics)
    parts.append(
        f"<p>Means over the images; &plusmn; {spread}. The best of each column is bold. All receivers had the same noise.{note}</p>"
    )
    for metric in results.metrics:
        for place in plots.places(rows):
            here = [r for r in rows if (r["channel"], r["cbr"]) == place]
            heading = f"{plots.title(metric)}: {place[0]}, {plots.ratio(place[1])}"
            parts.append(f"<h3>{escape(heading)}</h3>{_pivot(results, here, metric)}")
    return "".join(parts)


def _pivot(results: Results, rows: list[Row], metric: str) -> str:
    snrs = sorted({r["snr_db"] for r in rows})
    side = plots.better(metric)
    best: dict[float, float] = {}
    for snr_db in snrs:
        values = [r[metric] for r in rows if r["snr_db"] == snr_db and r[metric] is not None]
        if values and side:
            best[snr_db] = min(values) if side == "lower" else max(values)
    table = [["receiver", *(f"{v:g} dB" for v in snrs), "evaluations", "ms an image"]]
    lines = []
    for name in dict.fromkeys(map(plots.receiver, rows)):
        mine = {r["snr_db"]: r for r in rows if plots.receiver(r) == name}
        first = next(iter(mine.values()))
        cells = [f"<td>{escape(name)}{plots.dagger(results, first['system'], metric)}</td>"]
        for snr_db in snrs:
            row = mine.get(snr_db)
            if row is None or row[metric] is None:
                cells.append("<td>-</td>")
                continue
            mark = ' class="best"' if row[metric] == best.get(snr_db) else ""
            half = plots.interval(row, metric)
            spread = f" <small>&plusmn; {_number(half)}</small>" if half else ""
            cells.append(f"<td{mark}>{_number(row[metric])}{spread}</td>")
        times = [r["milliseconds"] for r in mine.values()]
        cells += [f"<td>{first['evaluations']:g}</td>", f"<td>{sum(times) / len(times):.1f}</td>"]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<div class="wide"><table>{_head(table[0])}{"".join(lines)}</table></div>'


def _over_snr(results: Results, metric: str) -> str:
    caption = f"{plots.title(metric)}. Each system at every realism that was measured, with its most steps. {_bars(results)}"
    caption += _dagger(results, [metric])
    return _chart(plots_call(results, "over_snr", metric), caption, f'plots.over_snr(results, "{metric}")')


def _dial(results: Results) -> str:
    found = plots.perceptual_metrics(results)
    distortion = next((m for m in results.metrics if m not in found), None)
    if not found or distortion is None:
        wanted, got = ", ".join(plots.PERCEPTUAL[:3]), ", ".join(results.metrics)
        return f'<p class="note">Needs a metric of distortion and one of perception ({wanted}); measured: {escape(got)}.</p>'
    parts = []
    for perception in found:
        caption = (
            f"From the least error to the most natural picture, along the realism dial (0 to 1); a system without one is a "
            f"point for each SNR, which the first system's words name. {_bars(results)}"
        )
        call = f'plots.distortion_perception(results, "{distortion}", "{perception}")'
        parts.append(_chart(plots_call(results, "distortion_perception", distortion, perception), caption, call))
    return "".join(parts)


def _latency(results: Results) -> str:
    parts = []
    for metric in results.metrics[:1] + plots.perceptual_metrics(results)[:1]:
        caption = (
            "Along each line the steps grow, at the highest realism that was measured; the first system's words name the SNR. "
            "The time is that of one image in a batch of "
            f"{results.header['config'].get('batch', Config.batch)}: transmitter, channel and receiver, the median over the batches, on "
            f"{_machine(results)}. {_bars(results)}"
        )
        call = f'plots.quality_over_latency(results, "{metric}")'
        parts.append(_chart(plots_call(results, "quality_over_latency", metric), caption, call))
    return "".join(dict.fromkeys(parts))


def _pictures(results: Results) -> str:
    if not results.header["pictures"]:
        return '<p class="note">None were kept; <code>pictures = 8</code> in the configuration keeps eight of each cell.</p>'
    rows, parts = results.rows, []
    parts.append("<p>The same images, noise and bandwidth for every receiver of a block; the first seed.</p>")
    snrs = list(dict.fromkeys(r["snr_db"] for r in rows))
    shown = snrs[len(snrs) // 2]
    for channel, cbr in plots.places(rows):
        for snr_db in snrs:
            uses = sorted({r["uses"] for r in rows if (r["channel"], r["cbr"], r["snr_db"]) == (channel, cbr, snr_db)})
            heading = f"{channel}, {plots.ratio(cbr)}, {snr_db:g} dB: {' or '.join(map(str, uses))} channel uses an image"
            lines = [
                f'<tr class="{"sent" if name == "sent" else "got"}"><td>{escape(name)}</td>{"".join(map(_img, images))}</tr>'
                for name, images in plots.picture_strips(results, channel, cbr, snr_db)
            ]
            table = f'<div class="wide"><table class="pictures">{"".join(lines)}</table></div>'
            parts.append(f"<details{' open' if snr_db == shown else ''}><summary>{escape(heading)}</summary>{table}</details>")
    parts.append(_recipe("plots.pictures(results, channel, cbr, snr_db)"))
    return "".join(parts)


def _bandwidth(results: Results) -> str:
    seen: dict[tuple[Any, ...], Row] = {}
    for r in results.rows:
        seen.setdefault((r["system"], r["channel"], r["cbr"]), r)
    names = ["system", "channel", "CBR asked", *(n.replace("_", " ") for n in LEDGER), "uses", "CBR"]
    lines = []
    for (system, channel, cbr), r in seen.items():
        used = f"{r['cbr_used']:.5f} (1/{1 / r['cbr_used']:.3g})" if r["cbr_used"] else "0"
        numbers = [*(str(r[n]) for n in LEDGER), str(r["uses"]), used]
        cells = [system, channel, "largest" if cbr is None else f"{cbr:.5f}", *numbers]
        lines.append("<tr>" + "".join(f"<td>{escape(c)}</td>" for c in cells) + "</tr>")
    note = "<p>Complex channel uses for one image, everything counted; CBR is uses over source values (C x H x W).</p>"
    return f'{note}<div class="wide"><table>{_head(names)}{"".join(lines)}</table></div>'


def _reproduce(results: Results) -> str:
    header = results.header
    systems = "".join(
        f'<tr><td>{escape(k)}</td><td class="left">{escape(s["name"])}</td><td class="left"><code>{escape(s["weights_sha256"] or "none")}'
        "</code></td></tr>"
        for k, s in header["systems"].items()
    )
    toml = Config.from_mapping(header["config"]).to_toml()
    own = [k for k, s in header["systems"].items() if "." in s["name"]]
    by_hand = f"<p>{escape(', '.join(own))}: objects handed to <code>sweep(systems=...)</code> in Python.</p>" if own else ""
    seeds = ", ".join(map(str, header["seeds"]))
    return (
        f"<p>Save this as <code>evaluation.toml</code>; seeds {seeds}.</p><pre><code>{escape(toml)}</code></pre>"
        "<pre><code>semdiff evaluate evaluation.toml --out RESULTS\nsemdiff report RESULTS --out report.html</code></pre>"
        f'{by_hand}<h3>Weights</h3><div class="wide"><table>{_head(["label", "system", "sha256 of the weights"])}{systems}</table></div>'
        f"<h3>Data</h3><p>{escape(header['data']['name'])}, sha256 of the images as float32: <code>{header['data']['sha256']}</code></p>"
        f"<h3>Versions and machines</h3><pre><code>{escape(json.dumps(header['environments'], indent=1))}</code></pre>"
    )


def plots_call(results: Results, name: str, *arguments: str) -> str:
    """The SVG of a figure of `plots`, in the page's colours."""
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("a report needs matplotlib: pip install 'semdiff-torch[eval]'") from error
    with matplotlib.rc_context(STYLE):
        return to_svg(getattr(plots, name)(results, *arguments))


def to_svg(figure: Figure) -> str:
    """The figure as an SVG element whose ink is the page's."""
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    svg = text.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL).replace(INK, "currentColor")


def _chart(svg: str, caption: str, call: str) -> str:
    return f'<figure class="chart">{svg}<figcaption>{escape(caption)}</figcaption></figure>{_recipe(call)}'


def _recipe(call: str) -> str:
    code = f'from semdiff.evaluation import Results, plots\n\nresults = Results.load("RESULTS")\n{call}'
    where = 'RESULTS comes of the command, configuration, seeds and versions <a href="#reproduce">below</a>.'
    return f'<details><summary>How to make this</summary><pre><code>{escape(code)}</code></pre><p class="note">{where}</p></details>'


def _bars(results: Results) -> str:
    seeds = len(results.header["seeds"])
    return f"Bars: 95 % confidence over {seeds} seeds (Student's t)." if seeds > 1 else "Bars: 1.96 standard errors over the images."


def _dagger(results: Results, metrics: list[str]) -> str:
    marked = any(results.trained_on(system, metric) for system in results.header["systems"] for metric in metrics)
    return " †: trained to make this metric good, which then proves less." if marked else ""


def _machine(results: Results) -> str:
    found = [f"{e['machine']} ({e['isa']}, {e['threads']} thread{'s' if e['threads'] > 1 else ''})" for e in results.header["environments"]]
    return " and ".join(dict.fromkeys(found))


def _head(names: list[str]) -> str:
    return "<tr>" + "".join(f"<th>{escape(n)}</th>" for n in names) + "</tr>"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def _img(image: Any) -> str:
    from PIL import Image

    content = io.BytesIO()
    picture = Image.fromarray(image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0))
    picture.save(content, "PNG", optimize=True)
    return f'<td><img alt="" src="data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"></td>'

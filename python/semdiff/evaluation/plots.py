# SPDX-License-Identifier: Apache-2.0
"""Draw figures of an evaluation's results, for notebooks and for the report: each function takes `Results` and returns a matplotlib Figure.
A notebook shows it as a cell's last line, after %matplotlib inline.

One panel for each channel and bandwidth, one colour for each system, one line style for each realism. Error bars are 95 % intervals: over
the seeds (Student's t) where there are several, over the images (1.96 standard errors) where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import wraps
from typing import TYPE_CHECKING, Any, ParamSpec

from semdiff._util.words import counted
from semdiff.evaluation.results import Results, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

P = ParamSpec("P")

# Told apart on white and on near-black, and by most colour-blind readers.
COLOURS = ("#2f7ed8", "#e0762b", "#1fa187", "#b05cc6", "#d94f5c", "#9a7b3f", "#7f8c99", "#5b5bd6")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
HIGHER_IS_BETTER = ("psnr", "ssim", "ms_ssim", "accuracy")
LOWER_IS_BETTER = ("lpips", "fid", "kid", "mse", "frechet", "dists", "nmse")
PERCEPTUAL = ("lpips", "fid", "kid", "frechet", "dists")
ACRONYMS = ("psnr", "ssim", "ms", "lpips", "vgg", "fid", "kid", "mse", "nmse", "dists")
UNNAMED = "_nolegend_"  # matplotlib's word
PANEL_WIDTH, PANEL_HEIGHT, COLUMNS = 4.0, 3.3, 3


def _plain_words(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Names in a figure are the user's: no dollar begins a formula there."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        try:
            import matplotlib
        except ImportError as error:
            raise ImportError("figures need matplotlib: pip install 'semdiff-torch[eval]'") from error
        with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False, "axes.formatter.use_mathtext": False}):
            return draw(*args, **kwargs)

    return drawn


def format_cbr(cbr: float | None) -> str:
    """Write a bandwidth ratio as people do, 1/12.2; cbr None is the largest."""
    return "largest CBR" if cbr is None else f"CBR 1/{1 / cbr:.3g}"


def metric_name(metric: str) -> str:
    """Write the name of a metric as people do: LPIPS-Alex, Accuracy."""
    return "-".join(word.upper() if word in ACRONYMS else word.capitalize() for word in metric.split("_"))


def axis_title(metric: str) -> str:
    """Write the name of a metric with its unit and the better side, for an axis."""
    unit = " (dB)" if metric == "psnr" else ""
    side = better(metric)
    return metric_name(metric) + unit + (f", {side} is better" if side else "")


def better(metric: str) -> str:
    """Return which values of a metric are better, higher or lower, or nothing for one that is not known here."""
    return "lower" if _is(metric, LOWER_IS_BETTER) else "higher" if _is(metric, HIGHER_IS_BETTER) else ""


def receiver_label(row: Row) -> str:
    """Name a system with the settings of its receiver: `link, posterior mean`, or by the decoder that made the image.

    Args:
        row: of the results.
    """
    words = [str(row["system"])]
    if row.get("output"):
        words.append(str(row["output"]))
    elif row["realism"] == 0:
        words.append("posterior mean")
    elif row["realism"] is not None:
        words.append("sample" if row["realism"] == 1 else f"realism {row['realism']:g}")
    if row["steps"] is not None:
        words.append("automatic steps" if row["steps"] == "auto" else counted(row["steps"], "step"))
    return ", ".join(words)


def training_mark(results: Results, system: str, metric: str) -> str:
    """Return the mark of a system that was trained to make the metric good, or nothing.

    Args:
        results: of the evaluation.
        system: its label.
        metric: the metric.
    """
    return " †" if results.trained_on(system, metric) else ""


def perceptual_metrics(results: Results) -> list[str]:
    """List those of the results' metrics that measure how natural an image looks, not how near it is.

    Args:
        results: of the evaluation.
    """
    return [m for m in results.metrics if _is(m, PERCEPTUAL)]


def over_snr(results: Results, metric: str) -> Figure:
    """Draw the metric against the channel's SNR: every system, at every realism, with the most steps that were measured.

    Args:
        results: of the evaluation.
        metric: one of its metrics.
    """
    rows = _rows(results, metric)
    rows = [r for r in rows if r["steps"] in (None, _most(rows, r["system"], "steps"))]

    def draw(axes: Axes, here: list[Row], colours: dict[str, int]) -> None:
        for name in dict.fromkeys(map(receiver_label, here)):
            line = sorted((r for r in here if receiver_label(r) == name), key=lambda r: r["snr_db"])
            _errorbar(axes, line, lambda r: r["snr_db"], metric, colours, name + training_mark(results, line[0]["system"], metric))
        axes.set_xlabel("SNR (dB)")
        axes.set_ylabel(axis_title(metric))

    return _panels(rows, draw)


def distortion_perception(results: Results, distortion: str = "psnr", perception: str | None = None) -> Figure:
    """Draw distortion against perception: a line for each system and SNR, along the realism, with the most steps that were measured.

    Args:
        results: of the evaluation.
        distortion: a metric of the results.
        perception: a metric of the results; None takes the first perceptual one.

    Raises:
        ValueError: where there is none.
    """
    if perception is None:
        found = perceptual_metrics(results)
        if not found:
            raise ValueError(f"perception: expected results with one of {', '.join(PERCEPTUAL)}, got {', '.join(results.metrics)}")
        perception = found[0]
    _rows(results, perception)  # refuses a metric that was not measured
    rows = [r for r in _rows(results, distortion) if r[perception] is not None]
    rows = [r for r in rows if r["steps"] in (None, _most(rows, r["system"], "steps"))]

    def draw(axes: Axes, here: list[Row], colours: dict[str, int]) -> None:
        _curves(axes, here, lambda r: r[perception], distortion, colours, lambda r: r["realism"] or 0.0)
        across = [r[perception] for r in rows]
        if 0 < 4 * min(across) < max(across):  # a digital system in outage is far from all others, which would be one blot
            _logarithmic(axes)
        axes.set_xlabel(axis_title(perception))
        axes.set_ylabel(axis_title(distortion))

    return _panels(rows, draw)


def quality_over_latency(results: Results, metric: str) -> Figure:
    """Draw the metric against the time for one image: a line for each system and SNR, along the steps, at the highest realism.

    Args:
        results: of the evaluation.
        metric: one of its metrics.
    """
    rows = _rows(results, metric)
    rows = [r for r in rows if r["realism"] == _most(rows, r["system"], "realism")]

    def draw(axes: Axes, here: list[Row], colours: dict[str, int]) -> None:
        _curves(axes, here, lambda r: r["milliseconds"], metric, colours, lambda r: _rank(r["steps"]))
        _logarithmic(axes)
        axes.set_xlabel("milliseconds an image")
        axes.set_ylabel(axis_title(metric))

    return _panels(rows, draw)


@_plain_words
def pictures(results: Results, channel: str, cbr: float | None, snr_db: float) -> Figure:
    """Draw the originals, and below them the images of each receiver, if the sweep kept any.

    Args:
        results: of the evaluation.
        channel, cbr, snr_db: where.

    Raises:
        ValueError: where no images were kept.
    """
    from matplotlib.figure import Figure

    strips = dict(picture_strips(results, channel, cbr, snr_db))
    if not strips:
        raise ValueError("results: expected kept pictures (`pictures = 8` in the configuration) of that channel, CBR and SNR, got none")
    count = len(strips["sent"])
    figure = Figure(figsize=(1.6 + 0.62 * count, 0.7 * len(strips)), layout="constrained")
    grid = figure.subplots(len(strips), count, squeeze=False)
    for line, (name, images) in zip(grid, strips.items(), strict=True):
        for axes, image in zip(line, images, strict=True):
            axes.imshow(image.transpose(1, 2, 0), cmap="gray", vmin=0, vmax=255)
            axes.set_axis_off()
        line[0].set_axis_on()
        line[0].set_xticks([])
        line[0].set_yticks([])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return figure


def picture_strips(results: Results, channel: str, cbr: float | None, snr_db: float) -> Iterator[tuple[str, Any]]:
    """Yield rows of images with their names: the originals, then those of each receiver.

    Args:
        results: of the evaluation.
        channel, cbr, snr_db: where.

    Yields:
        The name, and uint8 (n, C, H, W).
    """
    sent = results.originals()
    for row, images in results.pictures():
        if (row["channel"], row["cbr"], row["snr_db"]) == (channel, cbr, snr_db):
            if sent is not None:
                yield "sent", sent
                sent = None
            yield receiver_label(row), images


def panel_keys(rows: list[Row]) -> list[tuple[str, float | None]]:
    """List every (channel, CBR) that the rows are of, in their order."""
    return list(dict.fromkeys((r["channel"], r["cbr"]) for r in rows))


def _is(metric: str, kinds: tuple[str, ...]) -> bool:
    return metric.lower().startswith(kinds)


def _rows(results: Results, metric: str) -> list[Row]:
    if metric not in results.metrics:
        raise ValueError(f"metric: expected one that was measured ({', '.join(results.metrics)}), got {metric!r}")
    return [r for r in results.summary() if r[metric] is not None]


def _most(rows: list[Row], system: str, axis: str) -> Any:
    return max((r[axis] for r in rows if r["system"] == system and r[axis] is not None), key=_rank, default=None)


def _rank(steps: Any) -> float:
    """Order steps: "auto" comes after all numbers."""
    return math.inf if steps == "auto" else steps or 0


def error_bar(row: Row, metric: str) -> float:
    """Compute half the length of the error bar of a row's metric."""
    if row["seeds"] > 1:
        return row[f"{metric}_ci95"] or 0.0
    return 1.96 * (row[f"{metric}_se"] or 0.0)


def _style(row: Row, colours: dict[str, int]) -> dict[str, Any]:
    i, realism = colours[row["system"]], row["realism"]
    line = "-" if realism in (None, 0) else ":" if realism == 1 else "--"
    fill = COLOURS[i % len(COLOURS)] if realism in (None, 0) else "none" if realism == 1 else COLOURS[i % len(COLOURS)] + "66"
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linestyle": line,
        "markerfacecolor": fill,
        "markersize": 5,
        "linewidth": 1.5,
    }


def _errorbar(axes: Axes, line: list[Row], x: Callable[[Row], Any], metric: str, colours: dict[str, int], name: str | None) -> None:
    heights = [r[metric] for r in line]
    bars = [error_bar(r, metric) for r in line]
    label = UNNAMED if name is None else name
    axes.errorbar([x(r) for r in line], heights, bars, label=label, capsize=2, elinewidth=1, **_style(line[0], colours))


def _curves(
    axes: Axes, here: list[Row], x: Callable[[Row], Any], metric: str, colours: dict[str, int], along: Callable[[Row], float]
) -> None:
    """A line for each system and SNR; the first system's have the SNR at their right end: of many systems the words would overlap."""
    for system in dict.fromkeys(r["system"] for r in here):
        for snr_db in dict.fromkeys(r["snr_db"] for r in here):
            line = sorted((r for r in here if (r["system"], r["snr_db"]) == (system, snr_db)), key=along)
            if line:
                name = system if snr_db == here[0]["snr_db"] else None
                plain = [line[0] | {"realism": None}, *line[1:]]  # one style for the line: it runs over what others are told apart by
                _errorbar(axes, plain, x, metric, colours, name)
                end = max((x(r), r[metric]) for r in line)  # where no other point of the line is in the words' way
                if system == here[0]["system"]:
                    axes.annotate(f"{snr_db:g} dB", end, (5, 0), textcoords="offset points", fontsize=7, va="center", alpha=0.8)


def _logarithmic(axes: Axes) -> None:
    """A logarithmic axis of plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_locator(NullLocator())


def _keep_to_the_curves(panels: list[Axes]) -> None:
    """Bound the shared axis: intervals of two or three seeds may be many times as long as all curves are high, and run out of the panel."""
    heights = [float(y) for axes in panels for bars in axes.containers for y in bars.lines[0].get_ydata()]  # type: ignore[attr-defined]
    low, high = min(heights), max(heights)
    room = high - low
    bottom, top = panels[0].get_ylim()
    if room > 0 and (bottom < low - room or top > high + room):
        panels[0].set_ylim(max(bottom, low - room), min(top, high + room))


@_plain_words
def _panels(rows: list[Row], draw: Callable[[Axes, list[Row], dict[str, int]], None]) -> Figure:
    from matplotlib.figure import Figure

    if not rows:
        raise ValueError("results: expected rows to draw, got none")
    colours = {name: i for i, name in enumerate(dict.fromkeys(r["system"] for r in rows))}
    where = panel_keys(rows)
    down = -(-len(where) // COLUMNS)
    across = -(-len(where) // down)  # four panels are two by two
    figure = Figure(figsize=(max(1.5, across) * PANEL_WIDTH, down * PANEL_HEIGHT + 0.6), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False, sharey=True)
    for axes, place in zip(grid.flat, where, strict=False):
        draw(axes, [r for r in rows if (r["channel"], r["cbr"]) == place], colours)
        axes.set_title(f"{place[0]}, {format_cbr(place[1])}", fontsize=10)
        axes.grid(True, linewidth=0.6, alpha=0.18)
        axes.margins(x=0.08)
        axes.spines[["top", "right"]].set_visible(False)
        axes.label_outer()
    for axes in list(grid.flat)[len(where) :]:
        axes.set_axis_off()
    _keep_to_the_curves(list(grid.flat)[: len(where)])
    # Not get_legend_handles_labels, which leaves out names that begin with _.
    found = {name: bars for axes in grid.flat for bars in axes.containers if (name := bars.get_label()) != UNNAMED}
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=min(4, len(found)), frameon=False, fontsize=9)
    return figure

# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semdiff._util.words import counted
from semdiff.cli.options import Json
from semdiff.cli.output import format_ratio, format_time, print_json, screen

if TYPE_CHECKING:
    from semdiff.evaluation import Results


def evaluate(
    config: Annotated[
        str | None,
        typer.Argument(
            metavar="CONFIG",
            help="A TOML file, or a name here: fashion-mnist, fashion-mnist-perceptual, photos, photos-perceptual, kodak, cifar10.",
        ),
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder of the results; what is finished there is kept.", file_okay=False)
    ] = Path("results"),
    images: Annotated[int | None, typer.Option("--images", help="The first so many, in place of the configuration's number.")] = None,
    template: Annotated[
        bool, typer.Option("--template", help="Print a TOML file with every field and what it means, which runs as it is, and exit.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure systems at every channel, SNR and bandwidth of a configuration.

    An interrupted evaluation goes on where it stopped when the command is given again. Several processes share the work:
    torchrun --nproc-per-node 2 --no-python semdiff evaluate CONFIG; on several machines, --out is a folder that all of them see.
    """
    from semdiff.evaluation import sweep

    if template:
        from semdiff.evaluation.template import template as write

        print(write(), end="")
        return
    if config is None:
        raise typer.BadParameter(
            "expected a TOML file or a name; semdiff evaluate --template prints one to begin with", param_hint="'CONFIG'"
        )
    if "" not in sys.path:
        sys.path.append("")  # modules that the file names may lie in the current folder
    changes: dict[str, Any] = {} if images is None else {"images": images}
    try:
        found = sweep(config, out, progress=True, **changes)
    except KeyboardInterrupt:
        typer.echo("semdiff: interrupted; the same command goes on with the cells that are missing", err=True)
        raise typer.Exit(130) from None
    if not found.complete:
        share = f"{len(found.rows)} of {found.header['cells']} cells are there"
        typer.echo(f"semdiff: this process's share is done; {share}, and the last process writes the table", err=True)
    elif as_json:
        print_json({"results": str(out), "header": found.header, "summary": found.summary()})
    else:
        _print(found, out)


def _print(found: Results, out: Path) -> None:
    from rich.table import Table

    from semdiff.evaluation.plots import receiver_label

    summary = found.summary()
    data = found.header["data"]
    seeds = len(found.header["seeds"])
    table = Table(
        title=f"{counted(data['shape'][0], 'image')} of {data['name']}, {counted(seeds, 'seed')}",
        caption="means; +-: the 95 % confidence interval over the seeds" if seeds > 1 else None,
    )
    table.add_column("channel")
    table.add_column("CBR", justify="right")
    table.add_column("SNR\ndB", justify="right")
    table.add_column("receiver")
    for metric in found.metrics:
        table.add_column(metric, justify="right")
    table.add_column("t", justify="right")
    table.add_column("ms", justify="right")
    for i, row in enumerate(summary):
        place = [row[name] for name in ("channel", "cbr", "snr_db")]
        last = i + 1 == len(summary) or [summary[i + 1][name] for name in ("channel", "cbr", "snr_db")] != place
        table.add_row(
            row["channel"],
            format_ratio(row["cbr_used"]) if row["cbr_used"] else "0",
            f"{row['snr_db']:g}",
            receiver_label(row),
            *(_value(row[metric], row[f"{metric}_ci95"]) for metric in found.metrics),
            format_time(row["t"]),
            f"{row['milliseconds']:.1f}",
            end_section=last,
        )
    console = screen()
    console.print(table)
    if "references" in found.header:
        against = found.header["references"]
        floor = ", ".join(f"{name} {value:.3f}" for name, value in against["originals"].items())
        sets = f"{data['shape'][0]} images against {against['images']} of {against['name']}"
        text = f"Unpaired metrics: {sets}; the originals themselves: {floor}"
        console.print(text, soft_wrap=True, highlight=False, markup=False)
    text = f"Wrote {out / 'results.csv'}, summary.csv and results.json. Look at it: semdiff report {out}"
    console.print(text, soft_wrap=True)


def _value(mean: float | None, interval: float | None) -> str:
    if mean is None:
        return "-"
    return f"{mean:.3f}" + ("" if interval is None else f" +-{interval:.3f}")

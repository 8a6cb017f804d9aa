# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semdiff._util.words import counted
from semdiff.cli.options import Json
from semdiff.cli.output import print_json, screen


def report(
    results: Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder that semdiff evaluate wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.", dir_okay=False)] = Path("report.html"),
    as_json: Json = False,
) -> None:
    """Make one HTML page of an evaluation: curves, tables, pictures, and how to reproduce them. It opens from the disk."""
    from semdiff.evaluation import Results
    from semdiff.evaluation.report import write_report

    found = Results.load(results)
    write_report(found, out)
    if as_json:
        print_json({"report": str(out), "rows": len(found.rows), "metrics": found.metrics})
    else:
        screen().print(f"Wrote {out}: {counted(len(found.rows), 'cell')}, {', '.join(found.metrics)}.", soft_wrap=True)

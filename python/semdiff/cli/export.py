# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semdiff.cli.options import Json, Model, load_link
from semdiff.cli.output import print_json


def export(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write, made if absent.", file_okay=False)] = Path("receiver"),
    batch: Annotated[int, typer.Option("--batch", help="Pictures that the networks take at a time.")] = 1,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Compile the receiver's networks for C++ programs, which then need no Python: cpp/examples/receive.cpp is one."""
    from semdiff.link.export import DESCRIPTION, export_link

    description = export_link(load_link(model), out, batch)
    files = [*description["sha256"], DESCRIPTION]
    if as_json:
        print_json({"output": str(out), "files": files} | {k: v for k, v in description.items() if k != "alphas_cumprod"})
    else:
        print(f"Wrote {', '.join(files)} to {out}, for torch {description['torch']} on CPUs with {description['cpu']}.")

# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff info`."""

from __future__ import annotations

from typing import Annotated

import typer

from semdiff.cli.output import print_json


def info(as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False) -> None:
    """Say how this build was made and where it runs: the first thing to put into a bug report."""
    from semdiff import build_info

    found = build_info()
    if as_json:
        print_json(found)
        return
    width = max(map(len, found))
    for name, value in found.items():  # plain lines, not a table: they are for pasting
        print(f"{name:{width}}  {', '.join(value) if isinstance(value, list) else value}")

# SPDX-License-Identifier: Apache-2.0
"""Run the command `semdiff`. Needs the extra semdiff-torch[cli]; demo, transmit and train also need [models]."""

from __future__ import annotations

import io
import sys


def main() -> None:
    """Run the command line and exit: 0 done, 2 bad usage or input (one line on stderr says what), 1 failure, 130 interrupted."""
    try:
        import rich  # noqa: F401
        import typer  # noqa: F401
    except ImportError as error:
        print(f"semdiff: the command line needs {error.name}: pip install 'semdiff-torch[cli]'", file=sys.stderr)
        raise SystemExit(1) from None
    from semdiff.cli.app import app

    if isinstance(sys.stdout, io.TextIOWrapper):  # a file's name may hold what the terminal, or Unicode, does not
        sys.stdout.reconfigure(errors="backslashreplace")
    app()

# SPDX-License-Identifier: Apache-2.0
"""Assemble the commands, and turn their errors into one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from semdiff.cli.data import data
from semdiff.cli.demo import demo
from semdiff.cli.diagnose import diagnose
from semdiff.cli.evaluate import evaluate
from semdiff.cli.export import export
from semdiff.cli.impair import impair
from semdiff.cli.info import info
from semdiff.cli.output import print_note
from semdiff.cli.page import page
from semdiff.cli.receive import receive
from semdiff.cli.report import report
from semdiff.cli.send import send
from semdiff.cli.train import train
from semdiff.cli.transmit import transmit

TRACEBACK_VARIABLE = "SEMDIFF_TRACEBACK"


class OneLineErrors(TyperGroup):
    """Print errors and warnings as one line on stderr; exit with 2 for what the user can mend in the command, with 1 for the rest.

    With SEMDIFF_TRACEBACK=1 in the environment the traceback comes first.
    """

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command; args and extra are click's."""
        standalone = extra.get("standalone_mode", True)
        logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it has to say of a file comes as its error
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("default", UserWarning)
                warnings.showwarning = lambda message, *_, **__: print_note(str(message))
                # Out of standalone mode errors arrive here, and an early exit (--help, typer.Exit) returns its code.
                code = super().main(*args, **(extra | {"standalone_mode": False})) or 0
        except Exception as error:
            if os.environ.get(TRACEBACK_VARIABLE) == "1":
                sys.excepthook(*sys.exc_info())
            code, message = explain(error)
            print_note(message)
        if standalone:
            sys.exit(code)
        return code


def explain(error: Exception) -> tuple[int, str]:
    """Return the exit code and the line for an error."""
    if hasattr(error, "format_message"):  # click's own: an unknown option, a file that is not there
        return error.exit_code, error.format_message()  # type: ignore[attr-defined]
    if isinstance(error, (ValueError, TypeError, FileNotFoundError)):  # semdiff's own, which name the argument
        return 2, str(error)
    if isinstance(error, (ImportError, OSError)):
        return 1, str(error)
    return 1, f"{type(error).__name__}: {error} ({TRACEBACK_VARIABLE}=1 shows where)"


app = typer.Typer(
    name="semdiff",
    cls=OneLineErrors,
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from semdiff import __version__

        print(f"semdiff {__version__}")
        raise typer.Exit


@app.callback()
def semdiff(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """Send images over noisy wireless channels, by learned codes and diffusion models, and by what they are compared with."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(2)


COMMANDS: dict[Callable[..., Any], str] = {  # in the order of a first session
    demo: "Send real images over a noisy channel, at 0 to 15 dB.",
    transmit: "Send pictures of yours, and write what arrives.",
    page: "Send pictures on a page in your browser.",
    evaluate: "Compare systems over channels, SNRs and bandwidths.",
    report: "Make an HTML page of an evaluation.",
    diagnose: "Say whether diffusion can help on your images.",
    data: "Build a data set from installed packages.",
    train: "Train a link.",
    send: "Make a radio recording of a picture.",
    impair: "Simulate a radio path for a recording.",
    receive: "Make the picture of a recording.",
    export: "Compile a receiver for C++ programs.",
    info: "Say how this build was made, for a report of a fault.",
}
for _command, _line in COMMANDS.items():
    app.command("app" if _command is page else None, short_help=_line)(_command)

# SPDX-License-Identifier: Apache-2.0
"""Names of files and data are shown as they are: brackets are no markup, colons no emoji, and no name ends a command after its work."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("diffusers")
pytest.importorskip("PIL")

import semdiff.cli
from semdiff.cli.output import screen
from tests.python.cli.test_cli import _here as _here
from tests.python.cli.test_cli import call, write_shirt

MODEL = ("--model", "fashion-mnist", "--steps", "1")
NAMES = ["[red]a[/red]", "[/x]", "[bold", ":smile:", "a [link=b]c[/]"]


def words(text: str) -> str:
    """Without the table's lines and breaks."""
    return "".join(c for c in text if c not in "│┃ \n")


@pytest.mark.parametrize("name", NAMES)
def test_transmit(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name.replace("/", "-")
    folder.mkdir()
    done = call("transmit", write_shirt(folder / f"{name.replace('/', '-')}.png"), *MODEL, "--out", f"{name}/out")
    assert done.exit_code == 0, done.output
    assert words(f"{name}/out/{name.replace('/', '-')}.png") in words(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_other_commands(tmp_path: Path, name: str) -> None:
    shirt = write_shirt(tmp_path / "shirt.png")
    assert call("send", shirt, "--model", "fashion-mnist", "-o", f"{name}/tx.sigmf-meta").exit_code == 0
    done = call("receive", f"{name}/tx.sigmf-meta", *MODEL, "-o", f"{name}/rx.png")
    assert done.exit_code == 0, done.output
    assert words(f"{name}/rx.png") in words(done.stdout)
    done = call("demo", *MODEL, "--out", f"{name}/demo.png")
    assert done.exit_code == 0, done.output
    assert f"Wrote {name}/demo.png" in done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_errors(name: str) -> None:
    done = call("report", name)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"semdiff: {name}: expected a folder")


def test_all_that_is_printed_for_people_goes_one_way() -> None:
    """No module of the commands makes a console of its own, which would know markup."""
    folder = Path(semdiff.cli.__file__).parent
    found = []
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in ("rich", "rich.console") and path.name != "output.py":
                found.append(path.name)
    assert found == []


def test_what_is_no_markup_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    screen().print("[red]a[/red] [/x] :smile: 12")
    assert capsys.readouterr().out == "[red]a[/red] [/x] :smile: 12\n"


@pytest.mark.slow
def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    """Bytes that no encoding has: the picture is written, and the name is shown by its codes."""
    write_shirt(tmp_path / os.fsdecode(b"\xff.png"))
    code = "import sys; from semdiff.cli import main; sys.argv = ['semdiff', *sys.argv[1:]]; main()"
    command = [sys.executable, "-c", code, "transmit", b"\xff.png", *MODEL]
    done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=os.environ | {"PYTHONUTF8": "1"})
    assert done.returncode == 0, done.stderr
    assert rb"received/\udcff.png" in done.stdout
    assert (tmp_path / "received" / os.fsdecode(b"\xff.png")).exists()

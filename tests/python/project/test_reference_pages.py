# SPDX-License-Identifier: Apache-2.0
"""The reference pages that are made from code are what the code says now; the file to begin with has every field and runs."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

pytest.importorskip("diffusers")
pytest.importorskip("typer")
pytest.importorskip("tqdm")

from typer.testing import CliRunner

from semdiff.evaluation import Config
from semdiff.evaluation.template import config_fields, template

ROOT = Path(__file__).parents[3]


def test_they_are_made_anew() -> None:
    specification = importlib.util.spec_from_file_location("reference", ROOT / "tools" / "reference.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    for name, content in module.pages().items():
        assert (ROOT / "docs" / "reference" / name).read_text("utf-8") == content, f"python tools/reference.py writes {name}"


def test_the_template_has_every_field_and_its_defaults() -> None:
    found = list(config_fields())
    assert [f.name for f in found] == [f.name for f in fields(Config)]
    assert all(f.meaning and f.takes for f in found)
    assert [f.name for f in found if f.required] == ["systems", "snr_db"]
    text = template()
    for field in found:
        assert f"\n{field.name} =" in text or f"\n# {field.name}" in text
    given = Config.from_mapping(tomllib.loads(text))
    commented = "".join(line[2:] + "\n" for line in text.splitlines() if line.startswith("# ") and " = " in line)
    held = given.to_mapping()
    for name, value in tomllib.loads(commented).items():  # the fields that it leaves out, at their defaults
        assert held[name] == value


def test_the_template_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semdiff.cli.app import app

    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    printed = runner.invoke(app, ["evaluate", "--template"])
    (tmp_path / "mine.toml").write_text(printed.stdout)
    done = runner.invoke(app, ["evaluate", "mine.toml", "--images", "2", "--json"])
    assert done.exit_code == 0, done.output
    assert {row["system"] for row in json.loads(done.stdout)["summary"]} == {"capacity", "link"}
    assert runner.invoke(app, ["evaluate"]).exit_code == 2

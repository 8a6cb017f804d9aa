# SPDX-License-Identifier: Apache-2.0
"""Commands, Python and an evaluation's file have the same defaults, and show the time at which denoising began alike."""

from __future__ import annotations

import inspect
import math

import pytest

pytest.importorskip("typer")
pytest.importorskip("diffusers")
pytest.importorskip("tqdm")

import typer

from semdiff.cli.app import app
from semdiff.cli.output import format_time
from semdiff.evaluation import Config, diagnose, diagnose_link
from semdiff.link import SemanticLink
from semdiff.transmission.transmitter import ImageTransmitter

COMMANDS = typer.main.get_command(app).commands
TRANSMIT = inspect.signature(ImageTransmitter.transmit).parameters


def option(command: str, name: str) -> object:
    found = [p for p in COMMANDS[command].params if name in p.opts]
    return found[0] if found else None


@pytest.mark.parametrize("name", ["steps", "realism"])
def test_steps_and_realism_have_one_default(name: str) -> None:
    expected = TRANSMIT[name].default
    found = {command: option(command, f"--{name}").default for command in COMMANDS if option(command, f"--{name}")}
    assert found
    assert set(found.values()) == {expected}, found
    assert getattr(Config(systems=(), snr_db=()), name) == (expected,)
    assert inspect.signature(SemanticLink.transmit).parameters[name].default == expected
    if name == "steps":
        assert {inspect.signature(f).parameters[name].default for f in (diagnose, diagnose_link)} == {expected}


def test_commands_for_pictures_take_the_photograph_model() -> None:
    told = {command: option(command, "--model").help for command in COMMANDS if option(command, "--model")}
    photos = {command for command, text in told.items() if "photos if not given" in text}
    assert photos == {"transmit", "app", "diagnose", "send", "receive"}
    assert set(told) - photos == {"demo", "export"}  # of each model in the package, and of models for images of one size alone


def test_every_verb_has_one_line() -> None:
    assert list(COMMANDS)[:3] == ["demo", "transmit", "app"]
    assert all(command.short_help and len(command.short_help) <= 66 for command in COMMANDS.values())


@pytest.mark.parametrize(("t", "shown"), [(264.6, "265"), (0.0, "0"), (math.nan, "-"), (None, "-")])
def test_a_time_is_shown_alike(t: float | None, shown: str) -> None:
    assert format_time(t) == shown

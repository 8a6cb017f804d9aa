# SPDX-License-Identifier: Apache-2.0
"""Writes the pages of docs/reference/ that are made from code: the command, an evaluation's file, a training recipe.

`python tools/reference.py` writes them; a test holds that they are what it would write.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "docs" / "reference"
MADE = "% Made by `python tools/reference.py`.\n"


def cell(text: object) -> str:
    return re.sub(r"\s+", " ", str(text)).replace("|", "\\|").replace("*", "\\*").replace("<", "&lt;")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows)) + "\n"


def command_page() -> str:
    """Every verb with its text, arguments, options and defaults, as --help has them."""
    import typer

    from semdiff.cli.app import app

    group = typer.main.get_command(app)
    context = group.make_context("semdiff", [], resilient_parsing=True)
    parts = [MADE, "# The command\n", f"{inspect.cleandoc(group.help or '')} `semdiff VERB --help` shows the same.\n"]
    for name in group.list_commands(context):  # type: ignore[attr-defined]
        command = group.get_command(context, name)  # type: ignore[attr-defined]
        parts += [f"## semdiff {name}\n", escaped(inspect.cleandoc(command.help)) + "\n"]
        parts.append(table(("argument or option", "default", "meaning"), [row(p) for p in command.params if p.name != "help"]))
    return "\n".join(parts)


def options(kind: Any) -> str | None:
    """The constructor's arguments as a table of TOML may give them; None for what stands around another channel."""
    found = [p for p in inspect.signature(kind).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if any(p.name == "channel" for p in found):
        return None
    return ", ".join(f"`{p.name}`" if p.default in (p.empty, None) else f"`{p.name} = {p.default!r}`" for p in found).replace("'", '"')


def escaped(text: str) -> str:
    return text.replace("*", "\\*").replace("<", "&lt;")


def row(parameter: Any) -> tuple[str, ...]:
    option = parameter.param_type_name == "option"
    named = (*parameter.opts, *parameter.secondary_opts) if option else (parameter.metavar or parameter.name.upper(),)
    names = ", ".join(f"`{name}`" for name in named)
    default = getattr(parameter.default, "value", parameter.default)
    if isinstance(default, bool):  # of two names the one that is meant where neither is given
        default = (parameter.opts if default else parameter.secondary_opts or [""])[0]
    shown = "" if default in (None, "") or callable(default) or parameter.required else f"`{default}`"
    return names, "must be given" if parameter.required else shown, cell(parameter.help or "")


def evaluation_page() -> str:
    """The fields of an evaluation's file, from the readers that check them."""
    from semdiff.evaluation.channels import channel_classes
    from semdiff.evaluation.systems import SYSTEMS
    from semdiff.evaluation.template import config_fields
    from semdiff.metrics import METRICS

    rows = []
    for name, takes, default, required, meaning in config_fields():
        shown = "must be given" if required else f"`{default}`" if default else ""
        rows.append((f"`{name}`", cell(takes), shown, cell(meaning)))
    systems = [(f"`{name}`", f"`{s.module}.{s.attribute}`", ", ".join(f"`{a}`" for a in s.axes)) for name, s in SYSTEMS.items()]
    kinds = {name: kind for name, kind in channel_classes().items() if name == kind.__name__.lower()}
    channels = [(f"`{name}`", taken) for name, kind in kinds.items() if (taken := options(kind)) is not None]
    metrics = [(f"`{name}`", m.better, m.unit, m.per, m.against) for name, m in METRICS.items()]
    return "\n".join(
        [
            MADE,
            "# An evaluation's file\n",
            "A TOML file with these fields, for `semdiff evaluate` and `semdiff.evaluation.sweep`; `semdiff evaluate --template`",
            "prints one. An unknown field or a value that does not fit is an error that names it.",
            '[Parts of your own](../guides/plug-ins.md) have names of the form `"module:Name"`.\n',
            table(("field", "takes", "default", "meaning"), rows),
            "## Systems\n",
            table(("name", "class", "varied over"), systems),
            "`options` are the arguments of the class or of its `default`; of a link `model`, and a `denoiser` with its `prediction` in",
            "the place of its own.\n",
            "## Channels\n",
            table(("name", "arguments, and their defaults"), channels),
            "Channels around others, such as `semdiff.Pilots`, are made in Python: `sweep(channels={...})`, or a module of yours.\n",
            "## Metrics\n",
            table(("name", "better", "unit", "for each", "compared with"), metrics),
        ]
    )


def recipe_page() -> str:
    """The fields of a recipe: photos.toml, which a recipe is checked against, its comments, and the networks' arguments."""
    from semdiff.models import networks
    from semdiff.training.recipes import common
    from semdiff.training.recipes.photos import CHOICES, RECIPE

    text = RECIPE.read_text("utf-8")
    recipe = tomllib.loads(text)
    at_end = dict(re.findall(r"^(\w+) = .*?# (.*)$", text, flags=re.M))
    listed = dict(re.findall(r"^# (\w+): (.*(?:\n#  +.*)*)", text, flags=re.M))
    parts = [
        MADE,
        "# A training recipe\n",
        "`semdiff train photos --config FILE` takes a TOML file with all of these fields, those of the package's own recipe,",
        "`python/semdiff/training/recipes/photos.toml`. A missing or an unknown one is an error that names it.\n",
        table(("field", "in the package", "meaning"), [(f"`{k}`", f"`{v}`", cell(at_end[k])) for k, v in recipe.items() if k in at_end]),
    ]
    for name, sizes in recipe["networks"].items():
        kind = common.autoencoder if name == "autoencoder" else getattr(networks, name.title().replace("_", ""))
        meanings = dict(arguments(kind))
        first = inspect.getdoc(kind).partition("\n\n")[0]
        parts += [f"## networks.{name}\n", escaped(" ".join(first.split())) + "\n"]
        parts.append(table(("field", "in the package", "meaning"), [(f"`{k}`", value(v), cell(meanings[k])) for k, v in sizes.items()]))
    parts += ["## stages\n", "The stages run in this order; a field that a stage lacks is not its own.\n"]
    names = list(dict.fromkeys(k for stage in recipe["stages"].values() for k in stage))
    rows = [
        (f"`{k}`", *(value(s[k]) if k in s else "" for s in recipe["stages"].values()), cell(listed[k].replace("#", ""))) for k in names
    ]
    parts.append(table(("field", *(f"`stages.{s}`" for s in recipe["stages"]), "meaning"), rows))
    parts += ["## Choices\n", "These fields may be given besides; the first value is meant where they are not.\n"]
    parts.append(table(("field", "values"), [(f"`{k}`", ", ".join(f"`{v}`" for v in values)) for k, values in CHOICES.items()]))
    return "\n".join(parts)


def value(found: object) -> str:
    return f"`{str(found).lower() if isinstance(found, bool) else found}`"


def arguments(kind: Any) -> Iterator[tuple[str, str]]:
    """Names and meanings from the section Args of a docstring; several may share a line."""
    section = re.search(r"Args:\n(.*?)(?:\n\n|\Z)", inspect.getdoc(kind) or "", flags=re.S)
    for names, text in re.findall(r"^    ([\w, ]+): (.*(?:\n     +.*)*)", section[1] if section else "", flags=re.M):
        for name in names.split(", "):
            yield name, text


def pages() -> Mapping[str, str]:
    """The content of each page, by its file's name."""
    return {"command.md": command_page(), "evaluation-file.md": evaluation_page(), "recipe.md": recipe_page()}


if __name__ == "__main__":
    for file, content in pages().items():
        (FOLDER / file).write_text(content, encoding="utf-8")

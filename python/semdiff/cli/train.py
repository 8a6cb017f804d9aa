# SPDX-License-Identifier: Apache-2.0
"""semdiff train"""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from semdiff.cli.options import Json
from semdiff.cli.output import print_json
from semdiff.rng import Key


class Recipe(StrEnum):
    fashion_mnist = "fashion-mnist"


def train(
    recipe: Annotated[Recipe, typer.Argument(help="What to train.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for checkpoints/ and, at the end, model/.", file_okay=False)] = Path(
        "runs/fashion-mnist"
    ),
    budget: Annotated[
        float, typer.Option("--budget", help="Factor on the number of steps: 0.01 to try it, 1 for the shipped model.")
    ] = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the weights, the batches and all noise.")] = 0,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Go on from the checkpoints in --out, or begin anew over them.")] = True,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", help="Folder of the data set's files; Debian's dataset-fashion-mnist if not given.", exists=True, file_okay=False
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a link from nothing. An interrupted training goes on where it stopped when the command is given again."""
    try:
        from semdiff.training.fashion_mnist import train as run
    except ImportError as error:
        raise ImportError(f"training needs {error.name}: pip install 'semdiff-torch[models]'") from error
    Key(seed)  # refuses a bad one before anything is written
    begun = time.perf_counter()
    try:
        model = run(out, budget=budget, seed=seed, resume=resume, data_folder=data)
    except KeyboardInterrupt:
        typer.echo("semdiff: interrupted; the same command goes on from the last checkpoint", err=True)
        raise typer.Exit(130) from None
    seconds = time.perf_counter() - begun
    if as_json:
        print_json({"recipe": recipe.value, "model": str(model), "budget": budget, "seed": seed, "seconds": seconds})
    else:
        Console().print(
            f"Trained in {seconds / 60:.1f} min: {model}\nTry it: semdiff demo --model {model}", highlight=False, soft_wrap=True
        )

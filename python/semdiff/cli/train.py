# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff train`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from semdiff.cli.options import Json, parse_model, parse_ratio
from semdiff.cli.output import print_json, screen

START_UP = 60.0  # seconds at most


class Precision(StrEnum):
    """Name the precisions of a training."""

    auto = "auto"
    bf16 = "bf16"
    fp32 = "fp32"


class Recipe(StrEnum):
    """Name the recipes."""

    fashion_mnist = "fashion-mnist"
    cifar10 = "cifar10"
    photos = "photos"
    latents = "fashion-mnist-latents"
    latent_diffusion = "latent-diffusion"
    ends = "ends"


def train(
    recipe: Annotated[Recipe, typer.Argument(help="What to train.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for checkpoints/ and, at the end, model/ or pipeline/; runs/WHAT if left out.", file_okay=False),
    ] = None,
    budget: Annotated[
        str,
        typer.Option("--budget", help="photos: a time such as 3h or 20m. The others: a factor on the steps, 1 for the whole recipe."),
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="Of the weights, the batches and all noise.")] = 0,
    resume: Annotated[bool, typer.Option("--resume/--fresh", help="Go on from the checkpoints in --out, or begin anew over them.")] = True,
    data: Annotated[
        list[Path] | None,
        typer.Option(
            "--data",
            help="fashion-mnist: folder of its files, Debian's if not given. cifar10: folder of its binary version or PNG files. photos: "
            "folder of pictures in place of semdiff-photos, once for each folder. latent-diffusion, ends: folder of pictures, or of "
            "Fashion-MNIST's or CIFAR-10's files; ends are for pictures of their size, or where they differ for any.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="photos: a recipe in TOML in place of the package's.", exists=True, dir_okay=False)
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--start",
            parser=parse_model,
            metavar="MODEL",
            help="photos: a link to begin with, for more training or pictures of one's own: name of one in the package, or folder of one. "
            "What was better on held-out pictures is kept, it or what came of it.",
        ),
    ] = None,
    precision: Annotated[
        Precision, typer.Option("--precision", help="auto is bf16 where the processor computes with it, fp32 elsewhere.")
    ] = Precision.auto,
    pipeline: Annotated[
        str | None,
        typer.Option(
            "--pipeline",
            metavar="FOLDER|USER/MODEL",
            help="ends: a latent diffusion model that diffusers saved, or user/model on the Hugging Face Hub; it stays as it is.",
        ),
    ] = None,
    cbr: Annotated[
        list[str] | None,
        typer.Option("--cbr", metavar="RATIO[,RATIO...]", help="ends: channel uses for each source value, such as 1/24,1/48."),
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="fashion-mnist, cifar10: compile the networks' blocks by torch.compile; needs a C++ compiler.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a link. An interrupted training goes on where it stopped when the command is given again.

    fashion-mnist and cifar10 are links on pixels, photos is for colour pictures of any size, and fashion-mnist-latents is a diffusion model
    on latents, the paper's own form. ends trains what is around the channel for a latent diffusion model of one's own, --pipeline;
    latent-diffusion makes a small one of pictures, about ten minutes of one core.

    Several processes or machines: torchrun --nproc-per-node 2 --no-python semdiff train photos ..., fashion-mnist or cifar10.
    """
    from semdiff.rng import Key

    Key(seed)  # refuses a bad one before anything is written
    computed = time.process_time()  # by this process so far: its start-up, unless it is an older one
    begun = time.perf_counter() - (computed if computed < START_UP else 0.0)
    out = out or Path("runs") / recipe.value
    try:
        budget = budget or ("3h" if recipe is Recipe.photos else "1")
        if compile and recipe not in (Recipe.fashion_mnist, Recipe.cifar10):
            raise ValueError(f"--compile: expected none, it is of fashion-mnist and cifar10; got it for {recipe}")
        if recipe is Recipe.ends:
            model = _run_ends(out, budget, seed, resume, _one(recipe, data), config, start, precision, pipeline, cbr)
        elif pipeline is not None or cbr:
            raise ValueError(f"--{'cbr' if pipeline is None else 'pipeline'}: expected none, it is of the recipe ends; got it for {recipe}")
        else:
            model = _run(recipe, out, budget, seed, resume, data, config, start, precision, compile, begun)
    except KeyboardInterrupt:
        typer.echo("semdiff: interrupted; the same command goes on from the last checkpoint", err=True)
        raise typer.Exit(130) from None
    seconds = time.perf_counter() - begun
    remark = None
    if recipe is Recipe.latent_diffusion:
        from semdiff.training.recipes.latent_diffusion import describe_quality

        remark = describe_quality(out)
        try_it = f"train ends --pipeline {model} --data {_one(recipe, data)}"
    else:
        try_it = f"{'demo' if recipe in (Recipe.fashion_mnist, Recipe.latents) else 'transmit PICTURE'} --model {model}"
    kept = None
    if start is not None:
        from semdiff.training.finetuning import describe_outcome

        kept = describe_outcome(out)
    if as_json:
        print_json({"recipe": recipe.value, "model": str(model), "budget": budget, "seed": seed, "seconds": seconds, "kept": kept})
    else:
        done = "".join(f"{line}\n" for line in (f"Trained in {seconds / 60:.1f} min: {model}", kept, remark) if line)
        screen().print(f"{done}Try it: semdiff {try_it}", soft_wrap=True)


def _run(
    recipe: Recipe,
    out: Path,
    budget: str,
    seed: int,
    resume: bool,
    data: list[Path] | None,
    config: Path | None,
    start: Path | None,
    precision: Precision,
    compile: bool,
    begun: float,
) -> Path:
    with _needs_models():
        from semdiff.training.budget import parse_seconds
        from semdiff.training.recipes import latents, photos, pixels
    if recipe is Recipe.photos:
        from semdiff.data import read_folders

        pictures = read_folders(data) if data else None
        return photos.train(out, parse_seconds(budget), seed, resume, config, pictures, start, precision=precision.value, begun=begun)
    if config is not None:
        raise ValueError(f"--config: expected none, {recipe.value} has one recipe; got {config}")
    if start is not None:
        raise ValueError(f"--start: expected none, {recipe.value} is trained from nothing; got {start}")
    factor, folder = _factor(recipe, budget), _one(recipe, data)
    if recipe is Recipe.latent_diffusion:
        from semdiff.training.recipes import latent_diffusion

        if folder is None:
            raise ValueError("--data: expected a folder of pictures, which the recipe latent-diffusion has none of its own for, got none")
        return latent_diffusion.train(out, folder, factor, seed, resume, precision.value)
    if recipe is not Recipe.latents:
        return pixels.train(recipe.value, out, factor, seed, resume, folder, precision=precision.value, compile=compile)
    if precision is Precision.bf16:
        raise ValueError(f"--precision: expected fp32 or auto, {recipe.value} is trained in float32; got bf16")
    return latents.train(out, budget=factor, seed=seed, resume=resume, data_folder=folder)


def _run_ends(
    out: Path,
    budget: str,
    seed: int,
    resume: bool,
    data: Path | None,
    config: Path | None,
    start: Path | None,
    precision: Precision,
    pipeline: str | None,
    cbr: list[str] | None,
) -> Path:
    for name, value in (("config", config), ("start", start)):
        if value is not None:
            raise ValueError(f"--{name}: expected none for the recipe ends, got {value}")
    if pipeline is None or data is None:
        name = "pipeline" if pipeline is None else "data"
        raise ValueError(f"--{name}: expected a folder, which the recipe ends has none of its own for, got none")
    ratios = [parse_ratio(part) for text in cbr or () for part in text.split(",")]
    with _needs_models():
        from semdiff.training.recipes import ends
    return ends.train(out, pipeline, data, ratios, _factor(Recipe.ends, budget), seed, resume, precision.value)


def _one(recipe: Recipe, data: list[Path] | None) -> Path | None:
    """The folder of a recipe that reads one."""
    if data and len(data) > 1:
        raise ValueError(f"--data: expected one folder for {recipe.value}, got {len(data)}")
    return data[0] if data else None


@contextmanager
def _needs_models() -> Iterator[None]:
    """Say of an import that fails which extra it needs."""
    try:
        yield
    except ImportError as error:
        raise ImportError(f"training needs {error.name}: pip install 'semdiff-torch[models]'") from error


def _factor(recipe: Recipe, budget: str) -> float:
    try:
        return float(budget)
    except ValueError:
        raise ValueError(f"budget: expected a factor such as 0.1 for {recipe.value}, got {budget!r}") from None

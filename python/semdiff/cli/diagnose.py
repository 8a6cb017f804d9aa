# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff diagnose`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from semdiff.cli.options import Json, PhotoModel, Seed, Steps, load_link
from semdiff.cli.output import format_time, print_json, screen

if TYPE_CHECKING:
    from semdiff.evaluation import Diagnosis


def diagnose(
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="photos (those held out), fashion-mnist (its test split), or a folder of pictures, of 20 latents or more; if not given, "
            "whichever the model takes.",
        ),
    ] = None,
    images: Annotated[int | None, typer.Option("--images", help="The first so many; 200 of Fashion-MNIST, all of a folder.")] = None,
    snr: Annotated[list[float] | None, typer.Option("--snr", help="In dB; may be given several times. -5, 0, 5, 10, 15 if not.")] = None,
    steps: Steps = "auto",
    seed: Seed = 0,
    model: PhotoModel = None,
    as_json: Json = False,
) -> None:
    """Say whether diffusion can help: the model's denoiser on noisy latents of your images, against what needs no denoiser.

    Squared errors of the observation as it is, the linear estimate, an estimate of each element alone, the denoiser's posterior mean
    and its sampler. The model is one with a diffusion model on latents.
    """
    from semdiff.evaluation import diagnose_link
    from semdiff.evaluation.diagnosis import SNRS_DB
    from semdiff.evaluation.image_sets import FASHION_MNIST, PHOTOS, load_images
    from semdiff.rng import Key

    link = load_link(model, "photos")
    data = data or (FASHION_MNIST if link.image_shape[0] == 1 else PHOTOS)
    limit = 200 if images is None and data == FASHION_MNIST else images
    loaded = load_images(data, limit, grey=link.image_shape[0] == 1)
    found = diagnose_link(link, loaded.images, snr or SNRS_DB, steps, Key(seed))
    if as_json:
        print_json(found.to_dict() | {"data": loaded.name, "steps": steps, "seed": seed})
    else:
        _print(found, loaded.name)


def _print(found: Diagnosis, data: str) -> None:
    from rich.table import Table

    table = Table(
        title=f"Mean squared error an element: {found.samples} latents of {found.dimensions} elements, {data}, AWGN",
        caption="gain: of the posterior mean over linear",
    )
    for name in ("SNR\ndB", "t", "as\nheard", "linear", "element by\nelement", "posterior\nmean", "sample", "gain\ndB"):
        table.add_column(name, justify="right")
    for v in found.levels:
        errors = (v.observation, v.linear, v.elementwise, v.posterior_mean, v.sample)
        table.add_row(f"{v.snr_db:g}", format_time(v.t), *(f"{e:.4f}" for e in errors), f"{v.gain_db:.2f} +-{v.gain_db_se:.2f}")
    console = screen()
    console.print(table)
    console.print(f"Verdict: {found.verdict}.", soft_wrap=True)

# SPDX-License-Identifier: Apache-2.0
"""Train the photograph link: from a linear start the path of least error, then the path of most detail. See photos.toml."""

from __future__ import annotations

import os
import sys
import time
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import torch
from accelerate import Accelerator
from diffusers import AutoencoderTiny, DDIMScheduler
from torch import Tensor, nn
from tqdm import tqdm

from semdiff._util.precision import Precision
from semdiff.data.photos import photos
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link import SemanticLink
from semdiff.metrics import LPIPS
from semdiff.models.networks import Denoiser, DetailDecoder, Downsampler, MeanDecoder, Upsampler
from semdiff.models.pixel_blocks import Border, to_blocks
from semdiff.models.store import files_digest, find_model
from semdiff.rng import Key
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.batches import RandomCrops
from semdiff.training.budget import Clock, Plans, too_short
from semdiff.training.ceilings import CEILING_STEPS, find_ceiling
from semdiff.training.curve import Curve, HeldOutScore
from semdiff.training.engine import Stage
from semdiff.training.finetuning import Keeper, Quality, finetuning_plan
from semdiff.training.linear import begin_linear
from semdiff.training.random_channel import Conditions
from semdiff.training.recipes.common import Course, autoencoder, scheduler
from semdiff.training.stages.autoencoder import AutoencoderStage, EncoderKind
from semdiff.training.stages.detail import PhotoDetailStage
from semdiff.training.stages.fidelity import FidelityStage
from semdiff.training.stages.generation import GenerationStage, PathKind
from semdiff.training.validation import Shown, choose_count, draw_validation, middles, over_the_link, put_aside, score, validation_costs

BLOCK = 8  # pixels on the side of a latent's square
BORDER: Border = "replicate"
RECIPE = Path(__file__).with_name("photos.toml")
# What a recipe may say besides, for comparisons; the first is meant where it says nothing.
CHOICES = {
    "stages.fidelity.encoder": get_args(EncoderKind),
    "stages.generation.path": get_args(PathKind),
}
AUTO_STEPS = ((-9, 1),)  # SNR in dB and steps from there upwards: more change nothing (docs/results/photos_steps.md)
CLEAREST_DB = 28.0  # hardly a crop of the training was heard better, and beyond it pictures fell apart
SEEN_FIRST = 1024  # crops, whose principal components the networks begin with


@dataclass
class Networks:
    """Hold everything that is trained, and the scheduler."""

    vae: AutoencoderTiny
    unet: Denoiser
    downsampler: Downsampler
    upsampler: Upsampler
    mean_decoder: MeanDecoder
    detail_decoder: DetailDecoder
    scheduler: DDIMScheduler

    def link(self, recipe: Mapping[str, Any]) -> SemanticLink:
        """Return the networks as a link of this recipe."""
        return SemanticLink(
            self.vae,
            self.unet,
            self.downsampler,
            self.upsampler,
            self.scheduler,
            self.mean_decoder,
            detail_decoder=self.detail_decoder,
            image_shape=(3, None, None),
            rates=recipe["rates"],
            renoise=recipe["renoise"],
            block=BLOCK,
            border=BORDER,
            header=True,
            snr_db_range=recipe["snr_db"],
            auto_steps=AUTO_STEPS,
            clearest_db=CLEAREST_DB,
            faintest_db=recipe["snr_db"][0],
        )


def read_recipe(path: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Read a recipe in TOML with the fields of photos.toml.

    Args:
        path: of the recipe; None is the package's own.

    Raises:
        ValueError: for a field that is missing or unknown.
    """
    place = RECIPE if path is None else Path(path)
    try:
        recipe, own = tomllib.loads(place.read_text("utf-8")), tomllib.loads(RECIPE.read_text("utf-8"))
    except (ValueError, RecursionError) as error:  # also of the encoding
        raise ValueError(f"{place}: expected a TOML file, but it does not parse ({error})") from error
    _same_fields(place, recipe, own, "")
    return recipe


def _same_fields(place: Path, given: Mapping[str, Any], expected: Mapping[str, Any], where: str) -> None:
    for name in (given.keys() ^ expected.keys()) - {c.removeprefix(where) for c in CHOICES}:
        raise ValueError(f"{place}: {where}{name}: {'unknown field' if name in given else 'missing field'}; known: {', '.join(expected)}")
    for name, value in expected.items():
        if isinstance(value, dict) != isinstance(given[name], dict):
            raise ValueError(f"{place}: {where}{name}: expected {'a table' if isinstance(value, dict) else 'a value'}, got {given[name]!r}")
        if isinstance(value, dict):
            _same_fields(place, given[name], value, f"{where}{name}.")
    for name, choices in CHOICES.items():
        value = given.get(name.removeprefix(where), choices[0])
        if value not in choices:
            raise ValueError(f"{place}: {name}: expected {' or '.join(choices)}, got {value!r}")


def chosen(recipe: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return what the recipe says of a stage's CHOICES, by their last names.

    Args:
        recipe: from `read_recipe`.
        stage: its name.
    """
    table, fields = recipe["stages"][stage], {f.rpartition("."): choices for f, choices in CHOICES.items()}
    return {name: table.get(name, choices[0]) for (where, _, name), choices in fields.items() if where == f"stages.{stage}"}


def conditions(recipe: Mapping[str, Any], fading: bool = True) -> Conditions:
    """Return the channel's conditions of a recipe: a batch has unit power as a whole.

    Args:
        recipe: from `read_recipe`.
        fading: whether some samples fade.
    """
    low, high = recipe["snr_db"]
    return Conditions((low, high), recipe["transmitter_error_db"], together=True, fading=fading)


def usable(pictures: Mapping[str, Tensor], crop: int) -> dict[str, Tensor]:
    """Select the pictures that hold a crop.

    Args:
        pictures: by name.
        crop: pixels on its side.

    Raises:
        ValueError: where there is none.
    """
    found = {name: p for name, p in pictures.items() if min(p.shape[1:]) >= crop}
    if not found:
        raise ValueError(f"pictures: expected some of at least {crop}x{crop} pixels, got {len(pictures)} smaller ones")
    return found


def split(
    pictures: Mapping[str, Tensor] | None, crops: Sequence[int], progress: bool = False
) -> tuple[dict[str, Tensor], Tensor, list[str]]:
    """Split pictures into those to train on and middle squares of others to validate with.

    Args:
        pictures: uint8 (3, H, W) by name; None is semdiff-photos' training and test photographs.
        crops: sides of the stages' crops. Pictures to train on hold the smallest, held-out ones the largest.
        progress: show a bar.

    Returns:
        Pictures to train on, held-out squares (N, 3, size, size), and their names.
    """
    small, large = min(crops), max(crops)
    if pictures is None:
        aside = usable(photos("test", progress=progress), large)
        return usable(photos("train", progress=progress), small), middles(aside, large), list(aside)
    all_large = usable(pictures, large)
    learned, aside = put_aside(all_large)
    return {n: p for n, p in usable(pictures, small).items() if n in learned or n not in all_large}, middles(aside, large), list(aside)


def build(recipe: Mapping[str, Any], seed: int) -> Networks:
    """Make fresh networks of a recipe. The same seed gives the same weights; torch's global generator is left as it was."""
    sizes, channels = recipe["networks"], max(recipe["rates"])
    latent, hints = sizes["autoencoder"]["latent_channels"], sizes["denoiser"]["hints"]
    if hints not in (0, 2 * latent):
        raise ValueError(f"networks.denoiser.hints: expected 0, or two for each latent channel: {2 * latent}; got {hints!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Networks(
            autoencoder(3 * BLOCK**2, **sizes["autoencoder"]),
            Denoiser(latent, **sizes["denoiser"]),
            Downsampler(latent, channels, **sizes["downsampler"]),
            Upsampler(latent, channels, **sizes["upsampler"]),
            MeanDecoder(latent, 3 * BLOCK**2, **sizes["mean_decoder"]),
            DetailDecoder(latent, 3 * BLOCK**2, **sizes["detail_decoder"]),
            scheduler(),
        )


def begin_with(networks: Networks, start: str | os.PathLike[str]) -> bool:
    """Load the weights of a trained link into the networks; what it lacks stays as it is.

    Args:
        networks: of the recipe.
        start: a folder, or the name of a link in the package.

    Returns:
        Whether it has all of them.

    Raises:
        ValueError: for a link of other sizes.
    """
    link, whole = SemanticLink.from_pretrained(find_model(start, "start")), True
    if not isinstance(link, SemanticLink):
        raise ValueError(f"start: expected a link of the recipe's networks, a SemanticLink on latents, got a {type(link).__name__}")
    for name, network in vars(networks).items():
        given = getattr(link, name)
        if not isinstance(network, nn.Module):
            continue
        if given is None:
            whole = False
            continue
        known = {n: t.shape for n, t in network.state_dict().items()}
        for weight, tensor in given.state_dict().items():
            if known.get(weight) != tensor.shape:
                expected = f"{name}.{weight} of shape {tuple(known[weight])}" if weight in known else f"no {name}.{weight}"
                raise ValueError(f"start: expected a link of the recipe's networks, {expected}, got {tuple(tensor.shape)}")
        whole &= known.keys() == given.state_dict().keys()
        network.load_state_dict(given.state_dict(), strict=False)
    return whole


def train(
    out: str | os.PathLike[str],
    seconds: float = 3 * 3600.0,
    seed: int = 0,
    resume: bool = True,
    config: str | os.PathLike[str] | None = None,
    pictures: Mapping[str, Tensor] | None = None,
    start: str | os.PathLike[str] | None = None,
    progress: bool = True,
    accelerator: Accelerator | None = None,
    on_step: Callable[[str, int], None] | None = None,
    precision: Precision = "auto",
    begun: float | None = None,
) -> Path:
    """Train the model for a given time on this machine.

    All counts: the start, the validation, the end. The number of steps of a stage follows from its share of the time that is left and from
    how long a step takes at its beginning. It is written to out/plan.json, so a run that was interrupted goes on with it from its
    checkpoint and, on as many processes, ends a stage that had begun with the same bits. out/curve.csv and out/validation.png show the
    progress.

    Args:
        out: folder of the checkpoints and the model.
        seconds: of the training.
        seed: of all random numbers.
        resume: whether to go on from checkpoints.
        config: a recipe, see `read_recipe`.
        pictures: uint8 (3, H, W) by name, in place of semdiff-photos.
        start: a trained link to begin with, a folder or the name of one in the package, for more training or one's own pictures. It is
            trained at a low learning rate, unless it lacks a part, and what is no better on the held-out pictures is not kept:
            out/finetuning.json says which, see `semdiff.training.finetuning`.
        progress: show a bar.
        accelerator: of the training; None prepares one.
        on_step: called with the stage's name and the number of steps so far.
        precision: see `prepare_accelerator`.
        begun: time.perf_counter() at which the time began; None is now.

    Returns:
        The folder out/model, which `SemanticLink.from_pretrained` reads.

    Raises:
        ValueError: for a recipe that does not fit.
        FileNotFoundError: where the photographs, LPIPS's network or the link are not there.
    """
    clock = Clock(seconds, time.perf_counter() if begun is None else begun)
    recipe = read_recipe(config)
    for net in ("alex", "vgg"):
        LPIPS(net)  # if its weights are not there, say so now
    if start is None and progress and (warning := too_short(seconds)):
        tqdm.write(f"semdiff: {warning}", file=sys.stderr)
    folder = Path(out)
    accelerator = accelerator or prepare_accelerator(precision)
    networks, key, stages = build(recipe, seed), Key(seed), recipe["stages"]
    crops = [stage["crop"] for stage in stages.values()]
    course = Course(folder / "checkpoints", key, accelerator, resume, progress, on_step)
    made_for = {"recipe": recipe, "seed": seed, "seconds": seconds}
    gentle = False
    if start is not None:
        start = find_model(start, "start")
        gentle = begin_with(networks, start)
        made_for["start"] = files_digest(start)
    plans = Plans(folder / "plan.json", made_for, accelerator, resume)
    pool, held_out, names = split(pictures, crops, progress)
    ends, air = (networks.downsampler, networks.upsampler), conditions(recipe)
    curve = Curve(folder / "curve.csv", resume, clock.begun)
    clock.begun = curve.begun

    def receive(sample: bool, count: int | None = None) -> list[Shown]:
        return over_the_link(networks.link(recipe).to(accelerator.device), held_out[:count], sample)

    costs = validation_costs(stages, lambda: score(receive(False, 2), held_out[:2]))
    looked_at = plans.note("pictures", choose_count(seconds, costs, len(held_out)))
    held_out, names = held_out[:looked_at], names[:looked_at]
    costs = {name: looked_at * seconds_each for name, seconds_each in costs.items()}

    def validate(stage: Stage) -> list[HeldOutScore]:
        if isinstance(stage, AutoencoderStage):
            shown = [Shown("reconstruction", stage.reconstruct(held_out.to(accelerator.device)).cpu())]
        else:
            shown = receive(isinstance(stage, PhotoDetailStage))
        draw_validation(shown, held_out, names, folder / "validation.png")
        return score(shown, held_out)

    def run(number: int, name: str, stage: Stage, decoder: MeanDecoder | DetailDecoder | None = None) -> None:
        how = stages[name]
        batches = RandomCrops(usable(pool, how["crop"]), how["crop"], how["batch"], key.fold_in(number))
        time_left = clock.allot(name, {n: s["share"] for n, s in stages.items()}, costs)
        more = 0.0 if decoder is None else CEILING_STEPS
        plan = plans.plan(name, time_left, how["learning_rate"], stage, batches, more)
        shown, began = curve.of_stage(name, batches.batch_size, lambda: validate(stage)), time.perf_counter()
        course.run(number, name, stage, batches, finetuning_plan(plan) if gentle else plan, shown)
        plans.took(name, time.perf_counter() - began - shown.spent)
        if shown.looks:
            costs[name] = shown.spent / shown.looks
        if decoder is not None:
            least = None if start is None else decoder.ceiling.clone()
            find_ceiling(decoder, stage, batches, key.fold_in(20 + number), least)

    keeper = None
    if start is None:
        first = RandomCrops(pool, min(crops), SEEN_FIRST, key.fold_in(10)).batch(0)[0]
        begin_linear(networks.vae, *ends, networks.mean_decoder, to_blocks(first, BLOCK, BORDER))
    else:
        modules = {name: network for name, network in vars(networks).items() if isinstance(network, nn.Module)}
        keeper = Keeper(modules, lambda: Quality.of(score(receive(True), held_out)), plans.agreed, folder)
    rates, blocks = tuple(recipe["rates"]), (BLOCK, BORDER)
    weights = {name: stages["fidelity"][name] for name in ("pixel_weight", "fused_weight")}
    forms = weights | chosen(recipe, "fidelity")
    fidelity = FidelityStage(networks.vae, *ends, rates, networks.mean_decoder, air, *blocks, **forms)
    run(1, "fidelity", fidelity)
    run(2, "wide", fidelity, networks.mean_decoder)
    if keeper is not None:
        keeper.keep_better_means()
    run(3, "decoder", AutoencoderStage(networks.vae, block=BLOCK, border=BORDER, perceptual=recipe["perceptual"], encoder="frozen"))
    after: dict[str, Any] = {"schedule": NoiseSchedule.from_diffusers(networks.scheduler), "rates": rates, "conditions": air}
    after |= {"block": BLOCK, "border": BORDER, "renoise": recipe["renoise"]}
    run(4, "generation", GenerationStage(networks.vae, networks.unet, *ends, **(after | chosen(recipe, "generation"))))
    decoders = networks.mean_decoder, networks.detail_decoder
    weight = stages["detail"]["pixel_weight"]
    run(5, "detail", PhotoDetailStage(networks.vae, networks.unet, *ends, *decoders, **after, pixel_weight=weight), networks.detail_decoder)
    if keeper is not None:
        keeper.keep_better(("unet", "detail_decoder"))
    return course.finish(networks.link(recipe), folder / "model")

# SPDX-License-Identifier: Apache-2.0
"""Train the JSCC baselines like the link that they are compared with: the same data, SNRs, rates and optimiser, and for longer.

`python -m semdiff.training.recipes.jscc adjscc --out runs/adjscc` trains one on Fashion-MNIST. adjscc-lpips goes on from a trained adjscc
with LPIPS beside the squared error, for a fifth of the images more: `... adjscc-lpips --start runs/adjscc/model --out runs/adjscc-lpips`.
With `--photos 2h` it learns semdiff-photos for that time, at the rates, SNRs, crops and learning rates of the photograph link's path of
least error, and any of them may go on from another with `--start`, on the larger crops.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from semdiff._util.precision import Precision
from semdiff._util.tensor_files import load_tensors
from semdiff.baselines.jscc import ADJSCC, DeepJSCC, PerceptualADJSCC
from semdiff.baselines.residual_jscc import PerceptualResidualJSCC, ResidualJSCC
from semdiff.models.loading import check_class
from semdiff.models.store import files_digest, find_model, saved
from semdiff.rng import Key
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.batches import RandomCrops
from semdiff.training.budget import Clock, Plans, parse_seconds
from semdiff.training.curve import Curve, HeldOutScore
from semdiff.training.engine import Plan, fit
from semdiff.training.finetuning import Quality, finetuning_plan, write_outcome
from semdiff.training.linear import begin_jscc
from semdiff.training.random_channel import Conditions
from semdiff.training.recipes.common import read_images
from semdiff.training.recipes.photos import conditions, read_recipe, split, usable
from semdiff.training.saving import IMAGES_SEEN, images_seen, write_images_seen
from semdiff.training.stages.adversarial import AdversarialStage
from semdiff.training.stages.jscc import AWGN_ALONE, JSCCStage, LinearJSCCStage
from semdiff.training.validation import choose_count, over_the_link, score, validation_costs

MODELS: dict[str, type[DeepJSCC]] = {
    "adjscc": ADJSCC,
    "adjscc-lpips": PerceptualADJSCC,
    "adjscc-lpips-gan": PerceptualADJSCC,
    "deepjscc": DeepJSCC,
    "residual-jscc": ResidualJSCC,
    "residual-jscc-lpips": PerceptualResidualJSCC,
    "residual-jscc-lpips-gan": PerceptualResidualJSCC,
}
GOES_ON = {name: name.rpartition("-")[0] for name in MODELS if name.endswith(("-lpips", "-gan"))}  # from what each begins
# 684,800 images. On one core of one machine that takes 121 minutes, the 828,800 of the link's stages 82.
PLAN = Plan(steps=5350, batch_size=128, learning_rate=1e-3)
PERCEPTUAL_PLAN = Plan(steps=1070, batch_size=128, learning_rate=3e-4)
# Of CIFAR-10, 1.0 million images after 150,000 of the linear code alone, and 512,000 more: complex CBR 1/6, 1/12, 1/24, at 1/4 of the
# resolution.
CIFAR10: dict[str, Any] = {"image_shape": (3, 32, 32), "symbol_channels": 16, "rates": (16, 8, 4)}
CIFAR10_ADJSCC: dict[str, Any] = CIFAR10 | {"width": 64}  # about as quick as ResidualJSCC
CIFAR10_PLAN = Plan(steps=8_000, batch_size=128, learning_rate=6e-3, average=0.9995, optimizer="muon")
CIFAR10_LINEAR_PLAN = Plan(steps=600, batch_size=256, learning_rate=3e-3, average=0.99)
CIFAR10_PERCEPTUAL_PLAN = Plan(steps=4_000, batch_size=128, learning_rate=1e-3, average=0.9995, optimizer="muon")
CIFAR10_CONDITIONS = Conditions((-7.0, 22.0), fading=False)
CIFAR10_EXPONENT = 0.25  # of each image's squared error, see `JSCCStage`
PLANS = {"fashion-mnist": (PLAN, PERCEPTUAL_PLAN), "cifar10": (CIFAR10_PLAN, CIFAR10_PERCEPTUAL_PLAN)}
# At 1/8 of the resolution, with as many symbols as the link has: complex CBR 1/12, 1/24, 1/48.
PHOTOS: dict[str, Any] = {
    "image_shape": (3, None, None),
    "symbol_channels": 32,
    "rates": (32, 16, 8),
    "width": 128,
    "outer_width": 64,
    "depth": 2,
    "strides": 3,
    "header": True,
}
STAGES = 10  # keys of the batches are below
LINEAR = 20  # key of the linear code's stage


def train(
    name: str,
    out: str | os.PathLike[str],
    budget: float = 1.0,
    seed: int = 0,
    images: Tensor | None = None,
    start: str | os.PathLike[str] | None = None,
    progress: bool = True,
    data: str = "fashion-mnist",
    data_folder: str | os.PathLike[str] | None = None,
    resume: bool = True,
    compile: bool = False,
) -> Path:
    """Train a baseline on small images, and resume it as every stage does.

    Args:
        name: deepjscc, adjscc or residual-jscc; with -lpips after the last two, trained on LPIPS as well, and with -lpips-gan by a
            discriminator of patches too.
        out: folder of the checkpoints, and of the model at the end.
        budget: factor on the steps of the plan.
        seed: of the weights, the batches and all noise.
        images: (N, C, H, W) in [0, 1], in place of the data set's training images.
        start: for -lpips the model without it that it begins with, for -lpips-gan the -lpips: a folder or the name of one in the package;
            None is that of `data`. For any of them also one of its own kind whose training.json says how many images it has seen,
            to go on with; None begins at the first.
        progress: whether a bar is shown.
        data: fashion-mnist, or cifar10, which is trained in bfloat16 where the processor computes with it.
        data_folder: where the data set lies, if not in its usual place.
        resume: whether to go on from checkpoints.
        compile: see `fit`.

    Returns:
        The folder out/model, which the class's `load` reads.
    """
    if name not in MODELS:
        raise ValueError(f"name: expected one of {', '.join(MODELS)}, got {name!r}")
    if data not in PLANS:
        raise ValueError(f"data: expected one of {', '.join(PLANS)}, got {data!r}")
    goes_on = MODELS.get(GOES_ON.get(name, ""))
    if images is None:
        images = read_images(data, data_folder)
    model, plan = _fresh(name, seed, **_sizes(name, data)), PLANS[data][goes_on is not None].scaled(budget)
    begin = 0  # images
    if start is not None or goes_on is not None:
        kind = goes_on or type(model)
        place = find_model(start or data, "start", kind.weights)
        begin = images_seen(place).get(name, 0)
        if goes_on is None and not begin:
            raise ValueError(f"start: expected a {name} whose {IMAGES_SEEN} says how many images it has seen, got {os.fspath(place)!r}")
        model.load_state_dict((type(model) if begin else kind).load(place).state_dict())
    how: dict[str, Any] = {"key": Key(seed), "folder": Path(out) / "checkpoints", "resume": resume, "progress": progress}
    conditions, exponent = (CIFAR10_CONDITIONS, CIFAR10_EXPONENT) if data == "cifar10" else (AWGN_ALONE, 1.0)
    if isinstance(model, ResidualJSCC) and not begin and goes_on is None:
        begin_jscc(model, images)
        code = LinearJSCCStage(model, conditions, exponent)
        plan_alone = CIFAR10_LINEAR_PLAN.scaled(budget)
        fit(code, [images], plan_alone, name=f"{name}-linear", **how | {"key": Key(seed).fold_in(LINEAR)})
        model.requires_grad_(True)
    accelerator = prepare_accelerator("auto" if data == "cifar10" else None, cpu=True)  # after the other's, whose precision replaces it
    stage = AdversarialStage(model, conditions) if name.endswith("-gan") else JSCCStage(model, conditions, exponent)
    begin = min(begin // plan.batch_size, plan.steps)
    fit(stage, [images], plan, name=name, accelerator=accelerator, begin=begin, compile=compile, **how)
    if accelerator.is_main_process:
        _save(model, Path(out) / "model", {name: plan.steps * plan.batch_size})
    accelerator.wait_for_everyone()
    return Path(out) / "model"


def train_photos(
    name: str,
    out: str | os.PathLike[str],
    seconds: float,
    seed: int = 0,
    pictures: Mapping[str, Tensor] | None = None,
    start: str | os.PathLike[str] | None = None,
    progress: bool = True,
    precision: Precision = "auto",
    **sizes: int,
) -> Path:
    """Train a baseline on photographs for a given time.

    Args:
        name: deepjscc, adjscc or adjscc-lpips.
        out: folder of the checkpoints and the model.
        seconds: of the training, about.
        seed: of all random numbers.
        pictures: uint8 (3, H, W) by name, in place of semdiff-photos.
        start: a trained model to begin with, a folder or the name of one in the package; adjscc-lpips must have an adjscc. One of the same
            kind is trained at a low learning rate, and stays as it was where held-out pictures are no better
            (`semdiff.training.finetuning`).
        progress: show a bar.
        precision: see `prepare_accelerator`.
        sizes: of the network, see `PHOTOS`.

    Returns:
        The folder out/model.
    """
    if name not in ("adjscc", "deepjscc", "adjscc-lpips"):
        raise ValueError(f"name: expected adjscc, deepjscc or adjscc-lpips for photographs, got {name!r}")
    if name == "adjscc-lpips" and start is None:
        raise ValueError("start: expected the folder of a trained adjscc for adjscc-lpips, got None")
    clock = Clock(seconds, time.perf_counter())
    recipe, key, folder = read_recipe(), Key(seed), Path(out)
    model = _fresh(name, seed, **(PHOTOS | sizes))
    goes_on = False  # with the aim that it was trained for
    if start is not None:
        kind = DeepJSCC if name == "deepjscc" else ADJSCC
        start = find_model(start, "start", kind.weights)
        goes_on = check_class(start / "config.json", [k.__name__ for k in MODELS.values()])["_class_name"] == type(model).__name__
        model.load_state_dict(kind.load(start).state_dict())
    stage = JSCCStage(model, conditions(recipe, fading=False))
    parts = {part: recipe["stages"][part] for part in (("fidelity", "wide") if start is None else ("wide",))}
    learned, held_out, _ = split(pictures, [how["crop"] for how in parts.values()])
    accelerator = prepare_accelerator(precision, cpu=True)
    made_for = {"name": name, "seed": seed, "seconds": seconds, "sizes": sizes} | ({} if start is None else {"start": files_digest(start)})
    plans, curve = Plans(folder / "plan.json", made_for, accelerator), Curve(folder / "curve.csv", begun=clock.begun)
    clock.begun = curve.begun
    checkpoints, shares = folder / "checkpoints", {part: how["share"] for part, how in parts.items()}

    def look() -> list[HeldOutScore]:
        return score(over_the_link(model, held_out, False), held_out)

    costs = validation_costs(parts, lambda: score(over_the_link(model, held_out[:2], False), held_out[:2]))
    held_out = held_out[: plans.note("pictures", choose_count(seconds, costs, len(held_out)))]
    costs = {part: len(held_out) * each for part, each in costs.items()}
    begun_with = {n: t.clone() for n, t in model.state_dict().items()}
    before = Quality.of(look(), "mean") if goes_on else None
    for number, (part, how) in enumerate(parts.items()):
        batches = RandomCrops(usable(learned, how["crop"]), how["crop"], how["batch"], key.fold_in(number))
        plan = plans.plan(part, clock.allot(part, shares, costs), how["learning_rate"], stage, batches)
        plan = finetuning_plan(plan) if goes_on else plan
        shown = curve.of_stage(part, plan.batch_size, look)
        stage_key = key if number == 0 else key.fold_in(STAGES + number)  # what one stage drew is new to the next
        fit(stage, batches, plan, name=part, key=stage_key, folder=checkpoints, accelerator=accelerator, progress=progress, curve=shown)
    if before is not None:
        after = Quality.of(look(), "mean")
        better = after.lpips <= before.lpips if isinstance(model, PerceptualADJSCC) else after.psnr >= before.psnr
        write_outcome(folder, "trained" if better else "start", before, after)
        model.load_state_dict(model.state_dict() if better else begun_with)
    return _save(model, folder / "model", {})


def _sizes(name: str, data: str) -> dict[str, Any]:
    if data != "cifar10":
        return {}
    return CIFAR10 if issubclass(MODELS[name], ResidualJSCC) else CIFAR10_ADJSCC


def _fresh(name: str, seed: int, **sizes: Any) -> DeepJSCC:
    """The same seed gives the same weights; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: DeepJSCC = MODELS[name](**sizes)
    return model


def save_checkpoint(name: str, out: str | os.PathLike[str], data: str = "fashion-mnist") -> Path:
    """Save the averaged weights of a training's checkpoint as its model, which a later training may go on with.

    Args:
        name, out, data: as in `train`.

    Returns:
        The folder out/model.
    """
    if name not in MODELS:
        raise ValueError(f"name: expected one of {', '.join(MODELS)}, got {name!r}")
    tensors, meta = load_tensors(Path(out) / "checkpoints" / f"{name}.safetensors")
    model = _fresh(name, 0, **_sizes(name, data))
    model.load_state_dict({n.removeprefix("average.model."): t for n, t in tensors.items() if n.startswith("average.model.")})
    seen = int(meta["step"]) * PLANS[data][name in GOES_ON].batch_size
    return _save(model, Path(out) / "model", {name: seen})


def _save(model: DeepJSCC, place: Path, seen: Mapping[str, int]) -> Path:
    """Half precision halves the file."""
    with saved(place) as beside:
        model.to(torch.float16).save_pretrained(beside, safe_serialization=True)
        write_images_seen(beside, seen)
    return place


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m semdiff.training.recipes.jscc", description=__doc__)
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=1.0, help="factor on the steps of the plan, 684,800 images of Fashion-MNIST")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the batches and all noise")
    parser.add_argument("--set", choices=sorted(PLANS), default="fashion-mnist", help="the images that it is trained on")
    parser.add_argument("--data", type=Path, help="folder of the data set, if it is not in its usual place")
    parser.add_argument("--start", help="a model to begin or go on with, folder or name of one in the package")
    parser.add_argument("--photos", type=parse_seconds, help="a time such as 2h: train on photographs for so long")
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of --photos; auto: bf16 where the CPU has it")
    parser.add_argument("--compile", action="store_true", help="compile the networks' blocks, where a C++ compiler is; not of --photos")
    parser.add_argument("--save-checkpoint", action="store_true", help="train nothing: save what the checkpoint in OUT holds as the model")
    options = parser.parse_args()
    if options.save_checkpoint:
        print(save_checkpoint(options.name, options.out, options.set))
        return
    if options.photos:
        print(train_photos(options.name, options.out, options.photos, options.seed, start=options.start, precision=options.precision))
        return
    place = {"data": options.set, "data_folder": options.data}
    print(train(options.name, options.out, options.budget, options.seed, None, options.start, compile=options.compile, **place))


if __name__ == "__main__":
    main()

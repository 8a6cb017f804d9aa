# SPDX-License-Identifier: Apache-2.0
"""The JSCC baselines, trained like the link that they are compared with: the same data, SNRs, rates and optimiser, and for longer.

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
from torch.nn import functional as F

from semdiff._util.precision import Precision
from semdiff.baselines.jscc import ADJSCC, DeepJSCC, PerceptualADJSCC
from semdiff.data import fashion_mnist
from semdiff.metrics import lpips
from semdiff.models.loading import check_class
from semdiff.models.store import digest, find_model
from semdiff.phy.channel import snr_db_of
from semdiff.rng import Key
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.batches import RandomCrops
from semdiff.training.budget import Clock, Plans, parse_seconds
from semdiff.training.channel_conditions import Conditions, over_the_air
from semdiff.training.curve import Curve, Score
from semdiff.training.engine import Plan, Stage, fit
from semdiff.training.finetuning import Quality, gently, note
from semdiff.training.recipes.photos import conditions, read_recipe, split, usable
from semdiff.training.validation import how_many, over_the_link, price, score

MODELS = {"adjscc": ADJSCC, "deepjscc": DeepJSCC, "adjscc-lpips": PerceptualADJSCC}
# 684,800 images. On one core of one machine that takes 121 minutes, the 828,800 of the link's stages 82.
PLAN = Plan(steps=5350, batch_size=128, learning_rate=1e-3)
PERCEPTUAL_PLAN = Plan(steps=1070, batch_size=128, learning_rate=3e-4)
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
FASHION = Conditions(fading=False)  # AWGN alone, which favours the baseline there
STAGES = 10  # keys of the batches are below
LPIPS_WEIGHT = 0.1  # beside a squared error around 0.01, where LPIPS is around 0.2


class JSCCStage(Stage):
    """forward(key, images (B, C, H, W) in [0, 1]): mean squared error, every rate in each batch, an SNR for each sample. A
    `PerceptualADJSCC` adds LPIPS_WEIGHT times the mean LPIPS (AlexNet)."""

    def __init__(self, model: DeepJSCC, conditions: Conditions = FASHION) -> None:
        super().__init__()
        self.model, self.conditions = model, conditions

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        model = self.model
        arrived, rate = over_the_air(
            lambda believed, rate: model.encode(images, believed, rate),
            images,
            model.config.symbol_channels,
            model.config.rates,
            key.split(3),
            self.conditions,
        )
        heard_db = snr_db_of(arrived.noise_var).to(images)
        out = model.decode(arrived.features, heard_db, rate, images.shape[-2:]).to(images)
        error = F.mse_loss(out, images)
        if not isinstance(model, PerceptualADJSCC):
            return {"loss": error}
        perceptual = lpips(out.clamp(0, 1), images).mean()
        return {"loss": error + LPIPS_WEIGHT * perceptual, "mse": error, "lpips": perceptual}


def train(
    name: str,
    out: str | os.PathLike[str],
    budget: float = 1.0,
    seed: int = 0,
    images: Tensor | None = None,
    start: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Path:
    """Trains a baseline and returns the folder out/model, which its `load` reads. Resumes as every stage does.

    start: for adjscc-lpips, the adjscc that it begins with, a folder or the name of one in the package; None is fashion-mnist.
    """
    if name not in MODELS:
        raise ValueError(f"name: expected one of {', '.join(MODELS)}, got {name!r}")
    if images is None:
        images = fashion_mnist("train").images
    if start is not None and name != "adjscc-lpips":
        raise ValueError(f"start: expected None for {name}, which begins with nothing, got {os.fspath(start)!r}")
    model, plan = _fresh(name, seed), PLAN
    if name == "adjscc-lpips":
        model.load_state_dict(ADJSCC.load(find_model(start or "fashion-mnist", "start", ADJSCC.weights)).state_dict())
        plan = PERCEPTUAL_PLAN
    folder = Path(out)
    fit(JSCCStage(model), [images], plan.scaled(budget), name=name, key=Key(seed), folder=folder / "checkpoints", progress=progress)
    return _save(model, folder / "model")


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
    """As `train`, on photographs, for about `seconds`. pictures: uint8 (3, H, W) by name instead of semdiff-photos; sizes: see `PHOTOS`;
    precision: see `prepare_accelerator`.

    start: a trained model to begin with, for more training, a folder or the name of one in the package; adjscc-lpips must have an adjscc.
    One of the same kind is trained gently, and stays as it was where held-out pictures are no better (`semdiff.training.finetuning`).
    """
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
    made_for = {"name": name, "seed": seed, "seconds": seconds, "sizes": sizes} | ({} if start is None else {"start": digest(start)})
    plans, curve = Plans(folder / "plan.json", made_for, accelerator), Curve(folder / "curve.csv", begun=clock.begun)
    clock.begun = curve.begun
    checkpoints, shares = folder / "checkpoints", {part: how["share"] for part, how in parts.items()}

    def look() -> list[Score]:
        return score(over_the_link(model, held_out, False), held_out)

    dearness = price(parts, lambda: score(over_the_link(model, held_out[:2], False), held_out[:2]))
    held_out = held_out[: plans.note("pictures", how_many(seconds, dearness, len(held_out)))]
    dearness = {part: len(held_out) * each for part, each in dearness.items()}
    begun_with = {n: t.clone() for n, t in model.state_dict().items()}
    before = Quality.of(look(), "mean") if goes_on else None
    for number, (part, how) in enumerate(parts.items()):
        batches = RandomCrops(usable(learned, how["crop"]), how["crop"], how["batch"], key.fold_in(number))
        plan = plans.plan(part, clock.allot(part, shares, dearness), how["learning_rate"], stage, batches)
        plan = gently(plan) if goes_on else plan
        shown = curve.of_stage(part, plan.batch_size, look)
        stage_key = key if number == 0 else key.fold_in(STAGES + number)  # what one stage drew is new to the next
        fit(stage, batches, plan, name=part, key=stage_key, folder=checkpoints, accelerator=accelerator, progress=progress, curve=shown)
    if before is not None:
        after = Quality.of(look(), "mean")
        better = after.lpips <= before.lpips if isinstance(model, PerceptualADJSCC) else after.psnr >= before.psnr
        note(folder, "trained" if better else "start", before, after)
        model.load_state_dict(model.state_dict() if better else begun_with)
    return _save(model, folder / "model")


def _fresh(name: str, seed: int, **sizes: Any) -> DeepJSCC:
    """The same seed gives the same weights; torch's global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: DeepJSCC = MODELS[name](**sizes)
    return model


def _save(model: DeepJSCC, place: Path) -> Path:
    """Half precision halves the file."""
    model.to(torch.float16).save(place)
    return place


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m semdiff.training.recipes.jscc", description=__doc__)
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", help="a model to begin with, folder or name of one in the package; adjscc-lpips: an adjscc")
    parser.add_argument("--photos", type=parse_seconds, help="a time such as 2h: train on photographs for so long")
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of --photos; auto: bf16 where the CPU has it")
    options = parser.parse_args()
    if options.photos:
        print(train_photos(options.name, options.out, options.photos, options.seed, start=options.start, precision=options.precision))
        return
    print(train(options.name, options.out, options.budget, options.seed, start=options.start))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Train the links that work on pixels, Fashion-MNIST's and CIFAR-10's.

`semdiff train fashion-mnist` and `semdiff train cifar10` run the whole recipe. The transmitter and the decoder of the perceptual estimate
are the ends of a learned code trained on squared error and LPIPS: ADJSCC for Fashion-MNIST, ResidualJSCC for CIFAR-10. Behind them the
stages train the up-sampler and the denoiser, and finish it with LPIPS beside its squared error. Learning rates are functions of the images
seen, so a training goes on from weights alone where its checkpoints are gone:
`python -m semdiff.training.recipes.pixels --help` runs single stages.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from semdiff._util.precision import Precision
from semdiff._util.tensor_files import load_tensors
from semdiff.baselines.jscc import DeepJSCC
from semdiff.baselines.residual_jscc import ResidualJSCC
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link import PixelLink
from semdiff.metrics import LPIPS, lpips, psnr
from semdiff.metrics.classifier import classifier_features, kept_features
from semdiff.metrics.distribution import frechet_distance
from semdiff.models.jscc_layers import JSCCDecoder, Transmitter
from semdiff.models.pixels import PixelDenoiser, PixelScale, PixelUpsampler
from semdiff.models.residual_upsampler import ResidualUpsampler
from semdiff.phy.channel import AWGN, Received
from semdiff.rng import Key
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.curve import Curve, HeldOutScore
from semdiff.training.engine import Plan, Stage, fit
from semdiff.training.random_channel import Conditions
from semdiff.training.recipes import jscc
from semdiff.training.recipes.common import check_budget, read_images, scheduler
from semdiff.training.saving import images_seen, save_link
from semdiff.training.stages.pixels import FlowStage, Front, UpsamplerStage
from semdiff.training.upsampler_start import begin_upsampler, upsampler_like

CONDITIONS = Conditions(fading_every=4)
HELD_OUT, REFERENCES = 256, 10_000  # of the training images: the last so many for validation, the first for its distances
VALIDATION_DB = (0.0, 5.0)
AUTO_STEPS = 4  # more bring a sample no nearer to the data (docs/results/diffusion.md)


@dataclass(frozen=True)
class Recipe:
    """Hold what differs from one data set to another.

    Attributes:
        image_shape, scale: of the images and their pixels.
        rates: symbol channels, of which each has 8x8 real features.
        widths: channels of the networks at 1/2 and 1/4 of the resolution.
        plans: of the stages.
        renoise, lpips_weight: of the flow.
        ends: name of the learned code, among `jscc.MODELS`, whose two ends the link has. With a ResidualJSCC the up-sampler begins as that
            code's decoder.
        conditions: of the channel.
        exponent: of each image's squared error in the up-sampler's loss, see `JSCCStage`.
    """

    image_shape: tuple[int, int, int]
    scale: PixelScale
    rates: tuple[int, ...]  # symbol channels, of which each has 8x8 real features
    widths: tuple[int, int]  # channels of the networks at 1/2 and 1/4 of the resolution
    plans: dict[str, Plan]
    renoise: float
    lpips_weight: float
    ends: str = "adjscc-lpips"
    conditions: Conditions = CONDITIONS
    exponent: float = 1.0


RECIPES = {
    "fashion-mnist": Recipe(
        image_shape=(1, 28, 28),
        scale=PixelScale(0.286, 0.353),
        rates=(2, 1),  # complex CBR 64 / 784 and 32 / 784
        widths=(64, 128),
        plans={
            "upsampler": Plan(steps=6_250, batch_size=64, learning_rate=1e-3, average=0.998),  # 400,000 images
            "flow": Plan(steps=12_500, batch_size=80, learning_rate=1e-3, average=0.9995),  # 1.0 million
            "finish": Plan(steps=2_500, batch_size=80, learning_rate=3e-4, average=0.998),  # 200,000
        },
        renoise=0.25,
        lpips_weight=0.5,
    ),
    "cifar10": Recipe(
        image_shape=(3, 32, 32),
        scale=PixelScale(0.473, 0.252),
        rates=(16, 8, 4),  # complex CBR 1/6, 1/12 and 1/24
        widths=(64, 128),
        plans={
            "upsampler": Plan(steps=2_000, batch_size=64, learning_rate=1e-3, average=0.998, optimizer="muon"),  # 128,000 images
            "flow": Plan(steps=3_400, batch_size=64, learning_rate=4e-3, average=0.9995, optimizer="muon"),  # 217,600
            "finish": Plan(steps=1_100, batch_size=64, learning_rate=1e-3, average=0.998, optimizer="muon"),  # 70,400
        },
        renoise=0.25,
        lpips_weight=0.5,
        ends="residual-jscc-lpips",
        conditions=jscc.CIFAR10_CONDITIONS._replace(fading=True, fading_every=4),
        exponent=jscc.CIFAR10_EXPONENT,
    ),
}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of a data set.

    Args:
        name: of the data set.

    Raises:
        ValueError: for another name.
    """
    if name not in RECIPES:
        raise ValueError(f"name: expected one of {', '.join(RECIPES)}, got {name!r}")
    return RECIPES[name]


class PixelTraining:
    """Hold the networks of one recipe and the stages that train them.

    Args:
        name: of the recipe.
        folder: of checkpoints and curves.
        seed: of all random numbers.
        precision: see `prepare_accelerator`.
        data: training images in place of the data set's.
        budget: factor on the steps of the plans.
        compile: see `fit`.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        seed: int = 0,
        precision: Precision = "auto",
        data: Tensor | None = None,
        budget: float = 1.0,
        compile: bool = False,
    ) -> None:
        recipe = find_recipe(name)
        plans = {stage: plan.scaled(budget) for stage, plan in recipe.plans.items()}
        self.name, self.recipe, self.folder, self.key = name, replace(recipe, plans=plans), folder, Key(seed)
        images = read_images(name) if data is None else data
        self.images, self.held_out = images[:-HELD_OUT], images[-HELD_OUT:]
        self.accelerator, self.compile = prepare_accelerator(precision), compile
        self.schedule = NoiseSchedule.scaled_linear()
        width, deep_width = recipe.widths
        colours, symbols = recipe.image_shape[0], max(recipe.rates)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            known = recipe.scale, recipe.rates, recipe.conditions
            if issubclass(jscc.MODELS[recipe.ends], ResidualJSCC):
                code = ResidualJSCC(recipe.image_shape, symbols, recipe.rates)
                self.front = Front(code.transmitter, upsampler_like(code.decoder), code.decoder, *known)
            else:
                transmitter, decoder = Transmitter(recipe.image_shape, symbols), JSCCDecoder(colours, symbols)
                self.front = Front(transmitter, PixelUpsampler(colours, symbols, deep_width, width=width), decoder, *known)
            self.denoiser = PixelDenoiser(colours, width, deep_width)

    def begin_with(self, code: DeepJSCC) -> None:
        """Load both ends of a trained code of the recipe's kind: the transmitter, and the decoder of the perceptual estimate."""
        weights = code.state_dict()
        for name, part in (("transmitter", self.front.transmitter), ("decoder", self.front.decoder)):
            own = f"{name}." if isinstance(code, ResidualJSCC) else ""
            part.load_state_dict({n: weights[own + n] for n in part.state_dict()})
        if isinstance(code, ResidualJSCC) and isinstance(self.front.upsampler, ResidualUpsampler):
            begin_upsampler(self.front.upsampler, code.decoder, self.recipe.scale)

    def begin_with_link(self, link: PixelLink) -> None:
        """Load the networks of a link that this recipe trained, to go on with."""
        parts = (self.front.transmitter, link.transmitter), (self.front.upsampler, link.upsampler), (self.front.decoder, link.decoder)
        for own, given in (*parts, (self.denoiser, link.unet)):
            own.load_state_dict(given.state_dict())

    def stage(self, name: str) -> Stage:
        """Return the stage of this name."""
        if name == "upsampler":
            return UpsamplerStage(self.front, self.schedule, self.recipe.exponent)
        weight = self.recipe.lpips_weight if name == "finish" else 0.0
        return FlowStage(self.front, self.denoiser, self.schedule, self.recipe.renoise, weight)

    def checkpoint(self, name: str) -> Path:
        """Return the path of the checkpoint of the stage of this name."""
        return self.folder / "checkpoints" / f"{name}.safetensors"

    def load(self, name: str) -> int:
        """Load the averaged weights of the stage of this name from its checkpoint, and return how many images they have seen."""
        tensors, meta = load_tensors(self.checkpoint(name))
        stage = self.stage(name)
        stage.load_state_dict({n.removeprefix("average."): t for n, t in tensors.items() if n.startswith("average.")}, strict=False)
        return int(meta["step"]) * self.recipe.plans[name].batch_size

    def link(self) -> PixelLink:
        """Return the networks as they are, as a link."""
        recipe, front = self.recipe, self.front
        return PixelLink(
            front.transmitter, front.upsampler, front.decoder, self.denoiser, scheduler(), recipe.image_shape, recipe.rates, *recipe.scale,
            recipe.renoise, auto_steps=[[recipe.conditions.snr_db[0], AUTO_STEPS]], snr_db_range=recipe.conditions.snr_db,
        )  # fmt: skip

    def validate(self) -> list[HeldOutScore]:
        """Score held-out images over one reception at each SNR.

        The scores are PSNR, LPIPS and, where there is a classifier, the distance of its features from training images, of the mean, the
        perceptual estimate, and samples of 1 and 4 steps; and how far samples of two keys lie apart, in parts of their error.
        """
        link, found = self.link(), []
        try:
            references = kept_features(self.images[:REFERENCES])
        except FileNotFoundError:  # no classifier of this data set comes with the package
            references = None
        cbr = link.cbrs[max(self.recipe.rates)]
        for snr_db in VALIDATION_DB:
            received: Received = AWGN()(link.send(self.held_out, cbr=cbr, snr_db=snr_db), snr_db, Key(0))
            make = partial(link.denoise_and_decode, link.equalize_and_upsample(received, key=Key(0)), solver="ddim")
            pictures = {
                "mean": make(realism=0.0)[0],
                "perceptual": make(diffusion=False)[0],
                "sample, 1 step": make(steps=1, key=Key(1))[0],
                "sample, 4 steps": make(steps=4, key=Key(1))[0],
            }
            for name, images in pictures.items():
                scores = {
                    "psnr": float(psnr(images, self.held_out).mean()),
                    "lpips": float(lpips(images, self.held_out).mean()),
                }
                if references is not None:
                    scores["frechet_classifier"] = frechet_distance(classifier_features(images), references)
                found += [HeldOutScore(quantity, value, name, snr_db, cbr) for quantity, value in scores.items()]
            one, other = pictures["sample, 4 steps"], make(steps=4, key=Key(2))[0]
            apart = float((one - other).square().mean() / (one - self.held_out).square().mean())
            found.append(HeldOutScore("apart", apart, "sample, 4 steps", snr_db, cbr))
        return found

    def run(self, name: str, begin: int = 0, resume: bool = True, progress: bool = True) -> dict[str, float]:
        """Train one stage, or go on with it.

        Args:
            name: of the stage.
            begin: images that its weights have seen, where no checkpoint is.
            resume, progress: as in `fit`.
        """
        plan, validate = self.recipe.plans[name], self.validate if name in ("flow", "finish") else None
        curve = Curve(self.folder / f"{name}.csv").of_stage(name, plan.batch_size, validate)
        return fit(
            self.stage(name),
            [self.images],
            plan,
            name=name,
            key=self.key.fold_in(list(self.recipe.plans).index(name)),
            folder=self.folder / "checkpoints",
            accelerator=self.accelerator,
            curve=curve,
            begin=begin // plan.batch_size,
            resume=resume,
            progress=progress,
            compile=self.compile,
        )

    def save(self, place: Path, seen: dict[str, int]) -> None:
        """Save the link in the main process; all processes wait until it is there.

        Args:
            place: folder of the link.
            seen: images by stage.
        """
        if self.accelerator.is_main_process:
            save_link(self.link(), place, eight_bits=True, seen=seen)
        self.accelerator.wait_for_everyone()


def train(
    name: str,
    out: str | os.PathLike[str],
    budget: float = 1.0,
    seed: int = 0,
    resume: bool = True,
    data_folder: str | os.PathLike[str] | None = None,
    images: Tensor | None = None,
    precision: Precision = "auto",
    progress: bool = True,
    compile: bool = False,
) -> Path:
    """Train a link on pixels from its first step: its ends as a learned code, then the stages behind them.

    Args:
        name: fashion-mnist or cifar10.
        out: folder of the checkpoints and curves, of both codes, and of the model.
        budget: factor on the number of steps of every stage.
        seed: of all random numbers.
        resume: whether to go on from checkpoints.
        data_folder: of the data set; None is its usual place.
        images: training images (N, C, H, W) in [0, 1] in place of the data set's.
        precision: see `prepare_accelerator`; the ends of Fashion-MNIST are trained in float32.
        progress: show a bar.
        compile: see `fit`.

    Returns:
        The folder out/model, which `SemanticLink.from_pretrained` reads.

    Raises:
        ValueError: for a budget that is not above zero.
        FileNotFoundError: where the data set or a network of the metrics is not installed.
    """
    check_budget(budget)
    recipe, folder = find_recipe(name), Path(out)
    LPIPS("alex")  # if its weights are not there, say so now
    images = read_images(name, data_folder) if images is None else images
    ends: Path | None = None
    for kind in filter(None, (jscc.GOES_ON.get(recipe.ends), recipe.ends)):
        ends = jscc.train(kind, folder / kind, budget, seed, images, ends, progress, name, resume=resume, compile=compile)
    training = PixelTraining(name, folder, seed, precision, images, budget, compile)  # after theirs, whose precision replaces its own
    training.begin_with(jscc.MODELS[recipe.ends].load(folder / recipe.ends / "model"))
    for stage in training.recipe.plans:
        training.run(stage, resume=resume, progress=progress)
    seen = {stage: plan.steps * plan.batch_size for stage, plan in training.recipe.plans.items()}
    training.save(folder / "model", seen)
    return folder / "model"


def main(arguments: list[str] | None = None) -> int:
    """Run the command with these arguments; None is those of the command line."""
    parser = argparse.ArgumentParser(prog="python -m semdiff.training.recipes.pixels", description=__doc__)
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ends", type=Path, help="folder of the learned code that it is built on; the package's if left out")
    parser.add_argument("--model", type=Path, help="folder of a link of this recipe, which its stages go on with where they left off")
    parser.add_argument("--stages", help="which to train, with commas; of the others the weights are taken; all if left out")
    parser.add_argument("--compile", action="store_true", help="compile the networks' blocks, where a C++ compiler is")
    options = parser.parse_args(arguments)
    training = PixelTraining(options.name, options.out, compile=options.compile)
    seen: dict[str, int] = {}
    if options.model is not None:
        seen = images_seen(options.model)
        training.begin_with_link(PixelLink.from_pretrained(options.model))
    else:
        training.begin_with(jscc.MODELS[training.recipe.ends].load(options.ends or options.name))
    chosen = options.stages.split(",") if options.stages else list(training.recipe.plans)
    for name, plan in training.recipe.plans.items():
        if name in chosen:
            print(name, training.run(name, begin=min(seen.get(name, 0), plan.steps * plan.batch_size)))
            seen[name] = plan.steps * plan.batch_size
        elif training.checkpoint(name).exists():
            seen[name] = training.load(name)
    print("images seen:", seen)
    training.save(options.out / "model", seen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

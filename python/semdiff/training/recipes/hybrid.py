# SPDX-License-Identifier: Apache-2.0
"""Train the networks of a `HybridLink`, which receive photographs behind a hybrid digital-analog code.

`python -m semdiff.training.recipes.hybrid --out runs/hybrid` codes crops of semdiff-photos, and of the pictures in each --data FOLDER,
once, at random SNRs and bandwidth ratios. Then it trains on crops of these, whose residual arrives with other noise each time: the
restorer of the mean, from that the perceptual estimate, and behind it the denoiser. Learning rates are functions of the crops seen, so
a training goes on from weights alone where its checkpoints are gone (--start).
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from semdiff.baselines.hybrid import Hybrid
from semdiff.baselines.hybrid_link import HybridLink
from semdiff.data.folders import read_folders
from semdiff.data.photos import photos
from semdiff.metrics import lpips, psnr
from semdiff.models.restorer import PictureDenoiser, Restorer
from semdiff.models.store import find_model, saved
from semdiff.rng import Key
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.curve import Curve, HeldOutScore
from semdiff.training.engine import Plan, Stage, fit
from semdiff.training.hybrid_crops import HybridCrops, code_pictures
from semdiff.training.recipes.common import check_budget
from semdiff.training.recipes.photos import usable
from semdiff.training.saving import images_seen, quantize_files, write_images_seen
from semdiff.training.stages.hybrid import LPIPS_WEIGHT, PictureFlowStage, RestorerStage

PLANS = {
    "restorer": Plan(steps=9_000, batch_size=8, learning_rate=2e-3, average=0.999, optimizer="muon"),  # 72,000 crops
    "perceptual": Plan(steps=5_000, batch_size=8, learning_rate=1e-3, average=0.999, optimizer="muon"),  # 40,000
    "denoiser": Plan(steps=9_000, batch_size=8, learning_rate=2e-3, average=0.999, optimizer="muon"),  # 72,000
}
CODED, CODED_SIZE, CROP = 4_000, 256, 128  # pictures, and sides in pixels
HELD_OUT = 32  # crops
SHARE, CODEC = 0.85, "avif"  # of the code
FLOW_LPIPS_WEIGHT = 1.0


def hybrid() -> Hybrid:
    """Return the code that the networks stand behind."""
    return Hybrid(SHARE, codec=CODEC)


class HybridTraining:
    """Hold the networks and the stages that train them.

    Args:
        folder: of the coded pictures, checkpoints and curves.
        seed: of all random numbers.
        budget: factor on the steps of the plans.
        folders: of pictures beside semdiff-photos.
        pictures: how many are coded.
        compile: see `fit`.
        progress: show bars.
    """

    def __init__(
        self,
        folder: Path,
        seed: int = 0,
        budget: float = 1.0,
        folders: Sequence[str | os.PathLike[str]] = (),
        pictures: int = CODED,
        compile: bool = False,
        progress: bool = True,
    ) -> None:
        self.folder, self.key, self.compile, self.progress = folder, Key(seed), compile, progress
        self.plans = {name: plan.scaled(budget) for name, plan in PLANS.items()}
        whole = usable(photos("train", progress=progress) | (read_folders(folders) if folders else {}), CODED_SIZE)
        self.coded = code_pictures(whole, pictures, CODED_SIZE, folder / "coded", hybrid(), self.key.fold_in(0), progress)
        aside = usable(photos("test", progress=progress), CODED_SIZE)
        held_out = code_pictures(aside, 1, CODED_SIZE, folder / "held_out", hybrid(), self.key.fold_in(1), progress)
        self.held_out = HybridCrops(held_out, CROP, HELD_OUT, Key(0)).batch(0)
        self.accelerator = prepare_accelerator("auto", cpu=True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = {"restorer": Restorer(), "perceptual": Restorer(), "denoiser": PictureDenoiser()}

    def begin_with(self, link: HybridLink) -> None:
        """Load the networks of a link, to go on with."""
        for name, network in link.components.items():
            self.networks[name].load_state_dict(network.state_dict())

    def link(self, names: Sequence[str]) -> HybridLink:
        """Return the networks of these names as a link."""
        return HybridLink(**{name: self.networks[name] for name in names}, share=SHARE, codec=CODEC)

    def stage(self, name: str) -> Stage:
        """Return the stage that trains the network of this name."""
        if name == "denoiser":
            return PictureFlowStage(self.networks["perceptual"], self.networks[name], lpips_weight=FLOW_LPIPS_WEIGHT)
        return RestorerStage(self.networks[name], LPIPS_WEIGHT if name == "perceptual" else 0.0)

    def run(self, name: str, begin: int = 0, resume: bool = True) -> None:
        """Train the network of this name, or go on with it.

        Args:
            name: of the network.
            begin: crops that its weights have seen, where no checkpoint is.
            resume: as in `fit`.
        """
        if name == "perceptual" and not begin:
            self.networks[name].load_state_dict(self.networks["restorer"].state_dict())
        plan = self.plans[name]
        fit(
            self.stage(name),
            HybridCrops(self.coded, CROP, plan.batch_size, self.key.fold_in(list(PLANS).index(name))),
            plan,
            name=name,
            key=self.key.fold_in(list(PLANS).index(name)),
            folder=self.folder / "checkpoints",
            accelerator=self.accelerator,
            curve=Curve(self.folder / f"{name}.csv").of_stage(name, plan.batch_size, lambda: self.validate(name)),
            begin=begin // plan.batch_size,
            resume=resume,
            progress=self.progress,
            compile=self.compile,
        )

    @torch.no_grad()
    def validate(self, name: str) -> list[HeldOutScore]:
        """Score the picture that the network of this name makes of held-out crops, beside the linear estimate."""
        images, base, picture, error_maps = self.held_out
        shown = {"linear": picture}
        if name == "denoiser":
            link = self.link(list(PLANS))
            estimate = self.networks["perceptual"](base, picture, error_maps)
            shown |= {f"sample, {n} steps": link.draw(estimate, self.networks[name], n, Key(1)) for n in (1, 4)}
        else:
            shown[name] = self.networks[name](base, picture, error_maps).mean
        scores = {n: {"psnr": psnr(x.clamp(0, 1), images), "lpips": lpips(x.clamp(0, 1), images)} for n, x in shown.items()}
        return [HeldOutScore(quantity, float(value.mean()), n) for n, each in scores.items() for quantity, value in each.items()]


def train(
    out: str | os.PathLike[str],
    budget: float = 1.0,
    seed: int = 0,
    folders: Sequence[str | os.PathLike[str]] = (),
    start: str | os.PathLike[str] | None = None,
    stages: Sequence[str] = tuple(PLANS),
    resume: bool = True,
    pictures: int = CODED,
    progress: bool = True,
    compile: bool = False,
) -> Path:
    """Train the networks, one after the other.

    Args:
        out: folder of the coded pictures, the checkpoints, the curves, and of the model at the end.
        budget: factor on the steps of the plans.
        seed: of all random numbers.
        folders: of pictures beside semdiff-photos.
        start: folder of a link whose training.json says how many crops its networks have seen, to go on with.
        stages: which networks are trained; the others are those of `start`.
        resume: whether to go on from checkpoints.
        pictures: how many are coded.
        progress: show bars.
        compile: see `fit`.

    Returns:
        The folder out/model, which `HybridLink.load` reads.

    Raises:
        ValueError: for stages of which one follows another that neither is trained nor in `start`.
    """
    check_budget(budget)
    place = None if start is None else find_model(start, "start")
    seen = {} if place is None else images_seen(place)
    if unknown := set(stages) - set(PLANS):
        raise ValueError(f"stages: expected some of {', '.join(PLANS)}, got {', '.join(sorted(unknown))}")
    names = [name for name in PLANS if name in {*stages, *seen}]
    if names != list(PLANS)[: len(names)]:
        known = ", ".join(PLANS)
        raise ValueError(f"stages: expected the first of {known}, or a start that has those before them, got {', '.join(stages)}")
    folder = Path(out)
    training = HybridTraining(folder, seed, budget, folders, pictures, compile, progress)
    if place is not None:
        training.begin_with(HybridLink.load(place))
    for name, plan in training.plans.items():
        if name in stages:
            whole = plan.steps * plan.batch_size
            training.run(name, min(seen.get(name, 0), whole), resume)
            seen[name] = whole
    if training.accelerator.is_main_process:
        with saved(folder / "model") as beside:
            training.link(names).write(beside)
            quantize_files(beside, names)
            write_images_seen(beside, seen)
    training.accelerator.wait_for_everyone()
    return folder / "model"


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m semdiff.training.recipes.hybrid", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=1.0, help="factor on the steps")
    parser.add_argument("--pictures", type=int, default=CODED, help="how many are coded")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the batches and all noise")
    parser.add_argument("--data", type=Path, action="append", default=[], help="a folder of photographs beside semdiff-photos")
    parser.add_argument("--start", type=Path, help="folder of a trained link, to go on with")
    parser.add_argument("--stages", default=",".join(PLANS), help="which networks to train, with commas")
    parser.add_argument("--compile", action="store_true", help="compile the blocks, where a C++ compiler is")
    options = parser.parse_args()
    stages = options.stages.split(",")
    how = {"pictures": options.pictures, "compile": options.compile}
    print(train(options.out, options.budget, options.seed, options.data, options.start, stages, **how))


if __name__ == "__main__":
    main()

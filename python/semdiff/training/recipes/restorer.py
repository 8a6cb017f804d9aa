# SPDX-License-Identifier: Apache-2.0
"""Train the network that restores photographs behind a hybrid digital-analog code (`semdiff.baselines.Hybrid`).

`python -m semdiff.training.recipes.restorer --out runs/restorer` codes crops of semdiff-photos, and of the pictures in each --data FOLDER,
once, at random SNRs and bandwidth ratios. Then it trains on crops of these, whose residual arrives with other noise each time.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from semdiff.baselines.hybrid import Hybrid
from semdiff.data.folders import read_folders
from semdiff.data.photos import photos
from semdiff.models.restorer import Restorer
from semdiff.models.store import find_model, saved
from semdiff.rng import Key
from semdiff.training.accelerator import prepare_accelerator
from semdiff.training.curve import Curve, HeldOutScore
from semdiff.training.engine import Plan, fit
from semdiff.training.hybrid_crops import CodedPicture, HybridCrops, code_pictures
from semdiff.training.recipes.common import check_budget
from semdiff.training.recipes.photos import usable
from semdiff.training.saving import images_seen, write_images_seen
from semdiff.training.stages.restorer import RestorerStage

PLAN = Plan(steps=30_000, batch_size=8, learning_rate=2e-3, average=0.999, optimizer="muon")  # 240,000 crops
CODED, CODED_SIZE, CROP = 1_000, 256, 128  # pictures, and sides in pixels
HELD_OUT = 32  # crops
SHARE, CODEC = 0.85, "avif"  # of the code
NAME = "restorer"


def hybrid() -> Hybrid:
    """Return the code that the network stands behind."""
    return Hybrid(SHARE, codec=CODEC)


def train(
    out: str | os.PathLike[str],
    budget: float = 1.0,
    seed: int = 0,
    folders: Sequence[str | os.PathLike[str]] = (),
    start: str | os.PathLike[str] | None = None,
    resume: bool = True,
    progress: bool = True,
    compile: bool = False,
) -> Path:
    """Train the network.

    Args:
        out: folder of the coded pictures, the checkpoints, and of the model at the end.
        budget: factor on the steps of the plan and the coded pictures.
        seed: of all random numbers.
        folders: of more pictures.
        start: folder of a trained network whose training.json says how many crops it has seen, to go on with.
        resume: whether to go on from checkpoints.
        progress: show a bar.
        compile: see `fit`.

    Returns:
        The folder out/model.
    """
    check_budget(budget)
    key, folder, plan = Key(seed), Path(out), PLAN.scaled(budget)
    pictures = usable(photos("train", progress=progress) | (read_folders(folders) if folders else {}), CODED_SIZE)
    count = round(CODED * min(1.0, budget))
    coded = code_pictures(pictures, count, CODED_SIZE, folder / "coded", hybrid(), key.fold_in(0), progress)
    aside = code_pictures(usable(photos("test"), CODED_SIZE), 1, CODED_SIZE, folder / "held_out", hybrid(), key.fold_in(1), progress)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stage = RestorerStage(Restorer())
    begin = 0
    if start is not None:
        place = find_model(start, "start", NAME)
        stage.restorer.load_state_dict(Restorer.from_pretrained(place).state_dict())
        begin = images_seen(place).get(NAME, 0) // plan.batch_size
    accelerator = prepare_accelerator("auto", cpu=True)
    curve = Curve(folder / "curve.csv").of_stage(NAME, plan.batch_size, lambda: _score(stage, aside))
    how: dict[str, Any] = {"folder": folder / "checkpoints", "resume": resume, "progress": progress, "compile": compile}
    batches = HybridCrops(coded, CROP, plan.batch_size, key)
    fit(stage, batches, plan, name=NAME, key=key, accelerator=accelerator, curve=curve, begin=min(begin, plan.steps), **how)
    if accelerator.is_main_process:
        with saved(folder / "model") as beside:
            stage.restorer.to(torch.float16).save_pretrained(beside)
            write_images_seen(beside, {NAME: plan.steps * plan.batch_size})
    accelerator.wait_for_everyone()
    return folder / "model"


@torch.no_grad()
def _score(stage: RestorerStage, coded: list[CodedPicture]) -> list[HeldOutScore]:
    """How many decibels the network brings on crops of held-out pictures, and the squared error over the variance that it says."""
    batch = HybridCrops(coded, CROP, HELD_OUT, Key(0)).batch(0)
    found = stage(Key(0), *batch)
    return [HeldOutScore(name, float(found[name]), "restored") for name in ("gain_db", "calibration")]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m semdiff.training.recipes.restorer", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=1.0, help="factor on the steps and the coded pictures")
    parser.add_argument("--seed", type=int, default=0, help="of the weights, the batches and all noise")
    parser.add_argument("--data", type=Path, action="append", default=[], help="a folder of photographs beside semdiff-photos")
    parser.add_argument("--start", type=Path, help="folder of a trained network, to go on with")
    parser.add_argument("--compile", action="store_true", help="compile the blocks, where a C++ compiler is")
    options = parser.parse_args()
    print(train(options.out, options.budget, options.seed, options.data, options.start, compile=options.compile))


if __name__ == "__main__":
    main()

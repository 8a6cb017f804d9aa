# SPDX-License-Identifier: Apache-2.0
"""The JSCC baselines, trained like the link that they are compared with: the same data, SNRs, rates, optimiser and number of images.

`python -m semdiff.training.jscc adjscc --out runs/adjscc` trains one on Fashion-MNIST. adjscc-lpips goes on from a trained adjscc with
LPIPS beside the squared error, for a fifth of the images more: `... adjscc-lpips --start runs/adjscc/model --out runs/adjscc-lpips`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff.baselines.jscc import ADJSCC, DeepJSCC, PerceptualADJSCC
from semdiff.channel import AWGN
from semdiff.data import fashion_mnist
from semdiff.link.symbols import arrive, features_to_symbols
from semdiff.metrics import lpips
from semdiff.rng import Key, normal
from semdiff.training.diffusion import uniform
from semdiff.training.engine import Plan, Stage, fit
from semdiff.training.resampling import SNR_DB, TRANSMITTER_ERROR_DB

MODELS = {"adjscc": ADJSCC, "deepjscc": DeepJSCC, "adjscc-lpips": PerceptualADJSCC}
# As many images as the link's four stages see in all (685,000).
PLAN = Plan(steps=5350, batch_size=128, learning_rate=1e-3)
PERCEPTUAL_PLAN = Plan(steps=1070, batch_size=128, learning_rate=3e-4)
LPIPS_WEIGHT = 0.1  # beside a squared error around 0.01, where LPIPS is around 0.2


class JSCCStage(Stage):
    """forward(key, images (B, C, H, W) in [0, 1]): mean squared error, every rate in each batch, an SNR for each sample. A
    `PerceptualADJSCC` adds LPIPS_WEIGHT times the mean LPIPS (AlexNet)."""

    def __init__(self, model: DeepJSCC) -> None:
        super().__init__()
        self.model = model

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        snr_key, error_key, channel_key = key.split(3)
        model, total = self.model, self.model.config.symbol_channels
        snr_db = uniform(images.shape[0], snr_key, *SNR_DB).to(images.device)
        believed = snr_db + TRANSMITTER_ERROR_DB * normal(snr_db.shape, error_key).to(images.device)
        rates = model.config.rates
        parts = [(part, rates[i % len(rates)]) for i, part in enumerate(torch.arange(images.shape[0]).chunk(len(rates)))]
        rate = torch.cat([torch.full((len(part),), channels / total) for part, channels in parts]).to(images.device)
        features = model.encode(images, believed, rate)
        arrived = []
        for i, (part, channels) in enumerate(parts):
            received = AWGN()(features_to_symbols(features[part], channels), snr_db[part].double(), channel_key.fold_in(i))
            arrived.append(arrive(received, channels, model.symbol_shape).features)
        out = model.decode(torch.cat(arrived), snr_db, rate, images.shape[-2:])
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

    start: for adjscc-lpips, the folder of the trained adjscc that it begins with; None is the package's.
    """
    if name not in MODELS:
        raise ValueError(f"name: expected one of {', '.join(MODELS)}, got {name!r}")
    if images is None:
        images = fashion_mnist("train").images
    if start is not None and name != "adjscc-lpips":
        raise ValueError(f"start: expected None for {name}, which begins with nothing, got {os.fspath(start)!r}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[name]()
    plan = PLAN
    if name == "adjscc-lpips":
        model.load_state_dict((ADJSCC.default() if start is None else ADJSCC.load(start)).state_dict())
        plan = PERCEPTUAL_PLAN
    folder = Path(out)
    fit(JSCCStage(model), [images], plan.scaled(budget), name=name, key=Key(seed), folder=folder / "checkpoints", progress=progress)
    model.to(torch.float16).save(folder / "model")
    return folder / "model"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m semdiff.training.jscc", description=__doc__)
    parser.add_argument("name", choices=sorted(MODELS))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="for adjscc-lpips: the folder of the trained adjscc; the package's if left out")
    options = parser.parse_args()
    print(train(options.name, options.out, options.budget, options.seed, start=options.start))


if __name__ == "__main__":
    main()

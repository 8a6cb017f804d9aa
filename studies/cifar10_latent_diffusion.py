# SPDX-License-Identifier: Apache-2.0
"""A small latent diffusion model of CIFAR-10, the paper's system around it, and what it does beside digital transmission.

python -m studies.cifar10_latent_diffusion train RUN trains the model and saves RUN/pipeline, as `semdiff train latent-diffusion` does. Then
it trains the two ends around it, as `semdiff train ends` does, and saves RUN/ends/model. It goes on where it was interrupted.
python -m studies.cifar10_latent_diffusion report RUN evaluates that on test images, with the three matches beside each other, and writes
docs/results/cifar10_latent_diffusion.{csv,md}. An ADJSCC of `semdiff.training.recipes.jscc` joins with --adjscc.
CIFAR-10 is that of $SEMDIFF_CIFAR10.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from semdiff.data import cifar10
from semdiff.evaluation import sweep
from semdiff.evaluation.plots import receiver_label
from semdiff.training.recipes import ends, latent_diffusion
from studies.writing import fill, table, write_csv, write_lines

RESULTS = Path(__file__).parents[1] / "docs" / "results"
COLUMNS = ("system", "realism", "steps", "cbr_used", "uses", "snr_db", "images", "psnr", "lpips_alex", "milliseconds")
CBRS = (1 / 12, 1 / 24)
MATCHES = ("calibrated", "exact", "paper")
LATENTS = 20_000  # images that the ends learn


def train(run: Path, budget: float, seed: int) -> None:
    """Train the model and the ends, and save both."""
    images = cifar10("train").images
    pipeline = latent_diffusion.train(run, images, budget, seed)
    print(latent_diffusion.describe_quality(run), flush=True)
    ends.train(run / "ends", pipeline, images[:LATENTS], CBRS, budget, seed)


def configuration(run: Path, adjscc: Path | None, images: int) -> dict[str, Any]:
    """Return what is compared: the link with each match and without its denoiser, and baselines."""
    model = str(run / "ends" / "model")
    systems: list[dict[str, Any]] = [{"name": "link", "path": model, "label": f"link, {m}", "options": {"match": m}} for m in MATCHES]
    systems.append({"name": "upsampler-mean", "path": model, "label": "link without its denoiser"})
    systems += [{"name": "adjscc", "path": str(adjscc)}] if adjscc else []
    systems += [{"name": name, "options": {"outage": 0.473}} for name in ("digital", "capacity")]  # the grey of the training set's mean
    return {
        "systems": systems,
        "data": "cifar10",
        "images": images,
        "snr_db": [0, 5, 10, 15],
        "cbr": list(CBRS),
        "steps": 4,
        "realism": [0.0, 1.0],
        "metrics": ["psnr", "lpips_alex"],
        "batch": 50,
    }


def report(run: Path, adjscc: Path | None, images: int) -> None:
    """Evaluate, and write the CSV file and the page's tables."""
    found = sweep(configuration(run, adjscc, images), run / "results", progress=True)
    if not found.complete:  # of several processes the last one writes
        return
    rows = found.summary()
    write_csv(RESULTS / "cifar10_latent_diffusion.csv", [{name: row[name] for name in COLUMNS} for row in rows])
    snrs = sorted({row["snr_db"] for row in rows})
    lines = []
    for uses in sorted({row["uses"] for row in rows}, reverse=True):
        numbers: dict[str, list[str]] = {}
        for row in sorted(rows, key=lambda row: row["snr_db"]):
            if row["uses"] == uses:
                numbers.setdefault(receiver_label(row), []).append(f"{row['psnr']:.2f} / {row['lpips_alex']:.3f}")
        body = ([label, *values] for label, values in numbers.items())
        lines += ["", f"CBR 1/{3072 / uses:.0f}, {uses} channel uses:", "", *table(["system", *(f"{s:g} dB" for s in snrs)], body)]
    text = (RESULTS / "cifar10_latent_diffusion.md").read_text(encoding="utf-8")
    write_lines(RESULTS / "cifar10_latent_diffusion.md", [fill("cifar10_latent_diffusion.md", text, {"table": lines[1:]}).rstrip("\n")])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m studies.cifar10_latent_diffusion", description=__doc__)
    parser.add_argument("what", choices=("train", "report"))
    parser.add_argument("run", type=Path, help="folder for checkpoints/, pipeline/ and results/")
    parser.add_argument("--budget", type=float, default=1.0, help="train: factor on the steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--adjscc", type=Path, help="report: folder of an ADJSCC for CIFAR-10")
    parser.add_argument("--images", type=int, default=500, help="report: of the test split")
    options = parser.parse_args()
    if options.what == "train":
        train(options.run, options.budget, options.seed)
    else:
        report(options.run, options.adjscc, options.images)


if __name__ == "__main__":
    main()

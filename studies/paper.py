# SPDX-License-Identifier: Apache-2.0
"""The paper's own form of the system beside the link on pixels, learned codes and digital transmission, on CIFAR-10.

python -m studies.paper RUN --link MODEL trains what is not finished in RUN: a small latent diffusion model, as `semdiff train
latent-diffusion` does, saved as RUN/pipeline and then left as it is, and the two ends around it, as `semdiff train ends` does. Then it
sends test images, and writes docs/results/paper.{csv,png} and the tables of paper.md. MODEL is the name or folder of a `PixelLink` for
CIFAR-10; the codes are those in the folder weights/. It goes on where it was interrupted. CIFAR-10 is that of $SEMDIFF_CIFAR10.
"""

from __future__ import annotations

import argparse
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semdiff.data import cifar10
from semdiff.evaluation import Results, sweep
from semdiff.evaluation.plots import COLOURS, MARKERS, axis_title, receiver_label
from semdiff.link import SemanticLink
from semdiff.training.recipes import ends, latent_diffusion
from studies.pixel_data import EVERY
from studies.writing import fill, table, write_csv, write_lines

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RESULTS = Path(__file__).parents[1] / "docs" / "results"
COLUMNS = ("system", "realism", "steps", "cbr_used", "uses", "snr_db", "images", "psnr", "lpips_alex", "milliseconds")
CIFAR10 = EVERY[1]
USES = (256, 128)  # complex, of the channel for an image: CBR 1/12 and 1/24
SNRS_DB = (0.0, 5.0, 10.0, 15.0)
MATCHES = ("paper", "exact", "calibrated")
LATENTS = 20_000  # images that the ends learn
# PSNR in dB by uses and SNR of DeepJSCC (arXiv 1809.01733), a model of 182,000 weights for each SNR, measured on these test images.
DEEPJSCC = {256: {4.0: 24.32, 7.0: 25.85, 10.0: 27.34, 16.0: 29.34}}
METRICS = ("psnr", "lpips_alex")
CODECS = {"digital": "#444444", "capacity": "#999999"}  # and their colours


def train(run: Path, budget: float, seed: int) -> Path:
    """Train the latent diffusion model and the ends around it, and return the folder of the link."""
    images = cifar10("train").images
    pipeline = latent_diffusion.train(run, images, budget, seed)
    print(latent_diffusion.describe_quality(run), flush=True)
    return ends.train(run / "ends", pipeline, images[:LATENTS], [CIFAR10.cbr(uses) for uses in USES], budget, seed)


def measure(run: Path, paper: Path, link: str, images: int) -> Results:
    """Send test images by every system.

    Args:
        run: folder of what is finished.
        paper: folder of the link around the latent diffusion model.
        link: name or folder of the link on pixels.
        images: how many.
    """
    systems: dict[str, Any] = {
        f"paper's form, {match} match": {"name": "link", "path": str(paper), "options": {"match": match}} for match in MATCHES
    }
    systems["paper's form without its denoiser"] = {"name": "upsampler-mean", "path": str(paper)}
    systems["link on pixels"] = SemanticLink.from_pretrained(link)
    systems |= CIFAR10.codes()
    systems |= {name: {"name": name, "options": {"outage": 0.473}} for name in CODECS}  # the training set's mean grey
    return sweep(
        None, run / "results", systems=systems, data="cifar10", images=images, snr_db=list(SNRS_DB),
        cbr=[CIFAR10.cbr(uses) for uses in USES], steps=4, realism=[0.0, 1.0], metrics=list(METRICS), batch=50, progress=True,
    )  # fmt: skip


def lines_of(rows: list[dict[str, Any]], uses: int) -> dict[str, list[dict[str, Any]]]:
    """The rows of one number of channel uses by system, in the order of their SNR."""
    here = sorted((row for row in rows if row["uses"] == uses), key=lambda row: row["snr_db"])
    return {name: [row for row in here if receiver_label(row) == name] for name in map(receiver_label, rows)}


def figure(rows: list[dict[str, Any]]) -> Figure:
    """Draw PSNR and LPIPS over the SNR, a column of panels for each number of channel uses, without the paper's form's posterior means."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(11, 7.5), layout="constrained")
    panels = drawn.subplots(len(METRICS), len(USES), squeeze=False)
    for column, uses in enumerate(USES):
        for panel, metric in zip(panels[:, column], METRICS, strict=True):
            drawn_lines = {n: line for n, line in lines_of(rows, uses).items() if not n.endswith("posterior mean")}
            for (name, line), colour, marker in zip(drawn_lines.items(), cycle(COLOURS), cycle(MARKERS)):
                look = {"color": CODECS.get(name, colour), "marker": marker, "label": name, "linestyle": "--" if name in CODECS else "-"}
                panel.plot([row["snr_db"] for row in line], [row[metric] for row in line], **look)
            if metric == "psnr" and uses in DEEPJSCC:
                known = DEEPJSCC[uses]
                panel.plot(list(known), list(known.values()), color="black", marker="+", linestyle=":", label="DeepJSCC, one for each SNR")
            panel.set_xlabel("SNR (dB)")
            panel.set_ylabel(axis_title(metric))
            panel.set_title(f"CBR 1/{3072 // uses}")
            panel.grid(alpha=0.3)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8)
    return drawn


def report(found: Results) -> None:
    """Write the CSV file, the figure and the page's tables."""
    rows = found.summary()
    write_csv(RESULTS / "paper.csv", [{name: row[name] for name in COLUMNS} for row in rows])
    figure(rows).savefig(RESULTS / "paper.png", dpi=110)
    lines = []
    for uses in USES:
        body = [[name, *(f"{row['psnr']:.2f} / {row['lpips_alex']:.3f}" for row in line)] for name, line in lines_of(rows, uses).items()]
        lines += ["", f"CBR 1/{3072 // uses}, {uses} channel uses:", "", *table(["system", *(f"{s:g} dB" for s in SNRS_DB)], body)]
    text = (RESULTS / "paper.md").read_text(encoding="utf-8")
    write_lines(RESULTS / "paper.md", [fill("paper.md", text, {"table": lines[1:]}).rstrip("\n")])


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m studies.paper", description=__doc__)
    parser.add_argument("run", type=Path, help="folder for checkpoints/, pipeline/, ends/ and results/")
    parser.add_argument("--link", default="cifar10", help="name or folder of a link on pixels for CIFAR-10")
    parser.add_argument("--budget", type=float, default=1.0, help="factor on the steps of the latent diffusion model and its ends")
    parser.add_argument("--images", type=int, default=500, help="of the test split")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = measure(options.run, train(options.run, options.budget, options.seed), options.link, options.images)
    if found.complete:  # of several processes the last one writes
        report(found)


if __name__ == "__main__":
    main()

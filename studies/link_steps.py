# SPDX-License-Identifier: Apache-2.0
"""How many steps pay: samples of the link on latents and of the photograph link by solver and number of evaluations, at each SNR.

python -m studies.link_steps writes docs/results/link_steps.{csv,md}, from Fashion-MNIST's test images over AWGN at the full rate;
with `photos` behind it photos_steps.{csv,md}, from held-out photographs at CBR 1/24. All start from the same received symbols and the same
noise. The fewest steps of the default solver within 0.1 dB of PSNR and LPIPS_NOISE of LPIPS of the most steps are what `steps="auto"` takes
with Fashion-MNIST (`semdiff.training.recipes.latents.AUTO_STEPS`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from semdiff import Key
from semdiff.evaluation.image_sets import load_images
from semdiff.link import SemanticLink
from semdiff.metrics import lpips, psnr
from studies.models import LATENT_LINK
from studies.writing import table, write_csv, write_lines

PSNR_NOISE, LPIPS_NOISE = 0.1, 0.002


class Study(NamedTuple):
    """What is measured of one model."""

    cbr: float
    snrs_db: tuple[float, ...]
    counts: dict[str, tuple[int, ...]]
    images: int
    batch: int
    file: str
    title: str
    what: str


STUDIES = {
    "fashion-mnist": Study(
        1 / 12,
        (-5.0, 0.0, 5.0, 10.0, 15.0),
        {"dpmpp_2m": (1, 2, 3, 4, 6, 8, 16, 200), "ddim": (1, 2, 4, 8, 16), "heun": (2, 4, 8)},
        200,
        50,
        "link_steps",
        "How many steps pay on Fashion-MNIST",
        "Samples of the Fashion-MNIST link on latents",
    ),
    "photos": Study(
        1 / 24,
        (0.0, 5.0, 10.0),
        {"dpmpp_2m": (1, 2, 3, 4, 8, 16), "ddim": (2, 4, 8)},
        12,
        4,
        "photos_steps",
        "How many steps pay on photographs",
        "The photograph link's detail decoder",
    ),
}


def measure(link: SemanticLink, study: Study, images: torch.Tensor, snr_db: float, solver: Any, steps: int) -> dict[str, Any]:
    begun = time.perf_counter()
    sent = [
        link.transmit(part, snr_db, cbr=study.cbr, steps=steps, solver=solver, key=Key(0).fold_in(i))
        for i, part in enumerate(images.split(study.batch))
    ]
    seconds = time.perf_counter() - begun
    received = torch.cat([s.images for s in sent])
    return {
        "snr_db": snr_db,
        "solver": solver,
        "steps": steps,
        "evaluations": sent[0].evaluations,
        "psnr_db": float(psnr(received, images).mean()),
        "lpips_alex": float(lpips(received, images).mean()),
        "ms_per_image": 1000 * seconds / len(images),
    }


def enough(rows: list[dict[str, Any]]) -> int:
    """The fewest steps of the default solver that are as good as the most, of the rows of one SNR."""
    ours = {row["steps"]: row for row in rows if row["solver"] == "dpmpp_2m"}
    most = ours[max(ours)]
    return min(
        steps
        for steps, row in ours.items()
        if abs(row["psnr_db"] - most["psnr_db"]) <= PSNR_NOISE and row["lpips_alex"] <= most["lpips_alex"] + LPIPS_NOISE
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=sorted(STUDIES), nargs="?", default="fashion-mnist")
    parser.add_argument("--images", type=int)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    study = STUDIES[options.model]
    link = SemanticLink.from_pretrained(LATENT_LINK if options.model == "fashion-mnist" else options.model)
    images = load_images(options.model, options.images or study.images).images
    rows = []
    for snr_db in study.snrs_db:
        for solver, counts in study.counts.items():
            for steps in counts:
                rows.append(measure(link, study, images, snr_db, solver, steps))
                print(rows[-1], flush=True)
    write_csv(options.out / f"{study.file}.csv", rows)
    ways = [(solver, steps) for solver, counts in study.counts.items() for steps in counts]
    found = {(row["solver"], row["steps"], row["snr_db"]): row for row in rows}
    fewest = [str(enough([row for row in rows if row["snr_db"] == snr_db])) for snr_db in study.snrs_db]
    most = max(study.counts["dpmpp_2m"])
    command = "python -m studies.link_steps" + ("" if options.model == "fashion-mnist" else f" {options.model}")
    lines = [
        f"# {study.title}",
        "",
        f"{study.what}, {len(images)} test images, AWGN, CBR 1/{1 / study.cbr:g}: PSNR in dB / LPIPS (AlexNet), by solver, steps and SNR.",
        f"`{command}` makes this. LPIPS moves by {LPIPS_NOISE} with the noise alone.",
        "",
        *table(
            ["solver, steps", "evaluations", *(f"{snr_db:g} dB" for snr_db in study.snrs_db)],
            (
                [
                    f"{solver} {steps}",
                    str(found[solver, steps, study.snrs_db[0]]["evaluations"]),
                    *(f"{(r := found[solver, steps, s])['psnr_db']:.2f} / {r['lpips_alex']:.3f}" for s in study.snrs_db),
                ]
                for solver, steps in ways
            ),
        ),
        "",
        f"Fewest steps of dpmpp_2m within {PSNR_NOISE} dB and {LPIPS_NOISE} of LPIPS of {most} steps: "
        + ", ".join(f"{n} at {snr_db:g} dB" for n, snr_db in zip(fewest, study.snrs_db, strict=True))
        + ".",
    ]
    write_lines(options.out / f"{study.file}.md", lines)


if __name__ == "__main__":
    main()

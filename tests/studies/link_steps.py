# SPDX-License-Identifier: Apache-2.0
"""How many steps pay: the shipped link's samples by solver and number of evaluations, at each SNR.

python -m tests.studies.link_steps writes docs/results/link_steps.{csv,md}, from Fashion-MNIST's test images over AWGN at the full rate. All
start from the same received symbols and the same noise. The fewest steps of the default solver within 0.1 dB of PSNR and LPIPS_NOISE of
LPIPS of REFERENCE steps are what `steps="auto"` takes (`semdiff.training.fashion_mnist.AUTO_STEPS`).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import torch

from semdiff import Key
from semdiff.data import fashion_mnist
from semdiff.link import SemanticLink
from semdiff.metrics import lpips, psnr
from tests.studies.tables import table, write_csv, write_lines

SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0)
REFERENCE = 200
COUNTS = {"dpmpp_2m": (1, 2, 3, 4, 6, 8, 16, REFERENCE), "ddim": (1, 2, 4, 8, 16), "heun": (2, 4, 8)}
PSNR_NOISE, LPIPS_NOISE = 0.1, 0.002
BATCH = 50


def measure(link: SemanticLink, images: torch.Tensor, snr_db: float, solver: Any, steps: int) -> dict[str, Any]:
    begun = time.perf_counter()
    sent = [link.transmit(part, snr_db, steps=steps, solver=solver, key=Key(0).fold_in(i)) for i, part in enumerate(images.split(BATCH))]
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
    """The fewest steps of the default solver that are as good as REFERENCE steps, of the rows of one SNR."""
    ours = {row["steps"]: row for row in rows if row["solver"] == "dpmpp_2m"}
    best = ours[REFERENCE]
    return min(
        steps
        for steps, row in ours.items()
        if abs(row["psnr_db"] - best["psnr_db"]) <= PSNR_NOISE and row["lpips_alex"] <= best["lpips_alex"] + LPIPS_NOISE
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    link, images = SemanticLink.default(), fashion_mnist("test").images[: options.images]
    rows = []
    for snr_db in SNRS_DB:
        for solver, counts in COUNTS.items():
            for steps in counts:
                rows.append(measure(link, images, snr_db, solver, steps))
                print(rows[-1], flush=True)
    write_csv(options.out / "link_steps.csv", rows)
    ways = [(solver, steps) for solver, counts in COUNTS.items() for steps in counts]
    found = {(row["solver"], row["steps"], row["snr_db"]): row for row in rows}
    fewest = [str(enough([row for row in rows if row["snr_db"] == snr_db])) for snr_db in SNRS_DB]
    lines = [
        f"Samples of the shipped link, {options.images} test images, AWGN, CBR 1/12: PSNR in dB / LPIPS (AlexNet) by solver, steps, SNR.",
        f"`python -m tests.studies.link_steps` makes this. LPIPS moves by {LPIPS_NOISE} with the noise alone.",
        "",
        *table(
            ["solver, steps", "evaluations", *(f"{snr_db:g} dB" for snr_db in SNRS_DB)],
            (
                [
                    f"{solver} {steps}",
                    str(found[solver, steps, SNRS_DB[0]]["evaluations"]),
                    *(f"{(r := found[solver, steps, s])['psnr_db']:.2f} / {r['lpips_alex']:.3f}" for s in SNRS_DB),
                ]
                for solver, steps in ways
            ),
        ),
        "",
        f"Fewest steps of dpmpp_2m within {PSNR_NOISE} dB and {LPIPS_NOISE} of LPIPS of {REFERENCE} steps: "
        + ", ".join(f"{n} at {snr_db:g} dB" for n, snr_db in zip(fewest, SNRS_DB, strict=True))
        + ".",
    ]
    write_lines(options.out / "link_steps.md", lines)


if __name__ == "__main__":
    main()

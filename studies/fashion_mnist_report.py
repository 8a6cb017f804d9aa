# SPDX-License-Identifier: Apache-2.0
"""What `studies.fashion_mnist` found, for people: Markdown tables and a sheet of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from semdiff._util.atomic import write_atomically
from semdiff.data.sheet import Band, draw_sheet
from semdiff.link import SemanticLink
from semdiff.rng import Key

Row = dict[str, Any]
OUTPUTS: dict[str, dict[str, Any]] = {
    "up-sampler's mean": {"diffusion": False}, "posterior mean": {"realism": 0.0}, "sample": {"realism": 1.0},
}  # fmt: skip


def write_markdown(rows: list[Row], path: Path) -> None:
    """One table for each study."""
    main = [r for r in rows if r["study"] == "main"]
    modes = [r for r in rows if r["study"] == "match"]
    steps = [r for r in rows if r["study"] == "steps"]
    dial = [r for r in rows if r["study"] == "realism"]
    state = [r for r in rows if r["study"] == "state"]
    parts = ["# The Fashion-MNIST link on latents: steps, matches, realism\n"]
    parts += [f"PSNR in dB (and detail: fine structure as a share of the originals'), {main[0]['images']} test images, AWGN. Paid: the"]
    parts.append(
        "sample's mean squared error over the posterior mean's; a true sample of the posterior pays 3.01 dB in the space it is drawn in. "
        "The decoder\nof all three was trained behind the denoiser, and never for the up-sampler's mean.\n"
    )
    parts.append("| CBR | SNR, dB | up-sampler's mean, decoded | posterior mean | sample, 8 steps | paid, dB |\n|---|---|---|---|---|---|")
    for place in dict.fromkeys((r["cbr"], r["snr_db"]) for r in main):
        here = [r for r in main if (r["cbr"], r["snr_db"]) == place]
        cells = " | ".join(f"{r['psnr_db']:.2f} ({r['detail_ratio']:.2f})" for r in here)
        best, sample = (next(r["mse"] for r in here if r.get("realism") == realism) for realism in (0.0, 1.0))
        parts.append(f"| 1/{1 / place[0]:.1f} | {place[1]:g} | {cells} | {10 * math.log10(sample / best):.2f} |")
    parts.append(
        f"\nHow the state is matched, same symbols and keys, {modes[0]['images']} images: posterior mean / sample of 8 steps, PSNR in dB.\n"
    )
    names = list(dict.fromkeys(r["match"] for r in modes))
    parts.append(f"| CBR | SNR, dB | {' | '.join(names)} |\n|---|---|{'---|' * len(names)}")
    for place in dict.fromkeys((r["cbr"], r["snr_db"]) for r in modes):
        modes_here = {(r["match"], r["realism"]): r["psnr_db"] for r in modes if (r["cbr"], r["snr_db"]) == place}
        parts.append(
            f"| 1/{1 / place[0]:.1f} | {place[1]:g} | "
            + " | ".join(f"{modes_here[n, 0.0]:.2f} / {modes_here[n, 1.0]:.2f}" for n in names)
            + " |"
        )
    parts.append(f"\nSteps, CBR 1/{1 / steps[0]['cbr']:.1f}, {steps[0]['images']} images.\n")
    parts.append("| SNR, dB | steps | PSNR, dB | detail | ms an image |\n|---|---|---|---|---|")
    parts += [f"| {r['snr_db']:g} | {r['steps']} | {r['psnr_db']:.2f} | {r['detail_ratio']:.2f} | {r['milliseconds']:.2f} |" for r in steps]
    parts.append(f"\nThe realism dial, CBR 1/{1 / dial[0]['cbr']:.1f}, {dial[0]['snr_db']:g} dB, {dial[0]['images']} images.\n")
    parts.append("| realism | PSNR, dB | detail |\n|---|---|---|")
    parts += [f"| {r['realism']:g} | {r['psnr_db']:.2f} | {r['detail_ratio']:.2f} |" for r in dial]
    parts.append("\nMoments of (x_t - sqrt(alpha_bar) z) / sqrt(1 - alpha_bar); the forward process has 0, 1 and 3.\n")
    parts.append("| CBR | SNR, dB | state | t | mean | variance | kurtosis |\n|---|---|---|---|---|---|---|")
    for r in state:
        moments = f"{r['mean']:.3f} | {r['variance_ratio']:.3f} | {r['kurtosis']:.2f}"
        parts.append(f"| 1/{1 / r['cbr']:.1f} | {r['snr_db']:g} | {r['state']} | {r['t']:.0f} | {moments} |")
    write_atomically(path, ("\n".join(parts) + "\n").encode())


def write_picture(link: SemanticLink, images: Tensor, names: Sequence[str], path: Path) -> None:
    """Writes a PNG with a column for each of the images, called by its name. Rows: the originals, then for each SNR (0, 5, 10 dB; largest
    CBR) the up-sampler's mean, the posterior mean and a sample."""
    bands = [Band("original", images)]
    for snr_db in (0.0, 5.0, 10.0):
        for name, setting in OUTPUTS.items():
            received = link.transmit(images, snr_db, key=Key(7), **setting).images
            bands.append(Band(f"{snr_db:g} dB, {name}", received, first=name == next(iter(OUTPUTS))))
    sheet = draw_sheet(bands, names)
    write_atomically(path, lambda file: sheet.save(file, "PNG"))

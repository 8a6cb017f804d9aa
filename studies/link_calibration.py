# SPDX-License-Identifier: Apache-2.0
"""Is the up-sampler's Gaussian as wide as it is wrong? Mean squared z-scores of the photograph link, by CBR and SNR: 1 if it is honest.

python -m studies.link_calibration writes docs/results/photos_calibration.{csv,md}, from the held-out photographs over AWGN and over
Rayleigh fading with a gain for each symbol. Of x_t, which the up-sampler speaks of: ((sqrt(a) z - mean)^2 + 1 - a) / exp(logvar), the mean
over the channel's noise taken exactly. Of z: the error of its estimate by that error's own variance, mean over elements.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch

from semdiff import AWGN, Channel, Key, Rayleigh
from semdiff.evaluation.image_sets import load_images
from semdiff.link import SemanticLink
from semdiff.link.starting_state import estimate_elements
from studies.writing import table, write_csv, write_lines

SNRS_DB = (-5.0, 0.0, 5.0, 10.0, 15.0, 20.0)
CHANNELS: dict[str, Channel] = {"awgn": AWGN(), "rayleigh-fast": Rayleigh("fast")}


@torch.no_grad()
def measure(link: SemanticLink, images: torch.Tensor, channel: str, cbr: float, snr_db: float) -> dict[str, Any]:
    of_x, of_z, error = [], [], []
    size = (images.shape[2], images.shape[3])
    for i, part in enumerate(images.split(4)):
        key = Key(0).fold_in(i)
        symbols = link.send(part, cbr=cbr, snr_db=snr_db)
        wanted = torch.full((len(part),), snr_db, dtype=torch.float64)
        received = CHANNELS[channel](symbols, wanted, key.fold_in(0))
        heard = link.equalize_and_upsample(received, link.layout(size).channels_of(symbols), key=key, size=size)
        z, (_, mean, logvar) = link.encode(part), heard.gaussian
        a = (1 / (1 + heard.noise_var)).to(z)[:, None, None, None]
        guess, log_error = estimate_elements(*heard)
        of_x.append((((a.sqrt() * z - mean) ** 2 + 1 - a) / logvar.exp()).mean((1, 2, 3)))
        of_z.append(((z - guess) ** 2 / log_error.exp()).mean((1, 2, 3)))
        error.append(((z - guess) ** 2).mean((1, 2, 3)))
    found = {"x_t": torch.cat(of_x), "z": torch.cat(of_z), "error": torch.cat(error)}
    return {"channel": channel, "cbr": cbr, "snr_db": snr_db} | {name: float(v.mean()) for name, v in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder of a link; the package's if left out")
    parser.add_argument("--images", type=int)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    link = SemanticLink.default("photos") if options.model is None else SemanticLink.from_pretrained(options.model)
    images = load_images("photos", options.images).images
    cbrs = (1 / 12, 1 / 24, 1 / 48)
    rows = [measure(link, images, c, cbr, s) for c in CHANNELS for cbr in cbrs for s in SNRS_DB]
    write_csv(options.out / "photos_calibration.csv", rows)
    found = {(r["channel"], r["cbr"], r["snr_db"]): r for r in rows}
    worst = max(abs(r["x_t"] - 1) for r in rows)
    lines = [
        "# Is the photograph link's Gaussian calibrated?",
        "",
        f"Mean squared z-scores of the photograph link's Gaussian, {len(images)} held-out photographs: of x_t / of z / squared error of z.",
        f"1 is honest; of x_t the farthest is {100 * worst:.1f} % from it. `python -m studies.link_calibration` makes this.",
        "",
        *table(
            ["channel, CBR", *(f"{s:g} dB" for s in SNRS_DB)],
            (
                [
                    f"{c}, 1/{1 / cbr:g}",
                    *(f"{(r := found[c, cbr, s])['x_t']:.3f} / {r['z']:.3f} / {r['error']:.3f}" for s in SNRS_DB),
                ]
                for c in CHANNELS
                for cbr in cbrs
            ),
        ),
    ]
    write_lines(options.out / "photos_calibration.md", lines)


if __name__ == "__main__":
    main()

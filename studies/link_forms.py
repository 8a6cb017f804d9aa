# SPDX-License-Identifier: Apache-2.0
"""What the photograph link's denoiser should be told, and what it should undo: three forms of it at equal training time.

python -m studies.link_forms RUNS writes docs/results/photos_forms.{csv,md} from the folders RUNS/{noise,noise-hints,received}/model:
trainings of `semdiff train photos --config`, whose recipes differ in `hints` and `path` alone (README, "Training"), on the same
transmitter, up-sampler and autoencoder. Held-out photographs over AWGN at CBR 1/24; all forms hear the same symbols, and the autoencoder's
own decoder, which no form has trained, decodes their samples.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path
from typing import Any

import torch

from semdiff import Key
from semdiff.evaluation.image_sets import load_images
from semdiff.link import SemanticLink
from semdiff.metrics import lpips, psnr
from studies.writing import table, write_csv, write_lines

FORMS = {
    "noise": "unconditional latent diffusion, matched start",
    "noise-hints": "the same, told the up-sampler's mean and log-variance",
    "received": "the residual between what is received and sent, told so too",
}
SNRS_DB, STEPS, CBR = (0.0, 5.0, 10.0), (1, 2, 4, 8), 1 / 24


@torch.no_grad()
def measure(link: SemanticLink, images: torch.Tensor, snr_db: float, steps: int) -> tuple[float, float]:
    """PSNR and LPIPS of samples, means over the images."""
    sent = [link.transmit(part, snr_db, cbr=CBR, steps=steps, key=Key(0).fold_in(i)).images for i, part in enumerate(images.split(4))]
    received = torch.cat(sent)
    return float(psnr(received, images).mean()), float(lpips(received, images).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    images = load_images("photos", options.images).images
    rows: list[dict[str, Any]] = []
    for form in FORMS:
        link = SemanticLink.from_pretrained(options.runs / form / "model")
        link.detail_decoder = None
        for snr_db in SNRS_DB:
            for steps in STEPS:
                quality = measure(link, images, snr_db, steps)
                rows.append({"form": form, "snr_db": snr_db, "steps": steps, "psnr_db": quality[0], "lpips_alex": quality[1]})
                print(rows[-1], flush=True)
    write_csv(options.out / "photos_forms.csv", rows)
    found = {(r["form"], r["snr_db"], r["steps"]): r for r in rows}
    best = min(FORMS, key=lambda f: statistics.mean(min(found[f, s, n]["lpips_alex"] for n in STEPS) for s in SNRS_DB))
    lines = [
        "# Three forms of the photograph link's denoiser",
        "",
        f"Samples of three forms of the photograph link's denoiser at equal training time: PSNR in dB / LPIPS (AlexNet), {len(images)} "
        f"held-out photographs, AWGN, CBR 1/{1 / CBR:g}, by steps. Decoded by the autoencoder's decoder, which all share. "
        "`python -m studies.link_forms` makes this.",
        "",
        *table(
            ["form", "SNR, dB", *(f"{n} step{'s' if n > 1 else ''}" for n in STEPS)],
            (
                [text, f"{s:g}", *(f"{(r := found[form, s, n])['psnr_db']:.2f} / {r['lpips_alex']:.3f}" for n in STEPS)]
                for form, text in FORMS.items()
                for s in SNRS_DB
            ),
        ),
        "",
        f"Least LPIPS at its best number of steps, on average over the SNRs: {FORMS[best]}.",
    ]
    write_lines(options.out / "photos_forms.md", lines)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The photograph link's pictures beside the baselines', to look at.

python -m studies.link_pictures writes docs/results/photos.jpg: parts of held-out photographs over AWGN at CBR 1/24, a row each at 0
and 10 dB: the original, the link's mean decoder and detail decoder, ADJSCC, and the best codec behind LDPC and QAM, all at the same channel
uses. --perceptual FOLDER adds the ADJSCC trained on LPIPS.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from semdiff import Key
from semdiff._util.atomic import write_atomically
from semdiff.baselines import ADJSCC, Digital, PerceptualADJSCC
from semdiff.data import photo_list
from semdiff.data.pictures import middle
from semdiff.data.sheet import Band, draw_sheet
from semdiff.evaluation.image_sets import load_images
from semdiff.link import SemanticLink
from semdiff.link.outputs import output_names
from semdiff.metrics import psnr

PHOTOGRAPHS, SNRS_DB, CBR, SIDE = (1, 6, 10), (0.0, 10.0), 1 / 24, 240


def receptions(images: Tensor, snr_db: float, perceptual: Path | None) -> dict[str, Tensor]:
    """What every system makes of the images, by its name."""
    link = SemanticLink.default("photos")
    found = {"original": images}
    for realism, name in enumerate(output_names(link)):
        done = link.transmit(images, snr_db, cbr=CBR, steps="auto", realism=realism, key=Key(0))
        found[name] = done.images
    found["ADJSCC"] = ADJSCC.default("photos").transmit(images, snr_db, cbr=CBR, key=Key(0)).images
    if perceptual is not None:
        found["ADJSCC, LPIPS"] = PerceptualADJSCC.load(perceptual).transmit(images, snr_db, cbr=CBR, key=Key(0)).images
    found["codec, LDPC, QAM"] = Digital().transmit(images, snr_db, cbr=done.ledger.cbr, key=Key(0)).images
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perceptual", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/photos.jpg"))
    options = parser.parse_args()
    names = [sorted(photo.name for photo in photo_list() if photo.split == "test")[i].split("/")[-1] for i in PHOTOGRAPHS]
    images = load_images("photos").images[list(PHOTOGRAPHS)]
    shown = {snr_db: receptions(images, snr_db, options.perceptual) for snr_db in SNRS_DB}
    bands = []
    for i, name in enumerate(names):
        for snr_db, found in shown.items():
            values = [f"{float(psnr(x[i : i + 1], images[i : i + 1])):.1f}" for x in list(found.values())[1:]]
            parts = torch.stack([middle(x[i], SIDE, SIDE) for x in found.values()])
            pairs = [" ".join(values[k : k + 2]) for k in range(0, len(values), 2)]
            words = [name.replace("_", " "), f"{snr_db:g} dB", "PSNR, dB:", *pairs]
            bands.append(Band("\n".join(words), parts, first=snr_db == SNRS_DB[0]))
    sheet = draw_sheet(bands, list(shown[SNRS_DB[0]]))
    write_atomically(options.out, lambda file: sheet.save(file, "JPEG", quality=88))


if __name__ == "__main__":
    main()

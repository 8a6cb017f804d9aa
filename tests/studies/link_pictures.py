# SPDX-License-Identifier: Apache-2.0
"""The photograph link's pictures beside the baselines', to look at.

python -m tests.studies.link_pictures writes docs/results/photos.jpg: parts of held-out photographs over AWGN at CBR 1/24, a row each at 0
and 10 dB: the original, the posterior mean, a sample, ADJSCC's picture. --perceptual FOLDER adds the ADJSCC trained on LPIPS.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from semdiff import Key
from semdiff.atomic import write_atomically
from semdiff.baselines import ADJSCC, PerceptualADJSCC
from semdiff.data.pictures import middle, to_picture
from semdiff.evaluation.images import load_images
from semdiff.link import SemanticLink

PHOTOGRAPHS, SNRS_DB, CBR, SIDE = (1, 6, 10), (0.0, 10.0), 1 / 24, 240


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--perceptual", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/photos.jpg"))
    options = parser.parse_args()
    images = load_images("photos").images[list(PHOTOGRAPHS)]
    link = SemanticLink.default("photos")
    baselines = [ADJSCC.default("photos"), *([PerceptualADJSCC.load(options.perceptual)] if options.perceptual else [])]
    columns = {}
    for snr_db in SNRS_DB:
        sent = [link.transmit(images, snr_db, CBR, steps="auto", realism=r, key=Key(0)).images for r in (0.0, 1.0)]
        sent += [baseline.transmit(images, snr_db, CBR, key=Key(0)).images for baseline in baselines]
        columns[snr_db] = [images, *sent]
    parts = {snr_db: [middle(c, SIDE, SIDE) for c in shown] for snr_db, shown in columns.items()}
    rows = [torch.cat([part[i] for part in parts[snr_db]], 2) for i in range(len(images)) for snr_db in SNRS_DB]
    sheet = to_picture((torch.cat(rows, 1) * 255).round().to(torch.uint8))
    write_atomically(options.out, lambda file: sheet.save(file, "JPEG", quality=88))


if __name__ == "__main__":
    main()

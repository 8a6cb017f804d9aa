# SPDX-License-Identifier: Apache-2.0
"""A sheet of samples that nobody selected: the first test images, and what receivers make of the same symbols at 0 dB.

python -m studies.diffusion_pictures MODEL writes docs/results/diffusion.png. MODEL is the folder of a `PixelLink` for Fashion-MNIST.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from semdiff import AWGN, Key
from semdiff.baselines import ADJSCC, PerceptualADJSCC
from semdiff.cli.picture_files import save_png
from semdiff.data import fashion_mnist
from semdiff.data.fashion_mnist import CLASSES
from semdiff.data.sheet import Band, draw_sheet
from semdiff.link import PixelLink

SNR_DB, CBR, COUNT, SAMPLES, STEPS = 0.0, 64 / 784, 12, 4, 8


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.diffusion_pictures", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/results/diffusion.png"))
    options = parser.parse_args()
    images, labels = fashion_mnist("test")
    images = images[:COUNT]
    link = PixelLink.from_pretrained(options.model)
    heard = link.equalize_and_upsample(AWGN()(link.send(images, SNR_DB, cbr=CBR), SNR_DB, Key(0)), key=Key(0))
    bands = [
        Band("original", images),
        Band("ADJSCC", ADJSCC.default().transmit(images, SNR_DB, cbr=CBR, key=Key(0)).images, first=True),
        Band("ADJSCC, trained\non LPIPS as well", PerceptualADJSCC.default().transmit(images, SNR_DB, cbr=CBR, key=Key(0)).images),
        Band("the link's mean,\n0 evaluations", link.denoise_and_decode(heard, realism=0.0)[0], first=True),
        Band("a sample,\n1 evaluation", link.denoise_and_decode(heard, steps=1, solver="ddim", key=Key(0))[0]),
    ]
    for i in range(SAMPLES):
        sample = link.denoise_and_decode(heard, steps=STEPS, solver="ddim", key=Key(i))[0]
        bands.append(Band(f"sample {i + 1},\n{STEPS} evaluations", sample, first=i == 0))
    save_png(draw_sheet(bands, [CLASSES[label] for label in labels[:COUNT]]), options.out)


if __name__ == "__main__":
    main()

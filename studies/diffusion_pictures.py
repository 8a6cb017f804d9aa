# SPDX-License-Identifier: Apache-2.0
"""A sheet of samples that nobody selected: the first test images, and what receivers make of the same symbols at 0 dB.

python -m studies.diffusion_pictures MODEL writes docs/results/diffusion.png of a `PixelLink` for Fashion-MNIST, diffusion_cifar10.png of
one for CIFAR-10. MODEL is its name in the package or a folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from semdiff import AWGN, Key
from semdiff.cli.picture_files import save_png
from semdiff.data.sheet import Band, draw_sheet
from semdiff.link import PixelLink
from studies.pixel_data import data_of

SNR_DB, COUNT, SAMPLES, STEPS = 0.0, 12, 4, 8


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.diffusion_pictures", description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    link = PixelLink.from_pretrained(options.model)
    data = data_of(link)
    images, labels = data.test_images(COUNT)
    cbr = data.cbr(data.uses[0])
    heard = link.equalize_and_upsample(AWGN()(link.send(images, SNR_DB, cbr=cbr), SNR_DB, Key(0)), key=Key(0))
    bands = [Band("original", images)]
    for i, (name, code) in enumerate(data.codes().items()):
        bands.append(Band(name, code.transmit(images, SNR_DB, cbr=cbr, key=Key(0)).images, first=i == 0))
    bands += [
        Band("the link's mean,\n0 evaluations", link.denoise_and_decode(heard, realism=0.0)[0], first=True),
        Band("a sample,\n1 evaluation", link.denoise_and_decode(heard, steps=1, solver="ddim", key=Key(0))[0]),
    ]
    for i in range(SAMPLES):
        sample = link.denoise_and_decode(heard, steps=STEPS, solver="ddim", key=Key(i))[0]
        bands.append(Band(f"sample {i + 1},\n{STEPS} evaluations", sample, first=i == 0))
    save_png(draw_sheet(bands, [data.classes[label] for label in labels]), options.out / f"diffusion{data.suffix}.png")


if __name__ == "__main__":
    main()

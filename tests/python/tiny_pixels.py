# SPDX-License-Identifier: Apache-2.0
"""A training of a small link on pixels, of four steps a stage: python -m tests.python.tiny_pixels OUT"""

import dataclasses
import sys
from pathlib import Path

from semdiff.data import sample_images
from semdiff.training.engine import Plan
from semdiff.training.recipes import jscc, pixels

PLAN = Plan(steps=4, batch_size=2, learning_rate=1e-3, warm_up=1, optimizer="muon")


def main() -> None:
    recipe = dataclasses.replace(
        pixels.RECIPES["fashion-mnist"], widths=(8, 16), plans={"upsampler": PLAN, "flow": PLAN, "finish": PLAN}, lpips_weight=0.0
    )
    pixels.RECIPES["fashion-mnist"] = recipe
    jscc.PLANS["fashion-mnist"] = (PLAN, PLAN)
    pixels.HELD_OUT = 2
    pixels.PixelTraining.validate = lambda self: []
    pixels.train("fashion-mnist", Path(sys.argv[1]), images=sample_images(), progress=False)


if __name__ == "__main__":
    main()

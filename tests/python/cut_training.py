# SPDX-License-Identifier: Apache-2.0
"""A training of the photograph link that stops itself: python -m tests.python.cut_training OUT CONFIG DATA SECONDS STAGE STEP"""

import itertools
import sys
from pathlib import Path

from semdiff.data import read_folder
from semdiff.training import engine
from semdiff.training.recipes import photos


class Hurried:
    """A clock by which every step is long: a checkpoint follows each."""

    monotonic = itertools.count(0, 100).__next__


def main() -> None:
    out, config, data, seconds, stage, step = sys.argv[1:]

    def stop(*place: object) -> None:
        if place == (stage, int(step)):
            sys.exit("stopped")

    engine.time = Hurried
    pictures = read_folder(data)
    photos.train(Path(out), float(seconds), config=config, pictures=pictures, progress=False, on_step=stop, precision="fp32")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The link on pixels beside learned codes on every test image, over three channels, with the spread over seeds of the channel.

python -m studies.whole_test_set MODEL writes docs/results/whole_test_set.{csv,md} (--name names others) of a `PixelLink` for Fashion-MNIST,
whole_test_set_cifar10.{csv,md} of one for CIFAR-10. MODEL is its name in the package or a folder. All systems take the same channel uses
and, by key, the same noise of the channel. It takes hours; --cells keeps what is finished, so that an interrupted study goes on. --code
NAME=FOLDER adds a learned code, such as one that `python -m semdiff.training.recipes.jscc` trained with a discriminator.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from semdiff._util.words import counted
from semdiff.baselines import DeepJSCC, PerceptualADJSCC, PerceptualResidualJSCC
from semdiff.evaluation import Results, sweep
from semdiff.evaluation.plots import receiver_label
from semdiff.link import PixelLink
from semdiff.models.loading import check_class
from studies.diffusion import FD, METRICS, SNRS_DB, quality
from studies.pixel_data import PixelData, data_of
from studies.writing import table, write_csv, write_lines

STEPS = [1, 2, 4]
CHANNELS = {
    "awgn": ("awgn", "AWGN"),
    "block": ({"name": "rayleigh", "coherence": "block"}, "Block Rayleigh fading"),
    "fast": ({"name": "rayleigh", "coherence": "fast"}, "Fast Rayleigh fading"),
}
AXES = ("system", "realism", "steps", "channel", "cbr_used", "uses", "snr_db", "seeds", "images", "evaluations", "milliseconds")


def quality_and_interval(row: dict[str, Any]) -> str:
    """The row's numbers, with the half width of FD's confidence interval where there are several seeds."""
    interval = row[f"{FD}_ci95"]
    return quality(row) + ("" if interval is None else f" ± {interval:.2f}")


def named_code(text: str) -> tuple[str, DeepJSCC]:
    """A learned code and its name in tables."""
    name, _, folder = text.partition("=")
    kinds = {kind.__name__: kind for kind in (PerceptualADJSCC, PerceptualResidualJSCC)}
    kind = kinds[check_class(Path(folder) / "config.json", list(kinds))["_class_name"]]
    return name, kind.load(folder)


def lines(data: PixelData, every: dict[str, Results]) -> list[str]:
    """The page's text and its tables, one for each channel and number of uses."""
    header = next(iter(every.values())).header
    reference, images = header["references"], header["data"]["shape"][0]
    text = [
        f"# {data.title}, {images:,} test images",
        "",
        "Numbers are PSNR in dB / LPIPS (AlexNet) / accuracy of a classifier / FD, the Fréchet distance of its 64 features from images",
        f"that were not sent, {reference['images']:,} of the training split, with the half width of its 95 % confidence interval over",
        "seeds of the channel and of the sampler where there are several. FD of the originals themselves is "
        f"{reference['originals'][FD]:.2f}. Made by",
        f"`python -m studies.whole_test_set {data.name}`.",
    ]
    for channel, found in every.items():
        rows = found.summary()
        snrs = found.header["config"]["snr_db"]
        text += ["", f"## {CHANNELS[channel][1]}", "", f"{counted(len(found.header['seeds']), 'seed')} of the channel."]
        for uses in dict.fromkeys(row["uses"] for row in rows):
            at = {(receiver_label(row), row["snr_db"]): row for row in rows if row["uses"] == uses}
            names = dict.fromkeys(name for name, _ in at)
            body = [[name, *(quality_and_interval(at[name, snr]) for snr in snrs)] for name in names]
            text += ["", *table([f"CBR 1/{1 / data.cbr(uses):.3g}", *(f"{snr:g} dB" for snr in snrs)], body)]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.whole_test_set", description=__doc__)
    parser.add_argument("model", nargs="?", default="cifar10", help="name or folder of a PixelLink")
    parser.add_argument("--images", type=int, help="the first ones; all if left out")
    parser.add_argument("--uses", type=int, nargs="+", help="channel uses of an image; two of the three that the data set has if left out")
    parser.add_argument("--snr", type=float, nargs="+", default=list(SNRS_DB), help="in dB")
    parser.add_argument("--seeds", type=int, default=3, help="of AWGN; fading has one")
    parser.add_argument("--channels", nargs="+", choices=list(CHANNELS), default=list(CHANNELS))
    parser.add_argument("--code", type=named_code, action="append", default=[], metavar="NAME=FOLDER", help="one more learned code")
    parser.add_argument("--cells", type=Path, help="a folder for what is finished")
    parser.add_argument("--name", default="whole_test_set", help="of the page and its table")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    link = PixelLink.from_pretrained(options.model)
    data = data_of(link)
    systems = {"link": link, **data.codes(), **dict(options.code)}
    every = {
        label: sweep(
            None, options.cells, systems=systems, data=data.name, images=options.images, batch=250,
            channels={label: CHANNELS[label][0]}, seeds=list(range(options.seeds if label == "awgn" else 1)), steps=STEPS,
            realism=[0.0, 1.0], snr_db=options.snr, cbr=[data.cbr(uses) for uses in options.uses or data.uses[-2:]], metrics=METRICS,
            progress=True,
        )
        for label in options.channels
    }  # fmt: skip
    columns = (*AXES, *(f"{metric}{end}" for metric in METRICS for end in ("", "_ci95")))
    rows = [row for found in every.values() for row in found.summary()]
    write_csv(options.out / f"{options.name}{data.suffix}.csv", [{name: row[name] for name in columns} for row in rows])
    write_lines(options.out / f"{options.name}{data.suffix}.md", lines(data, every))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Does diffusion earn its evaluations? The link on pixels by steps, with parts of it taken away, and begun at wrong times.

python -m studies.diffusion MODEL writes docs/results/diffusion.{csv,md}. MODEL is the folder of a `PixelLink` for Fashion-MNIST. Test
images over AWGN, all systems at the same channel uses and, by key, the same noise of the channel. The distance FD of a classifier's
features is from 10,000 training images, which are not sent; the floor is that of the originals themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semdiff import Channel, Key, NoiseSchedule, normal
from semdiff.baselines import ADJSCC, PerceptualADJSCC
from semdiff.diffusion.matching import DiffusionState
from semdiff.evaluation import Results, sweep
from semdiff.link import PixelLink, Transmission
from semdiff.link.pixel_reception import PixelReception
from studies.tables import table, write_csv, write_lines

SNRS_DB, USES = (0.0, 5.0), (64, 32)
FD = "frechet_classifier_unpaired"
METRICS = ["psnr", "lpips_alex", "accuracy", FD]
STEPS = (1, 2, 4, 8, 16, 32)
OFFSETS_DB = (-6.0, -3.0, 3.0, 6.0)


class Altered:
    """The link with another first state, or another denoiser, and the key of its own noise changed where `other_noise` says so."""

    image_shape = (1, 28, 28)

    def __init__(self, link: PixelLink, steps: int = 4, realism: float = 1.0, diffusion: bool = True) -> None:
        self.link, self.steps, self.realism, self.diffusion = link, steps, realism, diffusion

    @property
    def components(self) -> dict[str, Any]:
        """Whose weights the results depend on."""
        return dict(self.link.components)

    def begin(self, heard: PixelReception, key: Key) -> DiffusionState:
        return PixelLink.begin(self.link, heard, key)

    def transmit(
        self, images: Tensor, snr_db: float, cbr: float | None = None, channel: Channel | None = None, key: Key | None = None
    ) -> Transmission:
        self.link.begin = self.begin  # type: ignore[method-assign]
        try:
            return self.link.transmit(
                images, snr_db, cbr, channel, self.steps, self.realism, solver="ddim", diffusion=self.diffusion, key=key
            )
        finally:
            del self.link.begin


class WithoutDenoiser(Altered):
    """Its denoiser gives zero: x_0 is estimated as sqrt(alpha_bar) x_t."""

    def transmit(self, *args: Any, **kwargs: Any) -> Transmission:
        weights = {n: t.clone() for n, t in self.link.unet.state_dict().items()}
        self.link.unet.load_state_dict({n: torch.zeros_like(t) for n, t in weights.items()})
        try:
            return super().transmit(*args, **kwargs)
        finally:
            self.link.unet.load_state_dict(weights)


class AtOtherNoise(Altered):
    """Told that the first state is `offset_db` noisier than it is."""

    def __init__(self, link: PixelLink, offset_db: float) -> None:
        super().__init__(link)
        self.offset_db = offset_db

    def begin(self, heard: PixelReception, key: Key) -> DiffusionState:
        x, t = super().begin(heard, key)
        return at_noise(self.link.schedule, x, t, self.link.schedule.noise_var(t) * 10 ** (self.offset_db / 10))


class AtOneTime(Altered):
    """One t for every image and SNR: that of an error variance of 0.1."""

    def begin(self, heard: PixelReception, key: Key) -> DiffusionState:
        x, t = super().begin(heard, key)
        return at_noise(self.link.schedule, x, t, torch.full_like(t, 0.1))


class AtTheChannelsTime(Altered):
    """The official rule: the schedule's first step at least as noisy as the channel, whatever the receiver's error is."""

    def begin(self, heard: PixelReception, key: Key) -> DiffusionState:
        x, t = super().begin(heard, key)
        schedule = self.link.schedule
        return at_noise(self.link.schedule, x, t, schedule.noise_var(schedule.timestep(heard.noise_var, "ceil")))


class WithoutNoise(Altered):
    """The perceptual estimate with no fresh noise, at the time of its own error and the noise that is not there."""

    def begin(self, heard: PixelReception, key: Key) -> DiffusionState:
        _, t = super().begin(heard, key)
        signal = self.link.schedule.alpha_bar(t).sqrt()
        return DiffusionState(self.link.scale.clamp(heard.perceptual) * signal.to(heard.perceptual)[:, None, None, None], t)


class FromNoiseAlone(Altered):
    """Nothing of what was heard but its SNR and rate: the first state is noise of the variance that it should have."""

    def begin(self, heard: PixelReception, key: Key) -> DiffusionState:
        x, t = super().begin(heard, key)
        return DiffusionState(normal(x.shape, key.fold_in(9), x.dtype), t)


def at_noise(schedule: NoiseSchedule, x: Tensor, t: Tensor, noise_var: Tensor) -> DiffusionState:
    """Say of the same image and noise that they are of another noise variance."""
    later = schedule.timestep(noise_var)
    ratio = (schedule.alpha_bar(later) / schedule.alpha_bar(t)).sqrt()
    return DiffusionState(x * ratio.to(x)[:, None, None, None], later)


def systems(link: PixelLink) -> dict[str, Any]:
    """By the part of the study and the row's name."""
    found: dict[str, Any] = {
        "1 ADJSCC": ADJSCC.default(),
        "1 ADJSCC+LPIPS": PerceptualADJSCC.default(),
        "1 mean (0 evaluations)": Altered(link, realism=0.0),
        "1 perceptual estimate (0 evaluations)": Altered(link, diffusion=False),
    }
    found |= {f"1 sample, {steps} step{'s' if steps > 1 else ''}": Altered(link, steps) for steps in STEPS}
    found |= {
        "3 sample, 4 steps": Altered(link),
        "3 denoiser of zeros": WithoutDenoiser(link),
        "3 no fresh noise": WithoutNoise(link),
        "3 from noise alone": FromNoiseAlone(link),
        "5 t as matched": Altered(link),
    }
    found |= {f"5 t for {offset:+g} dB of noise": AtOtherNoise(link, offset) for offset in OFFSETS_DB}
    return found | {"5 one t for all": AtOneTime(link), "5 t of the channel (`paper`)": AtTheChannelsTime(link)}


TITLES = {
    "1": "Steps, and what they begin with",
    "3": "Is the sample used? (4 steps)",
    "5": "Is the match used? (4 steps)",
}


def at_both(label: str) -> bool:
    """Whether it is measured at every SNR. Many steps and what is altered take long, and the first SNR is enough to tell."""
    return label.startswith("1") and not any(label.endswith(f" {steps} steps") for steps in STEPS if steps > 8)


def lines(found: Results, rows_of: list[dict[str, Any]], labels: list[str]) -> list[str]:
    reference = found.header["references"]
    images = found.header["data"]["shape"][0]
    text = [
        "# Does diffusion earn its evaluations?",
        "",
        f"{images} Fashion-MNIST test images over AWGN, one seed of the channel. Numbers are PSNR in dB / LPIPS (AlexNet) / accuracy of",
        "a classifier / FD, the Fréchet distance of its 64 features from images that were not sent,",
        f"{reference['images']} of the training split. FD of the originals themselves is {reference['originals'][FD]:.2f}, and no receiver",
        "is expected below it. LPIPS is a distance from the image that was sent, so for one transmitter no sampler beats the estimate of",
        "least LPIPS; what steps improve is FD. Steps are DDIM's. –: not measured. Made by `python -m studies.diffusion MODEL`.",
    ]
    for part, title in TITLES.items():
        cbrs = found.header["config"]["cbr"]
        heads = [f"CBR 1/{round(1 / cbr)}, {snr:g} dB" for cbr in cbrs for snr in SNRS_DB]
        rows = []
        for label in labels:
            if label.startswith(part):
                cells = []
                for cbr in cbrs:
                    for snr in SNRS_DB:
                        row = next((r for r in rows_of if (r["system"], r["cbr"], r["snr_db"]) == (label, cbr, snr)), None)
                        cells.append(f"{row['psnr']:.2f} / {row['lpips_alex']:.3f} / {row['accuracy']:.3f} / {row[FD]:.2f}" if row else "–")
                rows.append([label[2:], *cells])
        text += ["", f"## {title}", "", *table(["receiver", *heads], rows)]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.diffusion", description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--uses", type=int, nargs="+", default=USES, help="channel uses of an image, 64 and 32 if left out")
    parser.add_argument("--cells", type=Path, help="a folder for what is finished, so that an interrupted study goes on")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    link = PixelLink.from_pretrained(options.model)
    every, rows = systems(link), []
    for both in (True, False):
        found = sweep(
            None, options.cells, systems={n: s for n, s in every.items() if at_both(n) is both}, data="fashion-mnist",
            images=options.images, batch=250, snr_db=list(SNRS_DB if both else SNRS_DB[:1]), cbr=[uses / 784 for uses in options.uses],
            metrics=METRICS, progress=True,
        )  # fmt: skip
        rows += found.rows
    kept = ("system", "snr_db", "cbr", "images", "t", "evaluations", "milliseconds", *METRICS)
    write_csv(options.out / "diffusion.csv", [{name: row[name] for name in kept} for row in rows])
    write_lines(options.out / "diffusion.md", lines(found, rows, list(every)))


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Does diffusion earn its evaluations? The link on pixels by steps, with parts of it taken away, and begun at wrong times.

python -m studies.diffusion MODEL writes docs/results/diffusion.{csv,md} of a `PixelLink` for Fashion-MNIST, diffusion_cifar10.{csv,md} of
one for CIFAR-10. MODEL is its name in the package or a folder. Test images over AWGN, all systems at the same channel uses and, by key,
the same noise of the channel. The distance FD of a classifier's features is from 10,000 training images, which are not sent; the floor is
that of the originals themselves.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semdiff import AWGN, Channel, Key, NoiseSchedule, normal
from semdiff.diffusion.matching import DiffusionState
from semdiff.evaluation import Results, sweep
from semdiff.link import PixelLink, Transmission
from semdiff.link.pixel_starting_state import PixelReception
from studies.pixel_data import PixelData, data_of
from studies.writing import table, write_csv, write_lines

SNRS_DB, ALTERED_DB = (-5.0, 0.0, 5.0, 10.0), (0.0, 5.0)
FD = "frechet_classifier_unpaired"
METRICS = ["psnr", "lpips_alex", "accuracy", FD]
STEPS = (1, 2, 4, 8, 16, 32)
SPREAD_IMAGES = 250  # at most, of sixteen samples each
OFFSETS_DB = (-6.0, -3.0, 3.0, 6.0)


class Altered:
    """The link with another first state, or another denoiser, and the key of its own noise changed where `other_noise` says so."""

    def __init__(self, link: PixelLink, steps: int = 4, realism: float = 1.0, diffusion: bool = True) -> None:
        self.image_shape = link.image_shape
        self.link, self.steps, self.realism, self.diffusion = link, steps, realism, diffusion

    @property
    def components(self) -> dict[str, Any]:
        """Whose weights the results depend on."""
        return dict(self.link.components)

    def begin(self, reception: PixelReception, key: Key) -> DiffusionState:
        return PixelLink.begin(self.link, reception, key)

    def transmit(
        self, images: Tensor, snr_db: float, cbr: float | None = None, channel: Channel | None = None, key: Key | None = None
    ) -> Transmission:
        self.link.begin = self.begin  # type: ignore[method-assign]
        try:
            return self.link.transmit(
                images, snr_db, cbr=cbr, channel=channel, steps=self.steps, realism=self.realism, solver="ddim", key=key,
                diffusion=self.diffusion,
            )  # fmt: skip
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

    def begin(self, reception: PixelReception, key: Key) -> DiffusionState:
        x, t = super().begin(reception, key)
        return at_noise(self.link.schedule, x, t, self.link.schedule.noise_var(t) * 10 ** (self.offset_db / 10))


class AtOneTime(Altered):
    """One t for every image and SNR: that of an error variance of 0.1."""

    def begin(self, reception: PixelReception, key: Key) -> DiffusionState:
        x, t = super().begin(reception, key)
        return at_noise(self.link.schedule, x, t, torch.full_like(t, 0.1))


class AtTheChannelsTime(Altered):
    """The official rule: the schedule's first step at least as noisy as the channel, whatever the receiver's error is."""

    def begin(self, reception: PixelReception, key: Key) -> DiffusionState:
        x, t = super().begin(reception, key)
        schedule = self.link.schedule
        return at_noise(self.link.schedule, x, t, schedule.noise_var(schedule.timestep(reception.noise_var, "ceil")))


class WithoutNoise(Altered):
    """The perceptual estimate with no fresh noise, at the time of its own error and the noise that is not there."""

    def begin(self, reception: PixelReception, key: Key) -> DiffusionState:
        _, t = super().begin(reception, key)
        signal = self.link.schedule.alpha_bar(t).sqrt()
        return DiffusionState(self.link.scale.clamp(reception.perceptual) * signal.to(reception.perceptual)[:, None, None, None], t)


class OfAnotherImage(Altered):
    """Begun at the perceptual estimate of the next image of the batch."""

    def begin(self, reception: PixelReception, key: Key) -> DiffusionState:
        return super().begin(reception._replace(perceptual=reception.perceptual.roll(1, 0)), key)


class FromNoiseAlone(Altered):
    """Nothing of what was heard but its SNR and rate: the first state is noise of the variance that it should have."""

    def begin(self, reception: PixelReception, key: Key) -> DiffusionState:
        x, t = super().begin(reception, key)
        return DiffusionState(normal(x.shape, key.fold_in(9), x.dtype), t)


def at_noise(schedule: NoiseSchedule, x: Tensor, t: Tensor, noise_var: Tensor) -> DiffusionState:
    """Say of the same image and noise that they are of another noise variance."""
    later = schedule.timestep(noise_var)
    ratio = (schedule.alpha_bar(later) / schedule.alpha_bar(t)).sqrt()
    return DiffusionState(x * ratio.to(x)[:, None, None, None], later)


def systems(link: PixelLink, data: PixelData) -> dict[str, Any]:
    """By the part of the study and the row's name."""
    found: dict[str, Any] = {f"1 {name}": code for name, code in data.codes().items()}
    found |= {
        "1 mean (0 evaluations)": Altered(link, realism=0.0),
        "1 perceptual estimate (0 evaluations)": Altered(link, diffusion=False),
    }
    found |= {f"1 sample, {steps} step{'s' if steps > 1 else ''}": Altered(link, steps) for steps in STEPS}
    found |= {
        "3 sample, 4 steps": Altered(link),
        "3 denoiser of zeros": WithoutDenoiser(link),
        "3 no fresh noise": WithoutNoise(link),
        "3 from the estimate of another image": OfAnotherImage(link),
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


def snrs_of(label: str) -> tuple[float, ...]:
    """Where a row is measured: many steps, and what is altered, at two SNRs, which are enough to tell."""
    many = any(label.endswith(f" {steps} steps") for steps in STEPS if steps > 8)
    return SNRS_DB if label.startswith("1") and not many else ALTERED_DB


@torch.no_grad()
def spread(link: PixelLink, images: Tensor, snr_db: float, cbr: float, samples: int = 16) -> dict[str, float]:
    """How far samples of one reception lie from each other and from what was sent, and how good their average is."""
    found: list[Tensor] = []
    for i, part in enumerate(images.split(250)):
        air, own = Key(0).fold_in(i).split(2)
        heard = link.equalize_and_upsample(AWGN()(link.send(part, snr_db, cbr=cbr), snr_db, air), key=own)
        mean = link.denoise_and_decode(heard, realism=0.0)[0]
        drawn = torch.stack([link.denoise_and_decode(heard, steps=4, key=own.fold_in(j))[0] for j in range(samples)])
        error = lambda x, part=part: (x - part).square().flatten(1).mean(1)  # noqa: E731
        apart = (drawn - drawn.roll(1, 0)).square().flatten(2).mean((0, 2))
        found.append(torch.stack([error(mean), error(drawn[0]), error(drawn.mean(0)), apart], 1))
    of_mean, of_sample, of_average, apart = torch.cat(found).double().mean(0).tolist()
    return {
        "snr_db": snr_db,
        "sample / mean": of_sample / of_mean,
        "apart / sample": apart / of_sample,
        "average / mean": of_average / of_mean,
    }


def quality(row: dict[str, Any]) -> str:
    return f"{row['psnr']:.2f} / {row['lpips_alex']:.3f} / {row['accuracy']:.3f} / {row[FD]:.2f}"


def lines(data: PixelData, found: Results, rows_of: list[dict[str, Any]], labels: list[str], spreads: list[dict[str, float]]) -> list[str]:
    reference = found.header["references"]
    floor = reference["originals"][FD]
    images = found.header["data"]["shape"][0]
    text = [
        "# Does diffusion earn its evaluations?",
        "",
        f"{images:,} {data.title} test images over AWGN, one seed of the channel. Numbers are PSNR in dB / LPIPS (AlexNet) / accuracy of",
        "a classifier / FD, the Fréchet distance of its 64 features from images that were not sent,",
        f"{reference['images']:,} of the training split. FD of the originals themselves is {floor:.2f}, and no receiver",
        "is expected below it. LPIPS is a distance from the image that was sent; what steps improve is FD. Steps are DDIM's.",
        f"–: not measured. Made by `python -m studies.diffusion {data.name}`.",
        "",
        f"{data.shared}, the link's mean and its samples share a transmitter: they are three receivers of the same symbols.",
    ]
    for part, title in TITLES.items():
        text += ["", f"## {title}"]
        for cbr in found.header["config"]["cbr"]:
            columns = SNRS_DB if part == "1" else ALTERED_DB
            rows = []
            for label in labels:
                if label.startswith(part):
                    cells = []
                    for snr in columns:
                        at = label, cbr, snr
                        row = next((r for r in rows_of if (r["system"], r["cbr"], r["snr_db"]) == at), None)
                        cells.append(quality(row) if row else "–")
                    rows.append([label[2:], *cells])
            text += ["", *table([f"CBR 1/{1 / cbr:.3g}", *(f"{snr:g} dB" for snr in columns)], rows)]
    text += [
        "",
        "## How far do samples spread?",
        "",
        f"Sixteen samples of each reception, 4 steps, of {min(images, SPREAD_IMAGES)} images: squared error of a sample in parts of the",
        "mean's; squared distance of two samples in parts of a sample's error; error of their average in parts of the mean's. Samples of",
        "the true posterior have 2, 1 and 1.06.",
        "",
        *table(
            ["SNR", *list(spreads[0])[1:]],
            [[f"{s['snr_db']:g} dB", *(f"{value:.2f}" for name, value in s.items() if name != "snr_db")] for s in spreads],
        ),
    ]
    return text


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.diffusion", description=__doc__)
    parser.add_argument("model", nargs="?", default="fashion-mnist", help="name or folder of a PixelLink")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--uses", type=int, nargs="+", help="channel uses of an image; 64 and 32, for CIFAR-10 512, 256, 128 if left out")
    parser.add_argument("--cells", type=Path, help="a folder for what is finished, so that an interrupted study goes on")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    link = PixelLink.from_pretrained(options.model)
    data = data_of(link)
    cbrs = [data.cbr(uses) for uses in options.uses or data.uses]
    every, rows = systems(link, data), []
    for snrs_db in (SNRS_DB, ALTERED_DB):
        found = sweep(
            None, options.cells, systems={n: s for n, s in every.items() if snrs_of(n) == snrs_db}, data=data.name,
            images=options.images, batch=250, snr_db=list(snrs_db), cbr=cbrs, metrics=METRICS, progress=True,
        )  # fmt: skip
        rows += found.rows
    kept = ("system", "snr_db", "cbr", "images", "t", "evaluations", "milliseconds", *METRICS)
    write_csv(options.out / f"diffusion{data.suffix}.csv", [{name: row[name] for name in kept} for row in rows])
    images, _ = data.test_images(min(options.images, SPREAD_IMAGES))
    spreads = [spread(link, images, snr_db, cbrs[0]) for snr_db in ALTERED_DB]
    write_lines(options.out / f"diffusion{data.suffix}.md", lines(data, found, rows, list(every), spreads))


if __name__ == "__main__":
    main()

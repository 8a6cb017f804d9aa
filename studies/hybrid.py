# SPDX-License-Identifier: Apache-2.0
"""Measure the networks behind a hybrid digital-analog code: the hybrid link beside the photograph link and AVIF at the same channel uses.

python -m studies.hybrid FOLDER measures the `HybridLink` of FOLDER and writes docs/results/hybrid.{csv,md}: PSNR and LPIPS over AWGN at
CBR 1/24, of Kodak's 24 pictures and of the middle 768x512 pixels, at full resolution, of the 20 held-out photographs of semdiff-photos
with more than a megapixel. AVIF everywhere, the noise of one seed. `--cells FOLDER` keeps what is received and what is measured, so that
a second run goes on; `--set` measures one set only.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from semdiff import Key
from semdiff._util.atomic import write_atomically
from semdiff._util.child_keys import DENOISER
from semdiff._util.tensor_files import load_tensors, save_tensors
from semdiff.baselines import Digital, Hybrid
from semdiff.baselines.hybrid_link import HybridLink
from semdiff.baselines.hybrid_reception import HybridReception
from semdiff.data.kodak import kodak
from semdiff.data.pictures import middle as middle_square
from semdiff.data.sheet import Band, draw_sheet
from semdiff.link import SemanticLink
from semdiff.metrics import kid_patches, lpips, psnr
from semdiff.models.restorer import Restored
from semdiff.models.store import files_digest
from semdiff.training.recipes.hybrid import CODEC, SHARE
from semdiff.transmission.transmitter import Decoded
from studies.photos_bandwidth import large_pictures, middle
from studies.writing import table, write_csv, write_lines

OUT = Path(__file__).parents[1] / "docs" / "results"
CBR, KEY, SNRS = 1 / 24, Key(0), (1.0, 5.0, 10.0)
MIDDLE = (512, 768)  # pixels
STEPS = (1, 4)
METRICS = ("psnr", "lpips_alex", "lpips_vgg")
VGG_SNR, VGG_EVERY = 5.0, 3  # VGG takes 11 s a picture on one core, so every third of Kodak's at one SNR
SHOWN, SIDE = 6, 200
COLUMNS = {
    "AVIF, LDPC, QAM": "AVIF, LDPC, QAM",
    "photos, detail decoder": "photograph link, detail decoder",
    "hybrid, mean": "hybrid link, mean",
    "hybrid, perceptual": "hybrid link, perceptual estimate",
    "hybrid, 4 steps": "hybrid link, sample, 4 steps",
}
TITLES = {"kodak": "Kodak", "large": "Large photographs"}

TEXT = """
# Networks behind a hybrid code

`semdiff.baselines.HybridLink` beside the photograph link and AVIF behind LDPC and QAM, at the same channel uses: CBR 1/24 over AWGN of an
SNR that both ends know, one seed. PSNR in dB / LPIPS (AlexNet), on which the detail decoder, the perceptual estimate and the denoiser were
trained. The detail decoder saw LPIPS (VGG) too, in a part of its training, the others did not. Kodak's 24 pictures are whole. Large
photographs are the middle 768x512 pixels, at full resolution, of those held out of semdiff-photos that have more than a megapixel.
`python -m studies.hybrid FOLDER` computes, hybrid.csv beside this has each picture.

The hybrid code sends AVIF's picture on 0.85 of the uses and, unquantised, the strongest cosine coefficients of what it lacks on the
others. Its receiver knows how wrong the linear estimate is in every cell of 16x16 pixels. The link's networks start there: one for the
mean, one for the perceptual estimate, and a denoiser, whose samples begin at that estimate. The repository's weights,
`HybridLink.default("photos")`, have no denoiser. Samples of one that was trained on 18,000 crops are no better than the estimate, below
(`python -m semdiff.training.recipes.hybrid --stages denoiser --budget 0.25`).
"""
KID_SYSTEMS = ("originals", *list(COLUMNS.values())[:2], *list(COLUMNS.values())[3:])
KID_TEXT = """
1000 KID of patches of 144x144 pixels, 15 of each picture, to those of the large photographs, and its standard error. It looks at the
pictures alone, not at what was sent.
"""


class Received(NamedTuple):
    """Hold what arrives of one picture: through AVIF alone, and through the hybrid code, as in `HybridReception`."""

    digital: Tensor
    base: Tensor
    picture: Tensor
    error_maps: Tensor


class Receiver(Hybrid):
    """The hybrid code of the recipe; it keeps the reception of the last picture."""

    last: HybridReception

    def __init__(self) -> None:
        super().__init__(SHARE, codec=CODEC)

    def show(self, reception: HybridReception, *options: object) -> Decoded:
        self.last = reception
        return super().show(reception, *options)  # type: ignore[arg-type]


def pictures(of: str) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    """The names and the pixels in [0, 1] of a set, (3, 512, 768); Kodak's upright pictures are turned."""
    if of == "kodak":
        for name, pixels in kodak().items():
            yield name, lambda p=pixels: (p if p.shape[1] < p.shape[2] else p.rot90(1, (1, 2))).float() / 255  # type: ignore[misc]
        return
    for name, read in large_pictures():
        yield name, lambda r=read: middle(r, MIDDLE).float() / 255  # type: ignore[misc]


def receive(image: Tensor, snr_db: float, place: Path) -> Received:
    """Send a picture, or read what arrived of it."""
    if not place.exists():
        code = Receiver()
        code.transmit(image[None], snr_db, cbr=CBR, key=KEY)
        digital = Digital(CODEC).transmit(image[None], snr_db, cbr=CBR, key=KEY).images
        arrived = Received(digital, code.last.base, code.last.picture, code.last.error_maps())
        save_tensors(place, arrived._asdict(), {})
    found = load_tensors(place)[0]
    return Received(*(found[name] for name in Received._fields))


def pictures_of_others(photo_link: SemanticLink, image: Tensor, snr_db: float, received: Received) -> Iterator[tuple[str, Tensor]]:
    """Yield the pictures of the systems without the hybrid link's networks."""
    yield "AVIF, LDPC, QAM", received.digital
    for name, realism in (("mean", 0.0), ("detail", 1.0)):
        yield f"photograph link, {name} decoder", photo_link.transmit(image[None], snr_db, cbr=CBR, realism=realism, key=KEY).images
    yield "hybrid code, linear estimate", received.picture


def pictures_of_link(link: HybridLink, received: Received) -> Iterator[tuple[str, Tensor]]:
    """Yield the pictures of the hybrid link's networks."""
    known = received.base, received.picture, received.error_maps
    yield "hybrid link, mean", link.restorer(*known).mean
    if link.perceptual is None:
        return
    perceptual: Restored = link.perceptual(*known)
    yield "hybrid link, perceptual estimate", perceptual.mean
    if link.denoiser is None:
        return
    for steps in STEPS:
        picture = link.draw(perceptual, link.denoiser, steps, KEY.fold_in(DENOISER))
        yield f"hybrid link, sample, {steps} step{'s' * (steps > 1)}", picture


def measure(shown: Iterable[tuple[str, Tensor]], image: Tensor, vgg: bool) -> dict[str, dict[str, float]]:
    found = {}
    for name, picture in shown:
        x, y = picture.clamp(0, 1), image[None]
        found[name] = {"psnr": float(psnr(x, y)), "lpips_alex": float(lpips(x, y))}
        if vgg:
            found[name]["lpips_vgg"] = float(lpips(x, y, net="vgg"))
    return found


def kept(place: Path, make: Callable[[], dict[str, dict[str, float]]]) -> dict[str, dict[str, float]]:
    """Read a JSON file, or make it where it is not there."""
    if not place.exists():
        write_atomically(place, json.dumps(make()).encode())
    return json.loads(place.read_text("utf-8"))  # type: ignore[no-any-return]


def rows(of: str, cells: Path, link: HybridLink | None, digest: str) -> list[dict[str, str]]:
    """Measure a set, or read what is measured of it."""
    photo_link, found = SemanticLink.default("photos"), []
    for n, (name, read) in enumerate(tqdm(list(pictures(of)), desc=TITLES[of])):
        image = read()
        for snr_db in SNRS:
            place = cells / f"{of}-{name.replace('/', '-')}-{snr_db:g}"
            vgg = of == "kodak" and snr_db == VGG_SNR and n % VGG_EVERY == 0
            received = receive(image, snr_db, place.with_name(f"{place.name}.safetensors"))
            others = partial(pictures_of_others, photo_link, image, snr_db, received)
            values = kept(place.with_name(f"{place.name}.json"), lambda o=others, i=image, v=vgg: measure(o(), i, v))  # type: ignore[misc]
            if link is not None:
                ours = partial(pictures_of_link, link, received)
                known = place.with_name(f"{place.name}-{digest}.json")
                values |= kept(known, lambda o=ours, i=image, v=vgg: measure(o(), i, v))  # type: ignore[misc]
            for system, measured in values.items():
                numbers = {k: f"{measured[k]:.4f}" if k in measured else "" for k in METRICS}
                found.append({"set": of, "picture": name, "snr_db": f"{snr_db:g}", "system": system, **numbers})
    return found


def number(found: list[dict[str, str]], of: str, snr_db: float, system: str) -> str:
    here = [r for r in found if (r["set"], float(r["snr_db"]), r["system"]) == (of, snr_db, system)]
    psnr_db, alex = (statistics.mean(float(r[k]) for r in here) for k in METRICS[:2])
    return f"{psnr_db:.2f} / {alex:.3f}"


def vgg_number(found: list[dict[str, str]], system: str) -> str:
    return f"{statistics.mean(float(r['lpips_vgg']) for r in found if r['system'] == system and r['lpips_vgg']):.3f}"


def patch_distances(cells: Path, link: HybridLink) -> dict[str, dict[str, float]]:
    """KID of patches of Kodak's pictures at one SNR to those of large photographs, which are others, and its standard error, by system."""
    photo_link, found = SemanticLink.default("photos"), {}
    for name, read in pictures("kodak"):
        image = read()
        received = receive(image, VGG_SNR, cells / f"kodak-{name}-{VGG_SNR:g}.safetensors")
        shown = [("originals", image[None]), *pictures_of_others(photo_link, image, VGG_SNR, received), *pictures_of_link(link, received)]
        for system, picture in shown:
            if system in KID_SYSTEMS:
                found.setdefault(system, []).append(picture.clamp(0, 1))
    references = torch.stack([read() for _, read in pictures("large")])
    scores = {system: kid_patches(torch.cat(images), references) for system, images in found.items()}
    return {system: {"kid": score.value, "kid_error": score.standard_error or 0.0} for system, score in scores.items()}


def page(found: list[dict[str, str]], kids: dict[str, dict[str, float]]) -> list[str]:
    text = TEXT.strip().splitlines()
    for of, title in TITLES.items():
        systems = list(dict.fromkeys(r["system"] for r in found if r["set"] == of))
        n = len({r["picture"] for r in found if r["set"] == of})
        body = [[system, *(number(found, of, snr, system) for snr in SNRS)] for system in systems]
        head = [f"{title}, N = {n}", *(f"{snr:g} dB" for snr in SNRS)]
        if of == "kodak":
            head.append(f"LPIPS (VGG), {VGG_SNR:g} dB, N = {n // VGG_EVERY}")
            body = [[*line, vgg_number(found, line[0])] for line in body]
        text += ["", *table(head, body)]
    values = [[system, f"{1000 * v['kid']:.1f} ± {1000 * v['kid_error']:.1f}"] for system, v in kids.items()]
    text += ["", *KID_TEXT.strip().splitlines(), "", *table(["Kodak's 24", f"{VGG_SNR:g} dB"], values)]
    shown = ", ".join(name for name, _ in list(pictures("kodak"))[::SHOWN])
    return [*text, "", f"![Middles of {shown} at {SNRS[0]:g} and {SNRS[1]:g} dB, by every system](hybrid.jpg)"]


def draw(cells: Path, link: HybridLink) -> None:
    """The middles of every SHOWN-th picture of Kodak, by some systems."""
    photo_link, bands = SemanticLink.default("photos"), []
    for name, read in list(pictures("kodak"))[::SHOWN]:
        image = read()
        for snr_db in SNRS[:2]:
            received = receive(image, snr_db, cells / f"kodak-{name}-{snr_db:g}.safetensors")
            found = dict(pictures_of_others(photo_link, image, snr_db, received)) | dict(pictures_of_link(link, received))
            columns = {label: found[system].clamp(0, 1) for label, system in COLUMNS.items() if system in found}
            values = [f"{float(psnr(x, image[None])):.1f}" for x in columns.values()]
            words = [name, f"{snr_db:g} dB", "PSNR, dB:", *(" ".join(values[k : k + 3]) for k in range(0, len(values), 3))]
            parts = torch.stack([middle_square(x, SIDE, SIDE) for x in (image, *(x[0] for x in columns.values()))])
            bands.append(Band("\n".join(words), parts, first=snr_db == SNRS[0]))
    sheet = draw_sheet(bands, ["original", *columns])
    write_atomically(OUT / "hybrid.jpg", lambda file: sheet.save(file, "JPEG", quality=82))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="of a HybridLink; without it all else is measured, and kept")
    parser.add_argument("--cells", type=Path, default=Path("build/hybrid"))
    parser.add_argument("--set", choices=TITLES, action="append")
    options = parser.parse_args()
    options.cells.mkdir(parents=True, exist_ok=True)
    link = None if options.folder is None else HybridLink.load(options.folder)
    digest = "" if options.folder is None else files_digest(options.folder)[:12]
    found = [row for of in options.set or TITLES for row in rows(of, options.cells, link, digest)]
    if link is not None and not options.set:
        write_csv(OUT / "hybrid.csv", found)
        kids = kept(options.cells / f"kid-{digest}.json", lambda: patch_distances(options.cells, link))
        write_lines(OUT / "hybrid.md", page(found, kids))
        draw(options.cells, link)


if __name__ == "__main__":
    main()

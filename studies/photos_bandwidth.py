# SPDX-License-Identifier: Apache-2.0
"""Where the photograph link's bandwidth should go: content-adaptive symbols, coarser cells, and a coded base layer, at equal channel uses.

python -m studies.photos_bandwidth writes docs/results/photos_bandwidth.{csv,md,png}: PSNR over AWGN at CBR 1/24 of the middle 384x256
pixels, of every third picture of Kodak, and of two in five of the 20 held-out photographs of semdiff-photos with more than a megapixel,
at full resolution; of one in five of these whole, at one SNR; and what becomes of a wrong SNR. AVIF everywhere, the noise of one seed.
`--cells FOLDER` keeps what is measured, so that a second run goes on; `--set` measures one set only.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff import AWGN, Key
from semdiff._util.atomic import write_atomically
from semdiff.baselines import Capacity, Digital, Hybrid
from semdiff.baselines.residual import CLASSES, allocate, analyze
from semdiff.data.kodak import kodak
from semdiff.data.photos import Photo, photo_folder, photo_list
from semdiff.data.pictures import read_picture
from semdiff.data.rcc import read_rcc
from semdiff.link import SemanticLink
from studies import cell_rates
from studies.writing import table, write_csv, write_lines

OUT = Path(__file__).parents[1] / "docs" / "results"
CBR, KEY = 1 / 24, Key(0)
MADE_FOR = 5.0  # dB, what the sender believes while the channel is another
SNRS = {"kodak": (1.0, 5.0, 10.0), "large": (1.0, 5.0, 10.0), "whole": (5.0,), "beside": (2.0, 4.0, 5.0, 7.0, 10.0, 20.0)}
CHANNELS = 64  # symbol channels of a cell at this CBR
LARGE, MIDDLE = 10**6, (256, 384)  # pixels, and how many are sent
OFFERS = (32, 64, 128)
SYSTEMS = {
    "link": "link",
    "link, map, oracle": "link, symbols by cell, errors known",
    "link, map": "link, symbols by cell, errors simulated by the sender, map charged",
    "link, half size": "link, half the width and height, the symbols twice",
    "base + link": "AVIF base (half of the uses) + link, mixed by cell, errors known",
    "base + link's residual": "AVIF base (half) + residual through the link's networks, untrained",
    "hybrid, bound": "AVIF base (0.7) + linear residual, all variances known",
    "hybrid 0.7": "hybrid, share 0.7",
    "hybrid 0.85": "hybrid, share 0.85",
    "hybrid 0.7, margin 2 dB": "hybrid, share 0.7, margin 2 dB",
    "digital": "AVIF, LDPC, QAM",
    "capacity": "AVIF at capacity",
}

TEXT = """
# Where a photograph's bandwidth should go

The photograph link gives each cell of 16x16 pixels the same number of symbols. This compares it with other divisions of the same channel
uses, at CBR 1/24 over AWGN of a known SNR, one seed: PSNR in dB, and in brackets how far it is above the link's mean picture, with the
standard deviation over pictures. Pictures are the middle 384x256 pixels of N pictures, of Kodak, and of held-out photographs of
semdiff-photos that have more than a megapixel, at full resolution (a photograph's middle is what it shows; its sides are smoother).
The codec is AVIF. `python -m studies.photos_bandwidth` computes; photos_bandwidth.csv beside this has each picture.

- *Symbols by cell*: 32, 64 or 128 symbol channels for each cell, told to the networks, which were trained on one number for all cells, by
  FiLM that differs from cell to cell. Errors known: the sender knows each cell's error at each number under this very noise. Simulated:
  it runs the receiver on noise of its own, and the map's conditional entropy is charged at a code for 3 dB less.
- *Half the width and height*: 128 channels for each cell of the smaller picture take half of the uses; all is sent twice.
- *AVIF base + link*: half of the uses for the codec, half for the link at 32 channels. Mixed: by each cell's errors, which are taken
  as known. Residual: the difference of the networks' features of picture and base is sent, and what the receiver makes of it is added.
- *Hybrid* is `semdiff.baselines.Hybrid`, as it is: a share of the uses for AVIF, LDPC and QAM, the others for the strongest coefficients of
  the codec's error. Margin: the code is chosen for an SNR 2 dB lower. *All variances known* is its bound: eight classes by the residual's
  own energy, each with the variance of every coefficient, at no cost.

The last table is of a sender that takes the SNR for 5 dB while the channel is another, which the receiver knows. A packet that is lost
leaves grey.
"""


TITLES = {
    "kodak": "Kodak",
    "large": "Large photographs",
    "whole": "Large photographs, whole",
    "beside": f"Kodak, made for {MADE_FOR:g} dB, the channel at",
}


def large_pictures() -> list[tuple[str, Callable[[], Tensor]]]:
    """The held-out photographs of more than LARGE pixels, as they lie in the packages, without those of libjxl-testdata."""
    found = [p for p in photo_list() if p.split == "test" and p.width * p.height > LARGE and p.package != "libjxl-testdata"]
    return [(photo.name, partial(read_large, photo)) for photo in found]


def read_large(photo: Photo) -> Tensor:
    """A photograph of the set at its full size."""
    place = photo_folder() / photo.file
    content = bytes(read_rcc(place)[photo.inside]) if photo.inside else place.read_bytes()
    return read_picture(content, name=photo.name)


def pictures(name: str) -> list[tuple[str, Callable[[], Tensor]]]:
    """The pictures of a set, by name."""
    if name == "whole":
        return large_pictures()[::5]
    if name == "beside":
        return pictures("kodak")[::2]
    if name == "large":
        return [(n, partial(middle, read)) for i, (n, read) in enumerate(large_pictures()) if i % 5 in (0, 2)]
    return [(n, partial(middle, lambda p=p: p)) for n, p in list(kodak().items())[::3]]  # type: ignore[misc]


def middle(read: Callable[[], Tensor], size: tuple[int, int] = MIDDLE) -> Tensor:
    """The middle of a picture, of this height and width."""
    pixels = read()
    top, left = ((n - m) // 2 for n, m in zip(pixels.shape[1:], size, strict=True))
    return pixels[:, top : top + size[0], left : left + size[1]]


def psnr(picture: Tensor, image: Tensor) -> float:
    return float(-10 * (picture.clamp(0, 1) - image).square().mean().log10())


def cell_errors(picture: Tensor, image: Tensor) -> Tensor:
    """The squared error of each cell, (h, w)."""
    error = (picture - image).square().mean(0)
    height, width = (-(-n // 16) * 16 for n in error.shape)
    padded = F.pad(error, (0, width - error.shape[1], 0, height - error.shape[0]))
    return F.avg_pool2d(padded[None, None], 16)[0, 0]


def adaptive(link: SemanticLink, image: Tensor, snr_db: float) -> dict[str, float]:
    """The link with symbols by cell, by errors that are known, and by those that the sender finds with noise of its own."""
    _, h, w = link.layout((image.shape[1], image.shape[2])).symbols
    levels, found = torch.tensor(OFFERS, dtype=torch.float32), {}
    for name, key in (("link, map, oracle", KEY), ("link, map", Key(7))):
        flat = [cell_rates.transmit(link, image, snr_db, torch.full((h, w), float(n)), key) for n in OFFERS]
        errors, average = torch.stack([cell_errors(picture, image) for picture in flat]), float(CHANNELS)
        if key != KEY:
            bits = cell_rates.entropy_bits(cell_rates.allocate(errors, levels, average))
            scheme = Digital("avif").scheme(h * w * CHANNELS // 2, snr_db - 3)  # the map must arrive where all else suffers
            average -= 2 * bits / scheme.efficiency / (h * w)
        channels = cell_rates.allocate(errors, levels, average)
        found[name] = psnr(cell_rates.transmit(link, image, snr_db, channels, KEY), image)
    return found


def half_size(link: SemanticLink, image: Tensor, snr_db: float) -> float:
    """A picture of half the size takes half of the uses at the link's largest rate; sent twice, it is heard 3 dB better."""
    small = F.interpolate(image[None], scale_factor=0.5, mode="area")[0]
    _, h, w = link.layout((small.shape[1], small.shape[2])).symbols
    received = cell_rates.transmit(link, small, snr_db + 3, torch.full((h, w), 128.0), KEY)
    return psnr(F.interpolate(received[None], image.shape[1:], mode="bicubic", align_corners=False)[0], image)


def base_picture(image: Tensor, snr_db: float, share: float) -> Tensor:
    """The codec's picture at a share of the uses."""
    uses = round(CBR * image.numel() * share)
    return Digital("avif").transmit(image[None], snr_db, cbr=uses / image.numel(), key=KEY).images[0]


def beside_a_base(link: SemanticLink, image: Tensor, snr_db: float) -> dict[str, float]:
    """The link at half of the uses beside a base picture at the other half: mixed with it, or carrying what it lacks."""
    base, size = base_picture(image, snr_db, 0.5), (image.shape[1], image.shape[2])
    _, h, w = link.layout(size).symbols
    channels = torch.full((h, w), CHANNELS / 2)
    alone = cell_rates.transmit(link, image, snr_db, channels, KEY)
    ours, theirs = cell_errors(alone, image), cell_errors(base, image)
    weight = F.interpolate((theirs / (ours + theirs))[None, None], scale_factor=16, mode="nearest")[0][:, : size[0], : size[1]]
    told = snr_db + 6  # the residual's features are fainter than the picture's, and so heard better
    (of_image, sent), (of_base, _) = (cell_rates.features(link, p, told, channels) for p in (image, base))
    difference = (of_image - of_base) * sent
    arrived, noise_var = cell_rates.over_the_air(difference, sent, snr_db, KEY)
    variance = difference.square().mean((2, 3), keepdim=True)
    heard = of_base * sent + arrived * variance / (variance + noise_var)
    with_it, without = (cell_rates.receive(link, x, channels, max(noise_var, 1e-3), size) for x in (heard, of_base * sent))
    return {
        "base + link": psnr(weight * alone + (1 - weight) * base, image),
        "base + link's residual": psnr(base + with_it - without, image),
    }


def bound(image: Tensor, snr_db: float, share: float) -> float:
    """The linear residual of least error where each class's variances are known at no cost and the classes follow the residual's energy."""
    residual = analyze(image - base_picture(image, snr_db, share))
    order = residual.square().sum((1, 2, 3)).argsort(stable=True)
    groups = order.chunk(CLASSES)
    variances = torch.stack([residual[g].double().square().mean(0) for g in groups])
    counts = torch.tensor([len(g) for g in groups]).double()[:, None, None, None].expand_as(variances)
    noise_var, slots = 10 ** (-snr_db / 10), 2 * round(CBR * image.numel() * (1 - share))
    power = allocate(variances, counts, slots, noise_var).square()
    error = (counts * variances * noise_var / (power * variances + noise_var)).sum()
    return float(-10 * (error / residual.numel()).log10())


def measure(link: SemanticLink, image: Tensor, snr_db: float) -> dict[str, float]:
    """PSNR in dB of each system."""

    def sent(system: Capacity | Digital | Hybrid) -> float:
        return psnr(system.transmit(image[None], snr_db, cbr=CBR, key=KEY).images[0], image)

    found = {"digital": sent(Digital("avif")), "capacity": sent(Capacity("avif"))}
    hybrids = {"hybrid 0.7": (0.7, 0.0), "hybrid 0.85": (0.85, 0.0), "hybrid 0.7, margin 2 dB": (0.7, 2.0)}
    found |= {name: sent(Hybrid(*how, codec="avif")) for name, how in hybrids.items()}
    found["hybrid, bound"] = bound(image, snr_db, 0.7)
    found["link"] = psnr(link.transmit(image[None], snr_db, cbr=CBR, realism=0.0, key=KEY).images[0], image)
    with cell_rates.film_by_cell():
        found |= adaptive(link, image, snr_db) | {"link, half size": half_size(link, image, snr_db)} | beside_a_base(link, image, snr_db)
    return found


def measure_whole(link: SemanticLink, image: Tensor, snr_db: float) -> dict[str, float]:
    """PSNR in dB of the systems that are measured on whole pictures."""
    systems = {"digital": Digital("avif"), "hybrid 0.7": Hybrid(0.7, codec="avif")}
    found = {name: psnr(system.transmit(image[None], snr_db, cbr=CBR, key=KEY).images[0], image) for name, system in systems.items()}
    return found | {"link": psnr(link.transmit(image[None], snr_db, cbr=CBR, realism=0.0, key=KEY).images[0], image)}


def measure_beside(link: SemanticLink, image: Tensor, snr_db: float) -> dict[str, float]:
    """PSNR in dB at an SNR of the channel where the sender takes it for MADE_FOR."""
    size = (image.shape[1], image.shape[2])
    received = AWGN()(link.send(image[None], MADE_FOR, cbr=CBR), snr_db, KEY)
    heard = link.receive(received.y, received.noise_var[:, 0], received.h[:, 0], realism=0.0, size=size)[0]
    systems = {
        "hybrid 0.7": Hybrid(0.7, codec="avif", design_snr_db=MADE_FOR),
        "hybrid 0.7, margin 2 dB": Hybrid(0.7, 2.0, "avif", design_snr_db=MADE_FOR),
        "digital": Digital("avif", design_snr_db=MADE_FOR),
    }
    found = {name: psnr(system.transmit(image[None], snr_db, cbr=CBR, key=KEY).images[0], image) for name, system in systems.items()}
    return {"link": psnr(heard, image)} | found


MEASURE = {"kodak": measure, "large": measure, "whole": measure_whole, "beside": measure_beside}


def rows(of: str, cells: Path) -> list[dict[str, str]]:
    """What is measured of a set, from files in `cells` where they are there."""
    link, found = SemanticLink.default("photos"), []
    for name, read in pictures(of):
        image = None
        for snr_db in SNRS[of]:
            place = cells / f"{of}-{name.replace('/', '-')}-{snr_db:g}.json"
            if not place.exists():
                image = read().float() / 255 if image is None else image
                write_atomically(place, json.dumps(MEASURE[of](link, image, snr_db)).encode())
            values = json.loads(place.read_text("utf-8"))
            found += [
                {"set": of, "picture": name, "snr_db": f"{snr_db:g}", "system": system, "psnr": f"{values[system]:.3f}"}
                for system in SYSTEMS
                if system in values
            ]
    return found


def column(found: list[dict[str, str]], of: str, snr_db: float, system: str) -> dict[str, float]:
    """PSNR by picture."""
    return {r["picture"]: float(r["psnr"]) for r in found if (r["set"], float(r["snr_db"]), r["system"]) == (of, snr_db, system)}


def number(found: list[dict[str, str]], of: str, snr_db: float, system: str, gain: bool) -> str:
    """The mean PSNR, and the mean and the spread over pictures of what it is above the link's."""
    values, link = column(found, of, snr_db, system), column(found, of, snr_db, "link")
    mean = f"{statistics.mean(values.values()):.2f}"
    if system == "link" or not gain:
        return mean
    gains = [values[p] - link[p] for p in values]
    return f"{mean} ({statistics.mean(gains):+.2f} ± {statistics.stdev(gains):.2f})"


def page(found: list[dict[str, str]]) -> list[str]:
    text = TEXT.strip().splitlines()
    for of, title in TITLES.items():
        n = len(column(found, of, SNRS[of][0], "link"))
        there = {r["system"] for r in found if r["set"] == of}
        body = [
            [label, *(number(found, of, snr, system, gain=of != "beside") for snr in SNRS[of])]
            for system, label in SYSTEMS.items()
            if system in there
        ]
        text += ["", *table([f"{title}, N = {n}", *(f"{snr:g} dB" for snr in SNRS[of])], body)]
    return [*text, "", "![PSNR over SNR](photos_bandwidth.png)"]


def draw(found: list[dict[str, str]]) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    shown = ("link", "link, map, oracle", "link, half size", "hybrid 0.7", "hybrid 0.85", "digital", "capacity")
    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for axis, (of, title) in zip(axes, (("kodak", "Kodak"), ("large", "Large photographs")), strict=True):
        for system in shown:
            line = [statistics.mean(column(found, of, snr, system).values()) for snr in SNRS[of]]
            axis.plot(SNRS[of], line, "o-" if "hybrid" in system else "o--", label=system)
        axis.set(title=title, xlabel="SNR in dB", ylabel="PSNR in dB")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize="small")
    figure.savefig(OUT / "photos_bandwidth.png", dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=Path, default=Path("build/photos_bandwidth"))
    parser.add_argument("--set", choices=SNRS)
    options = parser.parse_args()
    options.cells.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        if options.set:
            rows(options.set, options.cells)
            return
        found = [row for of in SNRS for row in rows(of, options.cells)]
    write_csv(OUT / "photos_bandwidth.csv", found)
    write_lines(OUT / "photos_bandwidth.md", page(found))
    draw(found)


if __name__ == "__main__":
    main()

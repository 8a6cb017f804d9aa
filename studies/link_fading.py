# SPDX-License-Identifier: Apache-2.0
"""The Fashion-MNIST link on latents over fading channels: how the state is matched, and what it costs to know the channel less well.

python -m studies.link_fading writes docs/results/link_fading.{csv,md}, from Fashion-MNIST's test images at the full rate.

Matching, Rayleigh fading with a gain for each symbol, MMSE equaliser, four receivers on the same received symbols:

    paper      the equaliser's output taken for AWGN at the nominal SNR, the state at that SNR's time (the official procedure)
    mean       one noise variance for all symbols, by the second-order match; the up-sampler is not told which symbols are better
    map        the same, and the up-sampler is given each symbol's own noise (the default)
    element    map, and each element of the latent begins at the time of its own error, as the up-sampler's log-variances tell it

Knowledge, Rayleigh fading with one gain for an image (and AWGN): pilots and blind estimates in place of what `perfect` knows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from semdiff import AWGN, BlindNoise, Channel, ImperfectCSI, Key, Pilots, Rayleigh, Received, equalize, match, posterior_mean, sample
from semdiff.data import fashion_mnist
from semdiff.link import SemanticLink
from semdiff.link.starting_state import LARGEST_ERROR, SMALLEST_ERROR, Reception
from semdiff.metrics import psnr
from studies.models import LATENT_LINK
from studies.writing import table, write_csv, write_lines

SNRS_DB = (0.0, 5.0, 10.0, 15.0)
STEPS = 8


def levelled(received: Received) -> Received:
    """The same symbols with one noise variance for a sample, by the second-order match."""
    x, _, gain = equalize(received, "mmse")
    average = gain.mean(1, keepdim=True, dtype=torch.float64)
    return Received(x / average.to(x.real.dtype), torch.ones_like(x[:, :1]), (1 - average) / average)


def imagine(link: SemanticLink, heard: Reception, realism: float, mode: Any, key: Key) -> Tensor:
    return link.denoise_and_decode(heard, steps=STEPS, realism=realism, match=mode, key=key)[0]


def by_element(link: SemanticLink, heard: Reception, realism: float, key: Key) -> Tensor:
    """Each element of the latent from the time of its own error variance."""
    a = (1 / (1 + heard.noise_var))[:, None, None, None]
    variance = heard.gaussian.logvar.double().exp()
    error = ((variance - (1 - a)) / a).clamp(SMALLEST_ERROR, LARGEST_ERROR)
    state = match(heard.gaussian.mean / a.sqrt().float(), error, link.schedule, "calibrated", key=key, spread="element")
    denoise = lambda x, t: link.unet(x, t).sample  # noqa: E731
    size = link.image_shape[1:]
    if realism == 0:
        return link.decode(posterior_mean(denoise, state, link.schedule, link.prediction).float(), size)
    z = sample(denoise, state, link.schedule, STEPS, prediction=link.prediction, key=key)
    return link.receiver(size).show(z.float(), heard)


@torch.no_grad()
def matching(link: SemanticLink, images: Tensor, snr_db: float, key: Key) -> dict[tuple[str, str], Tensor]:
    symbols = link.send(images, snr_db=snr_db)
    channels = max(link.config.rates)
    received = Rayleigh("fast")(symbols, snr_db, key.fold_in(0))
    biased = Received(equalize(received, "mmse").x, torch.ones_like(received.y[:, :1]), received.noise_var)
    arrivals = {"paper": biased, "mean": levelled(received), "map": received}
    heard = {name: link.equalize_and_upsample(r, channels, key=key) for name, r in arrivals.items()}
    found = {}
    for path, realism in (("posterior mean", 0.0), ("sample", 1.0)):
        for name in heard:
            found[name, path] = imagine(link, heard[name], realism, "paper" if name == "paper" else "calibrated", key)
        found["element", path] = by_element(link, heard["map"], realism, key)
    return {k: psnr(v, images) for k, v in found.items()}


# All go through ImperfectCSI, which splits the key: so all meet the same fades.
KNOWLEDGE: dict[str, Callable[[Channel], Channel]] = {
    "perfect": lambda c: ImperfectCSI(c),
    "1 pilot, LS": lambda c: Pilots(ImperfectCSI(c), 1, "ls"),
    "1 pilot, LMMSE": lambda c: Pilots(ImperfectCSI(c), 1, "lmmse"),
    "4 pilots, LS": lambda c: Pilots(ImperfectCSI(c), 4, "ls"),
    "4 pilots, LMMSE": lambda c: Pilots(ImperfectCSI(c), 4, "lmmse"),
    "h off by variance 0.01": lambda c: ImperfectCSI(c, error_var=0.01),
    "h off by variance 0.1": lambda c: ImperfectCSI(c, error_var=0.1),
    "SNR believed 3 dB too high": lambda c: ImperfectCSI(c, snr_offset_db=3.0),
    "SNR believed 3 dB too low": lambda c: ImperfectCSI(c, snr_offset_db=-3.0),
    "SNR estimated blindly": lambda c: BlindNoise(ImperfectCSI(c)),
}


def row(study: str, channel: str, snr_db: float, what: str, path: str, quality: Tensor, uses: int) -> dict[str, Any]:
    error = float(quality.std()) / len(quality) ** 0.5
    named = {"study": study, "channel": channel, "snr_db": snr_db, "what": what, "path": path}
    return named | {"psnr_db": float(quality.mean()), "standard_error": error, "uses": uses}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--model", type=Path, help="folder of a link; the one on latents if left out")
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    link = SemanticLink.from_pretrained(options.model or LATENT_LINK)
    images = fashion_mnist("test").images[: options.images]
    rows: list[dict[str, Any]] = []
    for snr_db in SNRS_DB:
        for (way, path), quality in matching(link, images, snr_db, Key(5)).items():
            rows.append(row("matching", "rayleigh-fast", snr_db, way, path, quality, 64))
    for name, plain in (("rayleigh-block", Rayleigh()), ("awgn", AWGN())):
        for what, wrap in KNOWLEDGE.items():
            if name == "awgn" and ("pilot" in what or what.startswith("h ")):
                continue
            for snr_db in SNRS_DB:
                done = link.transmit(images, snr_db, channel=wrap(plain), realism=0.0, key=Key(6))
                quality = psnr(done.images, images)
                rows.append(row("knowledge", name, snr_db, what, "posterior mean", quality, done.ledger.total))
        print(name, flush=True)
    write_csv(options.out / "link_fading.csv", rows)
    write_lines(options.out / "link_fading.md", markdown(rows, len(images)))


def markdown(rows: list[dict[str, Any]], count: int) -> list[str]:
    at = {(r["study"], r["channel"], r["what"], r["path"], r["snr_db"]): r for r in rows}
    head = [f"{snr:g} dB" for snr in SNRS_DB]

    def cells(*place: str) -> list[str]:
        return [f"{at[*place, snr]['psnr_db']:.2f}" for snr in SNRS_DB]

    lines = [
        "# The Fashion-MNIST link on latents over fading channels",
        "",
        f"PSNR in dB, {count} Fashion-MNIST test images, CBR 1/12 (64 payload uses);",
    ]
    lines += ["`python -m studies.link_fading` makes this page and says what the names mean.", ""]
    lines += ["## Matching where the noise differs from symbol to symbol (fast Rayleigh, MMSE)", ""]
    ways = [(path, way) for path in ("posterior mean", "sample") for way in ("paper", "mean", "map", "element")]
    lines += table(["path, match", *head], [[f"{p}, {w}", *cells("matching", "rayleigh-fast", w, p)] for p, w in ways])
    for channel, title in (("rayleigh-block", "block Rayleigh"), ("awgn", "AWGN")):
        lines += ["", f"## What the receiver knows ({title}, posterior mean)", ""]
        known = [what for what in KNOWLEDGE if ("knowledge", channel, what, "posterior mean", SNRS_DB[0]) in at]
        body = []
        for what in known:
            uses = at["knowledge", channel, what, "posterior mean", SNRS_DB[0]]["uses"]
            body.append([what, *cells("knowledge", channel, what, "posterior mean"), str(uses)])
        lines += table(["knowledge", *head, "uses"], body)
    return lines


if __name__ == "__main__":
    main()

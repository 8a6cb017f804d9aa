# SPDX-License-Identifier: Apache-2.0
"""How much less a receiver has to do than the procedure of the paper's own code (arXiv 2407.18468), on the same network.

python -m studies.link_official writes docs/results/link_official.{csv,md}, from Fashion-MNIST's test images over AWGN at 0 dB.

That procedure, as its numbers are told: DDIM on a grid of 500 of the 1,000 times, from the one that is nominally of the channel's noise
down, every evaluation on a doubled batch, for a guidance whose scale leaves one half, and fresh numbers at each step that are multiplied
by 0. It stands here in plain PyTorch. Ours is `denoise_and_decode` with steps="auto", and with fewer. All begin with the same received
symbols; the last row gives the procedure our starting state as well.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from benchmarks.timing import interleave
from semdiff import AWGN, Key
from semdiff.diffusion.matching import DiffusionState
from semdiff.evaluation.image_sets import load_images
from semdiff.link import SemanticLink
from semdiff.link.starting_state import Reception, starting_state
from semdiff.metrics import lpips, psnr
from studies.models import LATENT_LINK
from studies.writing import table, write_csv, write_lines

SNR_DB = 0.0
GRID = range(1, 1000, 2)
OFFICIAL = "official procedure"


@torch.no_grad()
def official(link: SemanticLink, state: DiffusionState) -> tuple[Tensor, int]:
    """The latents and the network evaluations for each of them. All samples of the state are at one time."""
    x, start = state.x, float(state.t[0])
    times = [t for t in GRID if t <= start] or [GRID[0]]
    alphas = link.schedule.alphas_cumprod.float()
    for i, t in enumerate(reversed(times)):
        doubled = link.unet(torch.cat([x, x]), torch.full((2 * len(x),), float(t))).sample
        plain, guided = doubled.chunk(2)
        v = plain + 0.0 * (guided - plain)
        a = alphas[t]
        before = alphas[times[-2 - i]] if i + 1 < len(times) else torch.ones(())
        x0 = a.sqrt() * x - (1 - a).sqrt() * v
        eps = (1 - a).sqrt() * x + a.sqrt() * v
        x = before.sqrt() * x0 + (1 - before).sqrt() * eps + 0.0 * torch.randn_like(x)
    return x, 2 * len(times)


def systems(link: SemanticLink, heard: Reception) -> dict[str, Callable[[], tuple[Tensor, int]]]:
    """Receivers of what was heard: images and evaluations."""
    size = (28, 28)

    def procedure(mode: str, renoise: float) -> tuple[Tensor, int]:
        state = starting_state(*heard, link.schedule, mode, renoise, Key(5))  # type: ignore[arg-type]
        z, evaluations = official(link, DiffusionState(state.x, state.t.max().expand(len(state.t))))
        return link.receiver(size).show(z, heard), evaluations

    def ours(steps: int | Literal["auto"]) -> tuple[Tensor, int]:
        images, _, evaluations = link.denoise_and_decode(heard, steps=steps, key=Key(5))
        return images, evaluations

    return {
        "ours": lambda: ours("auto"),
        "ours, 2 steps": lambda: ours(2),
        "ours, 1 step": lambda: ours(1),
        OFFICIAL: lambda: procedure("paper", 0.0),
        "official procedure from our starting state": lambda: procedure("calibrated", link.config.renoise),
    }


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    options = parser.parse_args()
    link, images = SemanticLink.from_pretrained(LATENT_LINK), load_images("fashion-mnist", options.images).images
    received = AWGN()(link.send(images, cbr=1 / 12, snr_db=SNR_DB), SNR_DB, Key(1))
    channels = max(link.config.rates)
    whole = systems(link, link.equalize_and_upsample(received, channels, key=Key(2)))
    one = systems(link, link.equalize_and_upsample(type(received)(*(v[:1] for v in received)), channels, key=Key(2)))
    times = interleave({name: run for name, run in one.items()}, options.rounds, seconds=0.5)
    rows = []
    for name, run in whole.items():
        made, evaluations = run()
        faster, low, high = times[name].ratio_to(times[OFFICIAL])
        rows.append(
            {
                "receiver": name,
                "evaluations": evaluations,
                "psnr_db": float(psnr(made, images).mean()),
                "lpips_alex": float(lpips(made, images).mean()),
                "ms_per_image": 1000 * times[name].median,
                "times_faster": faster,
                "p10": low,
                "p90": high,
            }
        )
        print(rows[-1], flush=True)
    write_csv(options.out / "link_official.csv", rows)
    official = next(row for row in rows if row["receiver"] == OFFICIAL)
    fewer = [official["evaluations"] / row["evaluations"] for row in rows]
    lines = [
        "# Beside the procedure of the paper's code",
        "",
        f"Receiving at {SNR_DB:g} dB with the network of the Fashion-MNIST link on latents, beside the procedure of the paper's own code.",
        f"`python -m studies.link_official` makes this: quality from {len(images)} test images, CBR 1/12; times of one image, "
        f"{torch.get_num_threads()} threads,",
        f"{options.rounds} interleaved rounds. *Times as fast* is beside the official procedure, with the range of 80 % of the rounds;",
        "*fewer evaluations* how many times fewer the network has; *the rest* their quotient.",
        "",
        *table(
            ["receiver", "evaluations", "PSNR, dB", "LPIPS", "ms", "times as fast", "fewer evaluations", "the rest"],
            (
                [
                    row["receiver"],
                    str(row["evaluations"]),
                    f"{row['psnr_db']:.2f}",
                    f"{row['lpips_alex']:.3f}",
                    f"{row['ms_per_image']:.1f}",
                    f"{row['times_faster']:.1f} ({row['p10']:.1f}-{row['p90']:.1f})",
                    f"{count:.1f}",
                    f"{row['times_faster'] / count:.2f}",
                ]
                for row, count in zip(rows, fewer, strict=True)
            ),
        ),
    ]
    write_lines(options.out / "link_official.md", lines)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff demo`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semdiff.cli.options import Cbr, Json, PhotoModel, Seed, Steps, load_link
from semdiff.cli.output import format_ratio, format_time, print_json, print_note, screen

if TYPE_CHECKING:
    from torch import Tensor

    from semdiff.link import SemanticLink, Transmission

SNRS_DB = (0.0, 5.0, 10.0, 15.0)
ADJSCC_NAME = "ADJSCC"


@dataclass(frozen=True)
class Row:
    """Hold one line of the table: means over the images."""

    snr_db: float
    measured_snr_db: float
    cbr: float
    channel_uses: int
    received: str
    t: float
    evaluations: int
    psnr_db: float
    milliseconds: float  # for one image: transmitter, channel and receiver


def demo(
    out: Annotated[Path, typer.Option(help="The picture to write.")] = Path("demo.png"),
    cbr: Cbr = None,
    steps: Steps = "auto",
    seed: Seed = 0,
    model: PhotoModel = None,
    as_json: Json = False,
) -> None:
    """Send real images over a noisy channel at 0, 5, 10 and 15 dB; print what arrived and draw it.

    Parts of four photographs by the model for photographs, ten garments by one of Fashion-MNIST. Each is received by ADJSCC, a learned code
    without diffusion that was trained about as long; by the link with the least error (its mean decoder, or its up-sampler's mean);
    and by the link with the most detail (its detail decoder, or a sample of its denoiser). All have the same channel uses and noise.
    """
    from semdiff.cli.picture_files import save_png
    from semdiff.data import sample_images, sample_photos
    from semdiff.data.fashion_mnist import CLASSES
    from semdiff.data.pictures import require_pillow
    from semdiff.data.samples import SAMPLE_PHOTO_NAMES
    from semdiff.data.sheet import Band, draw_sheet
    from semdiff.rng import Key

    require_pillow()  # before the work, not after it
    link = load_link(model, "photos")
    photographs = link.image_shape[0] == 3
    images, what = (sample_photos(), "photographs") if photographs else (sample_images(), "Fashion-MNIST test images")
    receivers = _receivers(link, cbr, steps)
    out.parent.mkdir(parents=True, exist_ok=True)  # now, so that a place that cannot be is known before the work
    for name, transmit in list(receivers.items()):  # what only a first call pays is not measured below
        try:
            transmit(images, 10.0, key=Key(seed))
        except ValueError as error:
            if name != ADJSCC_NAME:
                raise
            print_note(f"{name} is left out: {error}")
            del receivers[name]
    rows, bands = [], [Band("original", images)]
    for snr_db in SNRS_DB:
        for name, transmit in receivers.items():
            done = transmit(images, snr_db, key=Key(seed))  # one key: the same noise for all
            rows.append(_row(snr_db, name, images, done))
            bands.append(Band(f"{snr_db:g} dB\n{name}\n{rows[-1].psnr_db:.1f} dB PSNR", done.images, first=name == next(iter(receivers))))
    save_png(draw_sheet(bands, SAMPLE_PHOTO_NAMES if photographs else CLASSES), out)
    if as_json:
        print_json({"images": len(images), "seed": seed, "steps": steps, "picture": str(out), "rows": [asdict(r) for r in rows]})
    else:
        _print(rows, f"{len(images)} {what}", link, out)


def _receivers(link: SemanticLink, cbr: float | None, steps: Steps) -> dict[str, Callable[..., Transmission]]:
    """What is shown of each transmission, by its name."""
    from semdiff.cli.comparison import shipped_adjscc
    from semdiff.link.outputs import output_names

    try:
        adjscc = shipped_adjscc(link)
    except FileNotFoundError as error:
        print_note(f"{ADJSCC_NAME} is left out: {error}")
        adjscc = None
    found: dict[str, Callable[..., Transmission]] = {} if adjscc is None else {ADJSCC_NAME: partial(adjscc.transmit, cbr=cbr)}
    for realism, name in enumerate(output_names(link)):
        found[name] = partial(link.transmit, cbr=cbr, steps=steps, realism=realism)
    return found


def _row(snr_db: float, name: str, images: Tensor, done: Transmission) -> Row:
    from semdiff.metrics import psnr

    return Row(
        snr_db=snr_db,
        measured_snr_db=float(done.snr_db.mean()),
        cbr=done.ledger.cbr,
        channel_uses=done.ledger.total,
        received=name,
        t=float(done.t.mean()),
        evaluations=done.evaluations,
        psnr_db=float(psnr(done.images, images).mean()),
        milliseconds=1000 * done.seconds / len(images),
    )


def _print(rows: list[Row], what: str, link: SemanticLink, out: Path) -> None:
    from rich.table import Table

    table = Table(
        title=f"{what} over AWGN, {rows[0].channel_uses} uses each: CBR {format_ratio(rows[0].cbr)}",
        caption=f"t: the time of the diffusion, of {link.schedule.T}, at which denoising began, - without; evaluations: passes of the "
        "denoiser; ms: for one image",
    )
    table.add_column("SNR\ndB", justify="right")
    table.add_column("measured\ndB", justify="right")
    table.add_column("received")
    table.add_column("t", justify="right")
    table.add_column("evalu-\nations", justify="right")
    table.add_column("PSNR\ndB", justify="right")
    table.add_column("ms", justify="right")
    for i, r in enumerate(rows):
        first = i == 0 or rows[i - 1].snr_db != r.snr_db
        table.add_row(
            f"{r.snr_db:g}" if first else "",
            f"{r.measured_snr_db:.2f}" if first else "",
            r.received,
            format_time(r.t),
            str(r.evaluations),
            f"{r.psnr_db:.2f}",
            f"{r.milliseconds:.1f}",
            end_section=i + 1 == len(rows) or rows[i + 1].snr_db != r.snr_db,
        )
    console = screen()
    console.print(table)
    console.print(f"Wrote {out}: the originals, and below them what was received.", soft_wrap=True)

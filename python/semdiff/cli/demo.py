# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff demo`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semdiff.cli.options import AnyModel, Cbr, Json, Seed, Steps, load_link
from semdiff.cli.output import format_ratio, format_time, print_json, print_note, screen

if TYPE_CHECKING:
    from torch import Tensor

    from semdiff.link import SemanticLink, Transmission

SNRS_DB = (0.0, 5.0, 10.0, 15.0)
MODELS = ("fashion-mnist", "cifar10", "photos")  # those whose samples are worth their evaluations first
CBR = 1 / 12  # of all of them


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
    out: Annotated[Path, typer.Option(help="The picture to write; of several models NAME-MODEL.png each.")] = Path("demo.png"),
    cbr: Cbr = None,
    steps: Steps = "auto",
    seed: Seed = 0,
    model: AnyModel = None,
    as_json: Json = False,
) -> None:
    """Send real images over a noisy channel at 0, 5, 10 and 15 dB; print what arrived and draw it.

    Ten garments by the model for Fashion-MNIST, four photographs of 32x32 pixels by that for CIFAR-10, and parts of the same four by that
    for photographs. Each is received by a learned code without diffusion; by the link with the least error (its up-sampler's mean, or
    its mean decoder); and by the link with the most detail (a sample of its denoiser, or its detail decoder, to which the denoiser
    contributes nothing that can be measured). All have the same channel uses and noise: CBR 1/12 unless --cbr or --model is given.
    """
    from semdiff.cli.late_imports import import_links
    from semdiff.data.pictures import require_pillow
    from semdiff.data.samples import samples_of_shape

    require_pillow()  # before the work, not after it
    import_links()
    from semdiff.transmission.inputs import choose_rate  # which needs the extra [models]

    out.parent.mkdir(parents=True, exist_ok=True)  # now, so that a place that cannot be is known before the work
    shown: list[dict[str, Any]] = []
    for name in MODELS if model is None else (None,):
        link = load_link(model, name or "")
        ratio = CBR if cbr is None and name else cbr
        try:
            choose_rate(ratio, link.layout())
        except ValueError as error:
            if not shown and name in (None, MODELS[-1]):
                raise
            print_note(f"{name} is left out: {error}")  # another may have the rate
            continue
        place = out if name is None else out.with_name(f"{out.stem}-{name}{out.suffix}")
        images, title, columns = samples_of_shape(link.image_shape)
        rows = _transmitted(link, images, columns, ratio, steps, seed, place)
        shown.append({"model": name or str(model), "images": len(images), "picture": str(place), "rows": [asdict(r) for r in rows]})
        if not as_json:
            _print(rows, f"{len(images)} {title}", link, place)
    if as_json:
        print_json({"seed": seed, "steps": steps, "models": shown})


def _transmitted(
    link: SemanticLink, images: Tensor, columns: Sequence[str], cbr: float | None, steps: Steps, seed: int, place: Path
) -> list[Row]:
    """Send the images by every receiver at every SNR and draw what arrived."""
    from semdiff.cli.comparison import shipped_code_name
    from semdiff.cli.picture_files import save_png
    from semdiff.data.sheet import Band, draw_sheet
    from semdiff.rng import Key

    receivers = _receivers(link, cbr, steps)
    code = shipped_code_name(link)
    for name, transmit in list(receivers.items()):  # what only a first call pays is not measured below
        try:
            transmit(images, 10.0, key=Key(seed))
        except ValueError as error:
            if name != code:
                raise
            print_note(f"{name} is left out: {error}")
            del receivers[name]
    rows, bands = [], [Band("original", images)]
    for snr_db in SNRS_DB:
        for name, transmit in receivers.items():
            done = transmit(images, snr_db, key=Key(seed))  # one key: the same noise for all
            rows.append(_row(snr_db, name, images, done))
            bands.append(Band(f"{snr_db:g} dB\n{name}\n{rows[-1].psnr_db:.1f} dB PSNR", done.images, first=name == next(iter(receivers))))
    save_png(draw_sheet(bands, columns), place)
    return rows


def _receivers(link: SemanticLink, cbr: float | None, steps: Steps) -> dict[str, Callable[..., Transmission]]:
    """What is shown of each transmission, by its name."""
    from semdiff.cli.comparison import shipped_code, shipped_code_name
    from semdiff.link.outputs import output_names

    found: dict[str, Callable[..., Transmission]] = {}
    try:
        found[shipped_code_name(link)] = partial(shipped_code(link).transmit, cbr=cbr)
    except FileNotFoundError as error:
        print_note(f"{shipped_code_name(link)} is left out: {error}")
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

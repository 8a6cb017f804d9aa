# SPDX-License-Identifier: Apache-2.0
"""semdiff transmit"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from semdiff.cli.options import Cbr, ChannelName, Json, Model, Seed, Steps, load_link, parse_channel
from semdiff.cli.output import channel_uses, print_json, psnr_db, ratio
from semdiff.cli.pictures import load_picture, save_png
from semdiff.data.pictures import to_picture
from semdiff.rng import Key

BATCH = 64  # images at a time, and
PIXELS = 2**20  # of all of them: many small ones fit into little memory, few large ones do


def transmit(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Picture files.", exists=True, dir_okay=False)],
    snr: Annotated[float, typer.Option("--snr", help="Average signal-to-noise ratio of the channel, in dB.")] = 10.0,
    channel: ChannelName = "awgn",
    cbr: Cbr = None,
    steps: Steps = 8,
    realism: Annotated[float, typer.Option("--realism", help="0: posterior mean, the best PSNR. 1: sample, the most detail.")] = 1.0,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder for what was received, as PNG under the same names.", file_okay=False)] = Path(
        "received"
    ),
    resize: Annotated[bool, typer.Option("--resize", help="Scale pictures of another size to the model's, which loses detail.")] = False,
    model: Model = None,
    as_json: Json = False,
) -> None:
    """Send pictures over a noisy channel and write what arrives.

    The model in the package takes grey pictures of 28x28 pixels, clothes like those of Fashion-MNIST, and was trained on nothing else.
    Colour becomes grey. A model that `semdiff train photos` made takes any picture.
    """
    places = _places(images, out)
    air = parse_channel(channel)
    link = load_link(model)
    originals = [load_picture(path, link.image_shape, resize) for path in images]
    rows: list[dict[str, Any]] = []
    seconds = 0.0
    for i, part in enumerate(_batches(originals)):
        done = link.transmit(part, snr, cbr, air, steps=steps, realism=realism, key=Key(seed).fold_in(i))
        seconds += done.seconds
        quality = psnr_db(done.images, part)
        uses = channel_uses(done.ledger)
        for n, image in enumerate(done.images):
            source = images[len(rows)]
            save_png(to_picture(image), places[source])
            measured, t = float(done.snr_db[n]), float(done.t[n])
            row = {"input": str(source), "output": str(places[source]), "psnr_db": float(quality[n]), "measured_snr_db": measured, "t": t}
            rows.append(row | {"cbr": done.ledger.cbr, "channel_uses": uses["total"]})
    report = {
        "snr_db": snr,
        "channel": channel,
        "cbr": done.ledger.cbr,
        "channel_uses": channel_uses(done.ledger),
        "steps": steps,
        "realism": realism,
        "seed": seed,
        "evaluations": done.evaluations,
        "seconds": seconds,
        "images": rows,
    }
    if as_json:
        print_json(report)
    else:
        _print(report)


def _batches(pictures: list[Tensor]) -> Iterator[Tensor]:
    """Neighbours of one size together, no more of them than BATCH and PIXELS allow, and at least one."""
    part: list[Tensor] = []
    for picture in pictures:
        most = max(1, min(BATCH, PIXELS // (picture.shape[1] * picture.shape[2])))
        if part and (picture.shape != part[0].shape or len(part) >= most):
            yield torch.stack(part)
            part = []
        part.append(picture)
    if part:
        yield torch.stack(part)


def _places(images: list[Path], out: Path) -> dict[Path, Path]:
    """Where each received picture goes. ValueError where two would meet, or one would replace what is sent."""
    places: dict[Path, Path] = {}
    sources = {path.resolve() for path in images}
    for path in dict.fromkeys(images):
        place = out / f"{path.stem}.png"
        if place in places.values():
            raise ValueError(f"IMAGE: expected names that differ, got two of {path.stem!r}, both received as {place}")
        if place.resolve() in sources:
            raise ValueError(f"--out: expected another folder than that of {path}, which would be overwritten")
        places[path] = place
    return places


def _print(report: dict[str, Any]) -> None:
    rows = report["images"]
    costs = {row["channel_uses"] for row in rows}
    uses = f"{costs.pop()} channel uses an image (CBR {ratio(report['cbr'])})" if len(costs) == 1 else "channel uses as below"
    table = Table(
        title=f"{report['channel']}, {report['snr_db']:g} dB, {uses}, "
        f"{report['evaluations']} evaluations, {1000 * report['seconds'] / len(rows):.1f} ms an image"
    )
    table.add_column("received", overflow="fold")
    for name in ("uses", "CBR", "SNR\ndB", "t", "PSNR\ndB"):
        table.add_column(name, justify="right")
    for row in rows:
        cost = str(row["channel_uses"]), ratio(row["cbr"])
        table.add_row(row["output"], *cost, f"{row['measured_snr_db']:.2f}", f"{row['t']:.0f}", f"{row['psnr_db']:.2f}")
    Console().print(table)

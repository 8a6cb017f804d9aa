# SPDX-License-Identifier: Apache-2.0
"""semdiff transmit"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table

from semdiff.cli.options import Cbr, ChannelName, Json, Model, Seed, Steps, load_link, parse_channel
from semdiff.cli.output import channel_uses, print_json, psnr_db, ratio
from semdiff.cli.pictures import load_picture, save_png
from semdiff.data.pictures import to_picture
from semdiff.rng import Key

BATCH = 64  # images at a time: many fit into little memory


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
    Colour becomes grey.
    """
    places = _places(images, out)
    air = parse_channel(channel)
    link = load_link(model)
    originals = torch.stack([load_picture(path, link.image_shape, resize) for path in images])
    rows: list[dict[str, Any]] = []
    seconds = 0.0
    for i, part in enumerate(originals.split(BATCH)):
        done = link.transmit(part, snr, cbr, air, steps=steps, realism=realism, key=Key(seed).fold_in(i))
        seconds += done.seconds
        quality = psnr_db(done.images, part)
        for n, image in enumerate(done.images):
            source = images[i * BATCH + n]
            save_png(to_picture(image), places[source])
            measured, t = float(done.snr_db[n]), float(done.t[n])
            rows.append(
                {"input": str(source), "output": str(places[source]), "psnr_db": float(quality[n]), "measured_snr_db": measured, "t": t}
            )
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
    uses = report["channel_uses"]["total"]
    table = Table(
        title=f"{report['channel']}, {report['snr_db']:g} dB, {uses} channel uses an image (CBR {ratio(report['cbr'])}), "
        f"{report['evaluations']} evaluations, {1000 * report['seconds'] / len(report['images']):.1f} ms an image"
    )
    table.add_column("received", overflow="fold")
    for name in ("SNR\ndB", "t", "PSNR\ndB"):
        table.add_column(name, justify="right")
    for row in report["images"]:
        table.add_row(row["output"], f"{row['measured_snr_db']:.2f}", f"{row['t']:.0f}", f"{row['psnr_db']:.2f}")
    Console().print(table)

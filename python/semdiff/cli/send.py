# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff send`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semdiff.cli.options import Cbr, Json, PhotoModel, load_link
from semdiff.cli.output import channel_uses, print_json, uses_line


def send(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A picture file.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The recording to write; its samples go beside, into .sigmf-data.")] = Path(
        "tx.sigmf-meta"
    ),
    snr: Annotated[float, typer.Option("--snr", help="Signal-to-noise ratio that the transmitter counts on, in dB.")] = 10.0,
    cbr: Cbr = None,
    rate: Annotated[float, typer.Option("--rate", help="Samples a second; four make a symbol.")] = 1e6,
    resize: Annotated[bool, typer.Option("--resize", help="Scale a picture of another size to the model's, which loses detail.")] = False,
    model: PhotoModel = None,
    as_json: Json = False,
) -> None:
    """Make a SigMF recording (cf32_le) of one picture's frame, for a radio to play.

    The peak is 0.7 of full scale. `semdiff receive` makes the picture of what another radio recorded.
    """
    from semdiff.cli.late_imports import import_links
    from semdiff.cli.picture_files import load_picture
    from semdiff.phy.sigmf import write_recording

    import_links()
    from semdiff.link.recorded import model_digest, send_samples

    link = load_link(model, "photos")
    samples, description = send_samples(link, load_picture(image, link.image_shape, resize), model_digest(model), cbr, snr)
    spec = description.frame
    first, length = spec.guard * spec.samples_per_symbol, spec.symbols * spec.samples_per_symbol
    note = {"core:sample_start": first, "core:sample_count": length, "core:label": "semdiff frame"}
    write_recording(out, samples, rate, description.to_metadata(), [note], f"{spec.payload} symbols of one picture")
    ledger = description.ledger(len(link.layout(description.image_shape[1:]).counts))
    report = {
        "input": str(image),
        "output": str(out),
        "samples": len(samples),
        "sample_rate": rate,
        "seconds_on_air": len(samples) / rate,
        "cbr": ledger.cbr,
        "channel_uses": channel_uses(ledger),
    }
    if as_json:
        print_json(report)
    else:
        length_ms = 1e3 * len(samples) / rate
        print(f"{out}: {len(samples)} samples, {length_ms:.2f} ms at {rate:g} samples a second; channel uses: {uses_line(ledger)}")

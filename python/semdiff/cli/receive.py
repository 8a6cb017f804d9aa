# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff receive`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from semdiff._util.words import counted
from semdiff.cli.options import Json, PhotoModel, Realism, Steps, load_link
from semdiff.cli.output import channel_uses, format_time, print_json, screen, uses_line

if TYPE_CHECKING:
    from semdiff.link.recorded import ReceivedImage


def receive(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A .sigmf-meta file, its .sigmf-data beside it.", exists=True)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write, PNG.", dir_okay=False)] = Path("received.png"),
    frame: Annotated[
        Path | None,
        typer.Option("--frame", help="The sent .sigmf-meta, where the recorder knew nothing of the frame.", exists=True, dir_okay=False),
    ] = None,
    steps: Steps = "auto",
    realism: Realism = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Of the sampler's noise. The same seed gives the same picture.")] = 0,
    model: PhotoModel = None,
    as_json: Json = False,
) -> None:
    """Find the frame in a SigMF recording and make its picture.

    Start, gain, phase, frequency offset (up to 0.02 cycles a symbol), constant offset and noise are estimated. Of several frames the
    strongest is taken. With --frame the recording may have another sample rate than what was sent.
    """
    from semdiff.cli.late_imports import import_links
    from semdiff.cli.picture_files import save_png
    from semdiff.data.pictures import require_pillow, to_picture
    from semdiff.phy.sigmf import read_metadata, read_recording, sample_rate
    from semdiff.rng import Key

    require_pillow()  # before the work, not after it
    import_links()
    from semdiff.link.recorded import Description, at_the_frames_rate, model_digest, receive_samples

    described = read_metadata(frame) if frame else None
    recorded = read_recording(recording)
    description = Description.from_metadata(recorded.metadata if described is None else described)
    samples, rate = recorded.samples, sample_rate(recorded.metadata, str(recording))
    sent_rate = rate if described is None else sample_rate(described, str(frame))
    if rate and sent_rate and rate != sent_rate:
        samples = at_the_frames_rate(samples, rate, sent_rate, description.frame)
    done = receive_samples(load_link(model, "photos"), samples, description, model_digest(model), steps, realism, Key(seed))
    if rate and sent_rate:  # in the recording's samples
        found = done.synchronization
        done = replace(done, synchronization=replace(found, start=found.start * rate / sent_rate))
    save_png(to_picture(done.image), out)
    if as_json:
        ledger = done.ledger
        print_json(
            {
                "input": str(recording),
                "output": str(out),
                "found": asdict(done.synchronization),
                "cbr": ledger.cbr,
                "channel_uses": channel_uses(ledger),
                "declared_bits": done.declared,
                "steps": steps,
                "realism": realism,
                "seed": seed,
                "t": done.t,
                "evaluations": done.evaluations,
                "seconds": done.seconds,
            }
        )
    else:
        _print(done, out)


def _print(done: ReceivedImage, out: Path) -> None:
    from rich.table import Table

    found = done.synchronization
    table = Table(title=f"{out}: {counted(done.evaluations, 'evaluation')}, {1000 * done.seconds:.1f} ms", show_header=False)
    rows = {
        "start": f"sample {found.start:.2f}",
        "SNR": f"{found.snr_db:.2f} dB",
        "frequency offset": f"{found.cfo:.6f} cycles a symbol",
        "gain, phase": f"{found.gain:.4g}, {found.phase:.3f} rad",
        "correlation": f"{found.correlation:.3f} (noise alone stays below {found.threshold:.3f})",
        "t": format_time(done.t),
        "channel uses": uses_line(done.ledger),
        "declared besides the signal": ", ".join(f"{name} {bits} bits" for name, bits in done.declared.items()),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    screen().print(table)

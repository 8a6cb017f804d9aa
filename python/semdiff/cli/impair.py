# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff impair`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from semdiff.cli.options import Seed


def impair(
    recording: Annotated[Path, typer.Argument(metavar="RECORDING", help="A .sigmf-meta file that semdiff sent.", exists=True)],
    out: Annotated[Path, typer.Option("--out", "-o", help="The recording to write.")] = Path("rx.sigmf-meta"),
    snr: Annotated[float, typer.Option("--snr", help="Of a symbol after the matched filter, in dB.")] = 10.0,
    delay: Annotated[float, typer.Option("--delay", help="Samples of noise before the recording; fractions too.")] = 0.0,
    gain: Annotated[float, typer.Option("--gain", help="In dB.")] = 0.0,
    phase: Annotated[float, typer.Option("--phase", help="In radians.")] = 0.0,
    cfo: Annotated[float, typer.Option("--cfo", help="Carrier-frequency offset, cycles a symbol.")] = 0.0,
    seed: Seed = 0,
) -> None:
    """Simulate a radio path for a recording, to try `semdiff receive` without a radio."""
    from semdiff.link.recorded import Description
    from semdiff.phy.sigmf import read_recording, sample_rate, write_recording
    from semdiff.phy.sync import impair as through
    from semdiff.rng import Key

    sent = read_recording(recording)
    if out.resolve() == recording.resolve():
        raise ValueError(f"--out: expected another file than {recording}, which would be overwritten")
    description = Description.from_metadata(sent.metadata)
    samples = through(sent.samples, description.frame, snr, delay, gain, phase, cfo, key=Key(seed))
    rate = sample_rate(sent.metadata, str(recording)) or 1e6
    write_recording(out, samples, rate, description.to_metadata())
    print(f"{out}: {len(samples)} samples at {snr:g} dB")

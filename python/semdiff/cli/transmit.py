# SPDX-License-Identifier: Apache-2.0
"""semdiff transmit"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from semdiff.cli.abreast import abreast, workers
from semdiff.cli.comparison import Comparison, Outcome, judge
from semdiff.cli.options import Cbr, ChannelName, Json, PhotoModel, Realism, Seed, Steps, load_link, parse_channel
from semdiff.cli.output import channel_uses, print_json, ratio
from semdiff.cli.panels import Panel, draw_panels
from semdiff.cli.pictures import load_animation, save_frames
from semdiff.data.pictures import to_picture
from semdiff.rng import Key

if TYPE_CHECKING:
    from PIL.Image import Image

    from semdiff.data.animations import Animation
    from semdiff.link import Ledger, SemanticLink, Transmission

BATCH = 64  # images at a time, and
PIXELS = 2**20  # of all of them: many small ones fit into little memory, few large ones do
TOGETHER = 2**23  # pixels of what is worked on side by side, for the same reason
TITLES = {"digital": "digital (best codec, LDPC, QAM)"}


def transmit(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures or short animations.", exists=True, dir_okay=False)],
    snr: Annotated[float, typer.Option("--snr", help="Average signal-to-noise ratio of the channel, in dB.")] = 10.0,
    channel: ChannelName = "awgn",
    cbr: Cbr = None,
    steps: Steps = "auto",
    realism: Realism = 1.0,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder for what was received, as PNG under the same names.", file_okay=False)] = Path(
        "received"
    ),
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Also send them by ADJSCC and by digital transmission, and write NAME-compared.png, side by side."),
    ] = False,
    adjscc: Annotated[
        Path | None,
        typer.Option("--adjscc", help="As --compare, with the ADJSCC of this folder, not the package's.", exists=True, file_okay=False),
    ] = None,
    resize: Annotated[bool, typer.Option("--resize", help="Scale pictures of another size to the model's, which loses detail.")] = False,
    model: PhotoModel = None,
    as_json: Json = False,
) -> None:
    """Send pictures over a noisy channel and write what arrives.

    Photographs of any size by default: a learned code with a decoder of least error (--realism 0) and one of most detail (--realism 1); its
    denoiser changes nothing that can be measured, so more --steps do not help. --model fashion-mnist takes grey pictures of 28x28 pixels,
    clothes like those of Fashion-MNIST, and colour becomes grey: there --realism 0 is the denoiser's posterior mean and 1 a sample. Of an
    animation (GIF, APNG, WebP) every frame is sent,
    each with noise of its own, and an animated PNG is written, which loses no colours. All systems of a comparison have the same channel
    uses and the same noise; the digital one takes about a minute a megapixel on a CPU core.
    """
    compare = compare or adjscc is not None
    places = _places(images, out, compare)
    air = parse_channel(channel)
    link = load_link(model, "photos")
    clips = [load_animation(path, link.image_shape, resize) for path in images]
    made_by = _output_name(link, realism)
    comparison = Comparison(link, adjscc) if compare else None
    rows: list[dict[str, Any]] = []
    waiting: list[dict[str, Outcome]] = []  # frames of a file that is not complete yet
    seconds, evaluations = 0.0, 0
    planned = 1 + len(comparison.systems if comparison else ())  # systems
    parts = list(_batches(frame for clip in clips for frame in clip.frames))
    # Of the digital system's parts not all may be used by two threads at once.
    at_once = 1 if comparison else workers(TOGETHER // max(_pixels(part) for part in parts), len(parts))
    with _bar(planned * sum(len(part) for part in parts)) as bar:

        def send(i: int, frames: list[Tensor]) -> tuple[Transmission, dict[str, list[Outcome]]]:
            part, key = torch.stack(frames).float() / 255, Key(seed).fold_in(i)
            done = link.transmit(part, snr, cbr, air, steps=steps, realism=realism, key=key)
            outcomes = {"link": judge(done, part, comparison.lpips if comparison else None)}
            for name, others in comparison.transmit(part, snr, cbr, air, key, done.ledger.total) if comparison else ():
                outcomes[name] = others
                bar.update(len(part))
            return done, outcomes

        for done, outcomes in abreast(send, parts, at_once):
            sent = len(outcomes["link"])
            bar.update(sent + (planned - len(outcomes)) * sent)  # the link, and those that were left out
            waiting += [dict(zip(outcomes, frame, strict=True)) for frame in zip(*outcomes.values(), strict=True)]
            seconds, evaluations = seconds + done.seconds / at_once, max(evaluations, done.evaluations)
            while len(rows) < len(clips) and len(waiting) >= (length := len(clips[len(rows)].frames)):
                source = images[len(rows)]
                title = f"{channel}, {snr:g} dB, {done.ledger.total} channel uses (CBR {ratio(done.ledger.cbr)}); link: {made_by}"
                rows.append(_write(source, clips[len(rows)], waiting[:length], title if compare else None, places[source], done.ledger))
                del waiting[:length]
    report = {
        "snr_db": snr,
        "channel": channel,
        "cbr": done.ledger.cbr,
        "channel_uses": channel_uses(done.ledger),
        "steps": steps,
        "realism": realism,
        "made_by": made_by,
        "seed": seed,
        "evaluations": evaluations,
        "seconds": seconds,
        "images": rows,
    }
    if comparison:
        report["left_out"] = comparison.left_out
    if as_json:
        print_json(report)
    else:
        _print(report)


def _output_name(link: SemanticLink, realism: float) -> str:
    from semdiff.link.outputs import output_name  # needs the extra [models], whose absence --help survives

    return output_name(link, realism)


def _write(
    source: Path, clip: Animation, frames: list[dict[str, Outcome]], title: str | None, place: Path, ledger: Ledger
) -> dict[str, Any]:
    """Writes one file's pictures, and its row: means over its frames. title: of the side-by-side picture; None for none."""
    save_frames([to_picture(frame["link"].image) for frame in frames], clip, place)
    row = {"input": str(source), "output": str(place), "frames": len(frames), **_means([frame["link"] for frame in frames])}
    row |= {"cbr": ledger.cbr, "channel_uses": ledger.total}
    if title is not None:
        beside = compared(place)
        sheets = [_sheet(title, original, frame) for original, frame in zip(clip.frames, frames, strict=True)]
        save_frames(sheets, clip, beside)
        row["compared"] = str(beside)
        row["systems"] = {
            name: _means(own := [frame[name] for frame in frames]) | {"outages": sum(o.outage for o in own)}
            for name in frames[0]
            if name != "link"
        }
    return row


def _means(outcomes: list[Outcome]) -> dict[str, float]:
    numbers = [outcome.numbers for outcome in outcomes]
    return {name: sum(n[name] for n in numbers) / len(numbers) for name in numbers[0]}


def _sheet(title: str, original: Tensor, outcomes: dict[str, Outcome]) -> Image:
    height, width = original.shape[1:]
    panels = [Panel(original, "original", f"{width} x {height}")]
    for name, (image, numbers, outage) in outcomes.items():
        words = f"{numbers['psnr_db']:.2f} dB"
        if outage:
            words += ", nothing decoded"
        elif "lpips" in numbers:
            words += f", LPIPS {numbers['lpips']:.3f}"
        panels.append(Panel(image, TITLES.get(name, name), words))
    return draw_panels(title, panels)


def _pixels(frames: list[Tensor]) -> int:
    return len(frames) * frames[0].shape[1] * frames[0].shape[2]


def _batches(frames: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Neighbours of one size together, no more of them than BATCH and PIXELS allow, and at least one."""
    part: list[Tensor] = []
    for frame in frames:
        most = max(1, min(BATCH, PIXELS // (frame.shape[1] * frame.shape[2])))
        if part and (frame.shape != part[0].shape or len(part) >= most):
            yield part
            part = []
        part.append(frame)
    if part:
        yield part


def _places(images: list[Path], out: Path, compare: bool) -> dict[Path, Path]:
    """Where each received picture goes. ValueError where two files would meet, or one would replace what is sent."""
    places: dict[Path, Path] = {}
    taken: dict[Path, Path] = {}
    sources = {path.resolve() for path in images}
    for path in dict.fromkeys(images):
        places[path] = out / f"{path.stem}.png"
        for place in (places[path], compared(places[path]))[: 1 + compare]:
            if place in taken:
                raise ValueError(f"IMAGE: expected names that differ, got {taken[place]} and {path}, of which both would write {place}")
            if place.resolve() in sources:
                raise ValueError(f"--out: expected another folder than that of {path}, which would be overwritten")
            taken[place] = path
    return places


def compared(place: Path) -> Path:
    """Where the side-by-side picture of a received one goes."""
    return place.with_name(f"{place.stem}-compared.png")


def _bar(total: int) -> Any:
    from tqdm import tqdm

    # None: hidden unless stderr is a terminal
    return tqdm(total=total, disable=None if total > 1 else True, file=sys.stderr, unit="picture", desc="transmit", dynamic_ncols=True)


def _print(report: dict[str, Any]) -> None:
    rows = report["images"]
    costs = {row["channel_uses"] for row in rows}
    moving = any(row["frames"] > 1 for row in rows)
    names = list(dict.fromkeys(name for row in rows for name in row.get("systems", {})))
    uses = f"{costs.pop()} channel uses an image (CBR {ratio(report['cbr'])})" if len(costs) == 1 else "channel uses as below"
    count = sum(row["frames"] for row in rows)
    table = Table(
        title=f"{report['made_by']}: {report['channel']}, {report['snr_db']:g} dB, {uses}, "
        f"{report['evaluations']} evaluations, {1000 * report['seconds'] / count:.1f} ms an image",
        caption="PSNR of each system" + (", LPIPS below it" if "lpips" in rows[0] else "") if names else None,
    )
    table.add_column("received", overflow="fold")
    for name in (*(("frames",) if moving else ()), "uses", "CBR", "SNR\ndB", "t", *(f"{name}\ndB" for name in ("link", *names))):
        table.add_column(name if names else name.replace("link", "PSNR"), justify="right")
    for row in rows:
        cost = [str(row["frames"])] * moving + [str(row["channel_uses"]), ratio(row["cbr"])]
        quality = [_quality(numbers) for numbers in (row, *(row["systems"].get(name) for name in names))]
        table.add_row(row["output"], *cost, f"{row['measured_snr_db']:.2f}", f"{row['t']:.0f}", *quality)
    Console().print(table)


def _quality(numbers: dict[str, float] | None) -> str:
    if numbers is None:
        return "-"
    return f"{numbers['psnr_db']:.2f}" + (f"\n{numbers['lpips']:.3f}" if "lpips" in numbers else "")

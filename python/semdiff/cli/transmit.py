# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff transmit`."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from semdiff._util.words import counted
from semdiff.cli.options import Cbr, ChannelName, Json, PhotoModel, Realism, Seed, Snrs, Steps, load_link, parse_channel, parse_snrs
from semdiff.cli.output import channel_uses, format_ratio, format_time, print_json, screen

if TYPE_CHECKING:
    from torch import Tensor

    from semdiff.cli.comparison import Outcome
    from semdiff.cli.transmit_files import Numbers
    from semdiff.data.animations import Animation
    from semdiff.link import Transmission

TOGETHER = 2**23  # pixels of what is worked on side by side, since many large pictures do not fit into the memory


def transmit(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Pictures or short animations.", exists=True, dir_okay=False)],
    snr: Snrs = None,
    channel: ChannelName = "awgn",
    cbr: Cbr = None,
    steps: Steps = "auto",
    realism: Realism = 1.0,
    seed: Seed = 0,
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Draws of the noise, and of the fades, from --seed on; numbers are means over them.")
    ] = 1,
    out: Annotated[Path, typer.Option("--out", help="Folder for what was received, as PNG under the same names.", file_okay=False)] = Path(
        "received"
    ),
    compare: Annotated[
        bool,
        typer.Option(
            "--compare",
            help="Also send them by a learned code (ADJSCC) and by digital transmission, and write NAME-compared.png, side by side.",
        ),
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

    Photographs of any size by default: a learned code with a decoder of least error (--realism 0) and one of most detail (--realism 1);
    its denoiser changes nothing that can be measured, so more --steps do not help. --model cifar10 takes colour pictures of 32x32 pixels,
    and --model fashion-mnist grey ones of 28x28, clothes like those of Fashion-MNIST, and colour becomes grey: there --realism 0 is the
    up-sampler's mean and 1 a sample of the denoiser. Of an animation (GIF, APNG, WebP) every frame is sent, each with noise of its own,
    and an animated PNG is written, which loses no colours. All systems of a comparison have the same channel uses and the same noise; the
    digital one takes about a minute a megapixel on a CPU core. At several SNRs the pictures are NAME-5dB.png and so on; with several
    seeds they are the first one's.
    """
    import torch

    from semdiff.cli.comparison import Comparison, measure_outcomes
    from semdiff.cli.late_imports import import_links
    from semdiff.cli.parallel_map import parallel_map, workers
    from semdiff.cli.picture_files import load_animation, measure_frames
    from semdiff.cli.transmit_files import batches, by_file, common_value, count_pixels, means, output_paths, over_seeds, write_clip
    from semdiff.rng import Key

    import_links()
    from semdiff.link.outputs import output_name

    compare = compare or adjscc is not None
    levels = parse_snrs(snr or ["10"])
    ends = {level: f"-{level:.12g}dB" if len(levels) > 1 else "" for level in levels}
    where = output_paths(images, out, list(ends.values()), compare)
    keys = [Key(seed + i) for i in range(seeds)]
    air = parse_channel(channel)
    link = load_link(model, "photos")
    sizes = [measure_frames(path, link.image_shape, resize) for path in images]
    made_by = output_name(link, realism)
    comparison = Comparison(link, adjscc) if compare else None
    seconds = 0.0
    planned = 1 + len(comparison.systems if comparison else ())  # systems
    draws_each = len(levels) * seeds
    plan = list(batches(torch.zeros(()).expand(1, *size) for count, *size in sizes for _ in range(count)))  # of frames without memory
    # Of the digital system's parts not all may be used by two threads at once.
    at_once = 1 if comparison else workers(TOGETHER // max(map(count_pixels, plan)), len(plan) * draws_each)
    loaded: deque[Animation] = deque()  # what was read and is not yet written: few files, of however many

    def frames_of_files() -> Iterator[Tensor]:
        for path, (count, *_) in zip(images, sizes, strict=True):
            clip = load_animation(path, link.image_shape, resize)
            if len(clip.frames) != count:
                raise ValueError(f"{path}: expected {counted(count, 'frame')} as before, got {len(clip.frames)}; the file was changed")
            loaded.append(clip)
            yield from clip.frames

    draws = ((level, i, j, part) for level in levels for i in range(seeds) for j, part in enumerate(batches(frames_of_files())))
    with _bar(planned * sum(map(len, plan)) * draws_each) as bar:

        def send(_: int, draw: tuple[float, int, int, list[Tensor]]) -> tuple[Transmission, dict[str, list[Outcome]]]:
            level, i, j, frames = draw
            part, key = torch.stack(frames).float() / 255, keys[i].fold_in(j)
            frames.clear()  # a thread keeps its last arguments until it gets others, and with them what was read
            done = link.transmit(part, level, cbr=cbr, channel=air, steps=steps, realism=realism, key=key)
            outcomes = {"link": measure_outcomes(done, part, comparison.lpips if comparison else None)}
            for name, others in comparison.transmit(part, level, cbr, air, key, done.ledger.total) if comparison else ():
                outcomes[name] = others
                bar.update(len(part))
            return done, outcomes

        def results() -> Generator[tuple[Transmission, dict[str, list[Outcome]]]]:
            nonlocal seconds
            with closing(parallel_map(send, draws, at_once)) as running:
                for done, outcomes in running:
                    sent = len(outcomes["link"])
                    bar.update(sent + (planned - len(outcomes)) * sent)  # the link, and those that were left out
                    seconds += done.seconds / at_once
                    yield done, outcomes

        found: dict[tuple[float, int], dict[str, Any]] = {}  # of each file at each SNR: what is written, of the first seed
        numbers: dict[tuple[float, int], list[dict[str, Numbers]]] = {}  # of each seed
        with closing(results()) as coming:
            for level in levels:
                for i in range(seeds):
                    for n, (done, frames) in enumerate(by_file(coming, [count for count, *_ in sizes])):
                        clip = loaded.popleft()
                        if i == 0:
                            cost = f"{done.ledger.total} channel uses (CBR {format_ratio(done.ledger.cbr)})"
                            title = f"{channel}, {level:g} dB, {cost}; link: {made_by}"
                            found[level, n] = {"input": str(images[n]), "frames": len(frames), "snr_db": level, "ledger": done.ledger}
                            place = where[images[n], ends[level]]
                            found[level, n] |= {"evaluations": 0} | write_clip(clip, frames, title if compare else None, place)
                        found[level, n]["evaluations"] = max(found[level, n]["evaluations"], done.evaluations)
                        numbers.setdefault((level, n), []).append(means(frames))
    rows = [_row(file, over_seeds(numbers[at])) for at, file in found.items()]
    report = {
        "snr_db": levels[0] if len(levels) == 1 else levels,
        "channel": channel,
        "cbr": common_value(rows, "cbr"),
        "channel_uses": common_value(rows, "channel_uses_by_kind"),
        "steps": steps,
        "realism": realism,
        "made_by": made_by,
        "seed": seed,
        "seeds": seeds,
        "evaluations": max(row["evaluations"] for row in rows),
        "seconds": seconds,
        "images": rows,
    }
    if comparison:
        report["left_out"] = comparison.left_out
    if as_json:
        print_json(report)
    else:
        _print(report)


def _row(file: dict[str, Any], numbers: dict[str, Numbers]) -> dict[str, Any]:
    """What is told of one file at one SNR: means over its frames and the seeds."""
    ledger = file["ledger"]
    row = {name: file[name] for name in ("input", "output", "frames", "snr_db")} | numbers.pop("link")
    row |= {"cbr": ledger.cbr, "channel_uses": ledger.total, "channel_uses_by_kind": channel_uses(ledger)}
    row["evaluations"] = file["evaluations"]
    return row | ({"compared": file["compared"], "systems": numbers} if "compared" in file else {})


def _bar(total: int) -> Any:
    from tqdm import tqdm

    # None: hidden unless stderr is a terminal
    return tqdm(total=total, disable=None if total > 1 else True, file=sys.stderr, unit="picture", desc="transmit", dynamic_ncols=True)


def _print(report: dict[str, Any]) -> None:
    from rich.table import Table

    rows, seeds = report["images"], report["seeds"]
    one_level = not isinstance(report["snr_db"], list)
    moving = any(row["frames"] > 1 for row in rows)
    names = list(dict.fromkeys(name for row in rows for name in row.get("systems", {})))
    uses = "channel uses as below"
    if report["channel_uses"]:
        uses = f"{report['channel_uses']['total']} channel uses an image (CBR {format_ratio(report['cbr'])})"
    level = f", {report['snr_db']:g} dB" if one_level else ""
    each = 1000 * report["seconds"] / (seeds * sum(row["frames"] for row in rows))
    evaluations = counted(report["evaluations"], "evaluation")
    notes = [f"means over {counted(seeds, 'seed')}, and the standard error"] if seeds > 1 else []
    notes += ["PSNR of each system" + (", LPIPS below it" if "lpips" in rows[0] else "")] if names else []
    table = Table(
        title=f"{report['made_by']}: {report['channel']}{level}, {uses}, {evaluations}, {each:.1f} ms an image",
        caption="; ".join(notes) if notes else None,
    )
    table.add_column("received", overflow="fold")
    heads = [*(["frames"] if moving else []), *([] if one_level else ["sent at\ndB"]), "uses", "CBR", "SNR\ndB", "t"]
    for name in (*heads, *(f"{name}\ndB" for name in ("link", *names))):
        table.add_column(name if names else name.replace("link", "PSNR"), justify="right")
    for i, row in enumerate(rows):
        cost = (
            [str(row["frames"])] * moving + [f"{row['snr_db']:g}"] * (not one_level) + [str(row["channel_uses"]), format_ratio(row["cbr"])]
        )
        quality = [_quality(numbers) for numbers in (row, *(row.get("systems", {}).get(name) for name in names))]
        last = i + 1 < len(rows) and rows[i + 1]["snr_db"] != row["snr_db"]
        table.add_row(row["output"], *cost, f"{row['measured_snr_db']:.2f}", format_time(row["t"]), *quality, end_section=last)
    screen().print(table)


def _quality(numbers: dict[str, float] | None) -> str:
    if numbers is None:
        return "-"
    error = f" +-{numbers['psnr_db_se']:.2f}" if "psnr_db_se" in numbers else ""
    return f"{numbers['psnr_db']:.2f}{error}" + (f"\n{numbers['lpips']:.3f}" if "lpips" in numbers else "")

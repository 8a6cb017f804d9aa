# SPDX-License-Identifier: Apache-2.0
"""Divide pictures into batches of one size, write the received ones to files, and average their numbers, for `semdiff transmit`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from semdiff.cli.comparison import Outcome
from semdiff.cli.panels import Panel, draw_panels
from semdiff.cli.picture_files import save_frames
from semdiff.data.pictures import to_picture

if TYPE_CHECKING:
    from PIL.Image import Image

    from semdiff.data.animations import Animation
    from semdiff.link import Transmission

BATCH = 64  # images at a time, and
PIXELS = 2**20  # of all of them: many small ones fit into little memory, few large ones do
TITLES = {"digital": "digital (best codec, LDPC, QAM)"}

Frames = Sequence[dict[str, Outcome]]  # of one file: what each system made of each
Numbers = dict[str, float]


def batches(frames: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Group neighbouring frames of one size, no more of them than BATCH and PIXELS allow, and at least one. Those before an error come."""
    part: list[Tensor] = []
    try:
        for frame in frames:
            most = max(1, min(BATCH, PIXELS // (frame.shape[1] * frame.shape[2])))
            if part and (frame.shape != part[0].shape or len(part) >= most):
                yield part
                part = []
            part.append(frame)
    except Exception:
        if part:
            yield part
        raise
    if part:
        yield part


def by_file(
    results: Iterator[tuple[Transmission, dict[str, list[Outcome]]]], lengths: Iterable[int]
) -> Iterator[tuple[Transmission, Frames]]:
    """Regroup the results of batches, in order, by file.

    Args:
        results: of each batch: the transmission, and outcomes of each system.
        lengths: frames of each file.

    Yields:
        For each file the last batch that it is in, and its frames' outcomes.
    """
    waiting: list[dict[str, Outcome]] = []
    for length in lengths:
        while len(waiting) < length:
            done, outcomes = next(results)
            waiting += [dict(zip(outcomes, frame, strict=True)) for frame in zip(*outcomes.values(), strict=True)]
        yield done, waiting[:length]
        del waiting[:length]


def count_pixels(frames: list[Tensor]) -> int:
    """Count the pixels of all frames."""
    return len(frames) * frames[0].shape[1] * frames[0].shape[2]


def output_paths(images: Sequence[Path], out: Path, ends: Sequence[str], compare: bool) -> dict[tuple[Path, str], Path]:
    """Choose the files of received pictures: NAME and each of `ends`.

    Args:
        images: files that are sent.
        out: the folder.
        ends: of the names.
        compare: whether side-by-side pictures are written too.

    Returns:
        Paths by (file, end).

    Raises:
        ValueError: where two files would have one path, or one would replace what is sent.
    """
    found: dict[tuple[Path, str], Path] = {}
    taken: dict[Path, Path] = {}
    sources = {path.resolve() for path in images}
    for path in dict.fromkeys(images):
        for end in ends:
            place = found[path, end] = out / f"{path.stem}{end}.png"
            for each in (place, compared_path(place))[: 1 + compare]:
                if each in taken:
                    raise ValueError(f"IMAGE: expected names that differ, got {taken[each]} and {path}, of which both would write {each}")
                if each.resolve() in sources:
                    raise ValueError(f"--out: expected another folder than that of {path}, which would be overwritten")
                taken[each] = path
    return found


def compared_path(place: Path) -> Path:
    """Return the path of the side-by-side picture that belongs to the received one at `place`."""
    return place.with_name(f"{place.stem}-compared.png")


def write_clip(clip: Animation, frames: Frames, title: str | None, place: Path) -> dict[str, str]:
    """Write one file's received pictures.

    Args:
        clip: what was sent.
        frames: what was received.
        title: of the side-by-side picture; None writes none.
        place: path of the received picture.

    Returns:
        The paths.
    """
    save_frames([to_picture(frame["link"].image) for frame in frames], clip, place)
    written = {"output": str(place)}
    if title is not None:
        beside = compared_path(place)
        save_frames([_sheet(title, original, frame) for original, frame in zip(clip.frames, frames, strict=True)], clip, beside)
        written["compared"] = str(beside)
    return written


def means(frames: Frames) -> dict[str, Numbers]:
    """Average the numbers of each system over a file's frames, and count the outages."""
    found = {}
    for name in frames[0]:
        own = [frame[name] for frame in frames if name in frame]
        if len(own) == len(frames):  # a system may have been left out in between
            found[name] = {key: sum(o.numbers[key] for o in own) / len(own) for key in own[0].numbers}
            if name != "link":
                found[name]["outages"] = sum(o.outage for o in own)
    return found


def over_seeds(draws: Sequence[dict[str, Numbers]]) -> dict[str, Numbers]:
    """Average `means` of several draws of the channel.

    Outages are summed. From two draws on there is psnr_db_se, the standard error of the mean PSNR.

    Args:
        draws: `means` of each draw.
    """
    found: dict[str, Numbers] = {}
    count = len(draws)
    for name in draws[0]:
        own = [draw[name] for draw in draws if name in draw]
        if len(own) == count:
            found[name] = {key: sum(n[key] for n in own) / (1 if key == "outages" else count) for key in own[0]}
            if count > 1:
                mean = found[name]["psnr_db"]
                found[name]["psnr_db_se"] = math.sqrt(sum((n["psnr_db"] - mean) ** 2 for n in own) / (count - 1) / count)
    return found


def common_value(rows: Sequence[dict[str, Any]], name: str) -> Any:
    """Return what all rows have under a name; None where they differ."""
    found = rows[0][name]
    return found if all(row[name] == found for row in rows) else None


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

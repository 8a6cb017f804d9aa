# SPDX-License-Identifier: Apache-2.0
"""Define the command `semdiff data`."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from semdiff.cli.options import Json
from semdiff.cli.output import print_json, screen


class DataSet(StrEnum):
    """Name the data sets that can be built."""

    photos = "photos"


def data(
    name: Annotated[DataSet, typer.Argument(help="Which data set.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Also write the pictures to this folder, as PNG, one folder a split.", file_okay=False)
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--from", help="What the Debian packages put into /usr/share, elsewhere.", exists=True, file_okay=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """Build a data set from packages that are installed, check every file, and keep it in the cache. Nothing is downloaded."""
    from rich.table import Table

    from semdiff.cli.picture_files import save_png
    from semdiff.data.photos import photo_list, photos
    from semdiff.data.pictures import require_pillow, to_picture

    require_pillow()
    splits = {split: photos(split, folder, progress=True) for split in ("train", "test")}
    if out is not None:
        for split, pictures in splits.items():
            for picture, pixels in pictures.items():
                save_png(to_picture(pixels), out / split / f"{picture.replace('/', '-')}.png")
    rows = [
        {
            "split": split,
            "photographs": sum(photo.split == split for photo in photo_list()),
            "pictures": len(pictures),
            "megapixels": round(sum(p.shape[1] * p.shape[2] for p in pictures.values()) / 1e6, 2),
            "licences": dict(Counter(photo.licence for photo in photo_list() if photo.split == split)),
        }
        for split, pictures in splits.items()
    ]
    if as_json:
        print_json({"data": name.value, "out": None if out is None else str(out), "splits": rows})
        return
    table = Table(title="semdiff-photos; docs/photos.md names every author and licence")
    for heading in ("split", "photographs", "pictures", "megapixels", "licences"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        licences = ", ".join(f"{k}: {v}" for k, v in row["licences"].items())  # type: ignore[attr-defined]
        table.add_row(*(str(row[k]) for k in ("split", "photographs", "pictures", "megapixels")), licences)
    screen().print(table)

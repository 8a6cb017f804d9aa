# SPDX-License-Identifier: Apache-2.0
"""Record a training as a table: the running losses, and scores of held-out pictures at intervals."""

from __future__ import annotations

import csv
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

from semdiff._util.atomic import write_atomically
from semdiff._util.csv_files import to_csv

COLUMNS = ("stage", "step", "images", "seconds", "quantity", "picture", "snr_db", "cbr", "value")
VALIDATE_EVERY = 180.0  # seconds
LARGEST_SHARE = 0.03  # of the time, for validation


class HeldOutScore(NamedTuple):
    """Hold one number about held-out pictures.

    Attributes:
        quantity, value: the number.
        picture: which of those that a receiver can make.
        snr_db, cbr: where it was sent; None where nothing is.
    """

    quantity: str
    value: float
    picture: str
    snr_db: float | None = None
    cbr: float | None = None


class Curve:
    """Keep the table in a CSV file with COLUMNS. A loss has no picture; seconds are those of all runs up to the row.

    Rows are written before the checkpoint that they lead to, so a resumed training finds every row up to its checkpoint. Rows beyond the
    checkpoint are dropped: the training makes them again.

    Args:
        path: of the file.
        resume: whether to read it.
        begun: time.perf_counter() at the start of this run; None is now.

    Raises:
        ValueError: naming the file, where it is no such table.
    """

    def __init__(self, path: Path, resume: bool = True, begun: float | None = None) -> None:
        self.path = path
        self.rows = _read(path) if resume and path.exists() else []
        self.before = float(self.rows[-1][3]) if self.rows else 0.0
        self.begun = (time.perf_counter() if begun is None else begun) - self.before

    def of_stage(self, stage: str, batch_size: int, validate: Callable[[], list[HeldOutScore]] | None = None) -> StageCurve:
        """Return the recorder of one stage.

        Args:
            stage: its name.
            batch_size: images of a step.
            validate: gives the scores; called with the averaged weights in place.
        """
        return StageCurve(self, stage, batch_size, validate)

    def write(self) -> None:
        """Write the table."""
        write_atomically(self.path, to_csv(COLUMNS, self.rows))


class StageCurve:
    """Record one stage for `fit`.

    Args:
        curve: the table.
        stage, batch_size, validate: as in `Curve.of_stage`.
    """

    def __init__(self, curve: Curve, stage: str, batch_size: int, validate: Callable[[], list[HeldOutScore]] | None) -> None:
        self.curve, self.stage, self.batch_size, self.validate = curve, stage, batch_size, validate
        self.next = time.perf_counter() + VALIDATE_EVERY
        self.scores: dict[str, float] = {}
        self.spent, self.looks = 0.0, 0  # seconds in validation, and how many there were

    def begin(self, step: int) -> None:
        """Drop the rows beyond `step`, at which the stage goes on."""
        self.curve.rows = [row for row in self.curve.rows if row[0] != self.stage or int(row[1]) <= step]

    def observe(
        self, step: int, losses: dict[str, float], averaged: Callable[[], AbstractContextManager[None]], last: bool
    ) -> dict[str, float]:
        """Record the losses and, where it is time or the stage's last step, the scores.

        Args:
            step: steps so far.
            losses: running means by name.
            averaged: a context with the averaged weights in place.
            last: whether this is the last step.

        Returns:
            The last scores' means, to show.
        """
        self._note(step, *(HeldOutScore(name, value, "") for name, value in losses.items()))
        if self.validate is not None and (last or time.perf_counter() >= self.next):
            begun = time.perf_counter()
            with averaged():
                scores = self.validate()
            taken = time.perf_counter() - begun
            self.spent, self.looks = self.spent + taken, self.looks + 1
            self.next = begun + taken + max(VALIDATE_EVERY, taken / LARGEST_SHARE)
            self._note(step, *scores)
            values: dict[str, list[float]] = {}
            for score in scores:
                values.setdefault(f"{score.picture} {score.quantity}", []).append(score.value)
            self.scores = {name: round(sum(all_) / len(all_), 3) for name, all_ in values.items()}
        return self.scores

    def save(self) -> None:
        """Write the table before a checkpoint."""
        self.curve.write()

    def _note(self, step: int, *scores: HeldOutScore) -> None:
        place = (self.stage, str(step), str(step * self.batch_size), f"{time.perf_counter() - self.curve.begun:.0f}")
        for s in scores:
            where = ("" if s.snr_db is None else f"{s.snr_db:g}", "" if s.cbr is None else f"{s.cbr:.6f}")
            self.curve.rows.append((*place, s.quantity, s.picture, *where, f"{s.value:.6g}"))


def _read(path: Path) -> list[tuple[str, ...]]:
    header, *rows = [tuple(row) for row in csv.reader(path.read_text("utf-8").splitlines())] or [()]
    damaged = [row for row in rows if len(row) != len(COLUMNS) or not row[1].isdigit() or not row[3].isdigit()]
    if header != COLUMNS or damaged:
        expected = f"a training's curve with the columns {', '.join(COLUMNS)}"
        raise ValueError(f"{path}: expected {expected}, got {','.join((damaged or [header])[0])!r}; remove it or give --fresh")
    return rows

# SPDX-License-Identifier: Apache-2.0
"""Hold the table of an evaluation: one row a cell, and its mean over the seeds with a confidence interval."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semdiff._util.atomic import write_atomically
from semdiff._util.csv_files import to_csv
from semdiff.evaluation.cells import AXES, COLUMNS, picture_path
from semdiff.evaluation.columns import check_results
from semdiff.evaluation.json_files import read_json, replace_non_finite, to_json

FORMAT, VERSION = "semdiff evaluation", 1
Row = dict[str, Any]


@dataclass(frozen=True)
class Results:
    """Hold what `sweep` returns and `Results.load` reads back.

    Attributes:
        header: the configuration, data, systems with the sha256 of their weights, environments, counts of cells.
        rows: one a cell, with the columns AXES, the ledger, uses, cbr_used, measured_snr_db, t, evaluations, milliseconds (an image, the
            median over the batches), then each metric and its standard error over the images (NAME_se). None where there is no such number.
        folder: of the files; None where none were kept.

    Example:
        >>> from semdiff.baselines import ADJSCC
        >>> from semdiff.data import sample_images
        >>> from semdiff.evaluation import sweep
        >>> results = sweep(systems={"adjscc": ADJSCC.default()}, snr_db=10, data=sample_images(), metrics=["psnr"], seeds=[0, 1])
        >>> len(results.rows), results.summary()[0]["seeds"], results.metrics
        (2, 2, ['psnr'])
    """

    header: dict[str, Any]
    rows: list[Row]
    folder: Path | None = None

    @property
    def metrics(self) -> list[str]:
        """List the names of the metrics."""
        return list(self.header["metrics"])

    @property
    def complete(self) -> bool:
        """Check whether every cell of the evaluation has a row."""
        return len(self.rows) == int(self.header["cells"])

    def trained_on(self, system: str, metric: str) -> bool:
        """Check whether a system was trained to make a metric good, which then proves less.

        Args:
            system: its label.
            metric: the metric.
        """
        return metric in self.header["systems"][system].get("trained_on", ())

    def output(self, row: Row) -> str | None:
        """Name what made a row's images, where the system says so: mean decoder, posterior mean, detail decoder, sample."""
        names = self.header["systems"].get(row["system"], {}).get("outputs") or ()
        return next((name for realism, name in enumerate(names) if row["realism"] == realism), None)

    def summary(self) -> list[Row]:
        """Average the rows over the seeds: one row for each combination of the other axes.

        A metric NAME has its mean over the seeds and NAME_ci95, the half width of the 95 % confidence interval, t_{0.975, n-1} s / sqrt n
        (Student, 1908): how far other draws of the channel's and the sampler's noise may lie, for the same images. None for one seed.
        `output` names what made the images.
        """
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.rows:
            groups.setdefault(tuple(row[a] for a in AXES[:-1]), []).append(row)
        table = []
        for key, rows in groups.items():
            line: Row = dict(zip(AXES[:-1], key, strict=True)) | {"seeds": len(rows)}
            line["output"] = self.output(rows[0])
            line |= {name: rows[0][name] for name in COLUMNS[len(AXES) : -4]}
            for name in ("measured_snr_db", "t", "evaluations", "milliseconds", *self.metrics):
                line[name], interval = mean_and_interval([row[name] for row in rows])
                if name in self.metrics:
                    line[f"{name}_ci95"] = interval
                    line[f"{name}_se"] = rows[0][f"{name}_se"]
            table.append(line)
        return table

    def to_pandas(self) -> Any:
        """Return the rows as a pandas.DataFrame."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas: pip install 'semdiff-torch[eval]'") from error
        return pandas.DataFrame(self.rows)

    def pictures(self) -> Iterator[tuple[Row, NDArray[np.uint8]]]:
        """Yield the rows of the first seed with the received images that were kept: uint8 (n, C, H, W)."""
        for row, name in zip(self.rows, self.header["digests"], strict=True):
            if self.folder is not None and self.header["pictures"] and row["seed"] == self.header["seeds"][0]:
                yield row | {"output": self.output(row)}, _load(picture_path(self.folder, name))

    def originals(self) -> NDArray[np.uint8] | None:
        """Read the images that were sent, as many as were kept: uint8 (n, C, H, W), or None."""
        if self.folder is None or not self.header["pictures"]:
            return None
        return _load(picture_path(self.folder, "originals"))

    def write(self, folder: Path) -> None:
        """Write results.json (all), results.csv (the rows) and summary.csv.

        Args:
            folder: where.
        """
        write_atomically(folder / "results.csv", _rows_to_csv(self.rows))
        write_atomically(folder / "summary.csv", _rows_to_csv(self.summary()))
        write_atomically(folder / "results.json", to_json({"format": FORMAT, "format_version": VERSION, **self.header, "rows": self.rows}))

    @classmethod
    def load(cls, path: str | Path) -> Results:
        """Read results from a folder that `sweep` wrote, or its results.json.

        Args:
            path: the folder or the file.

        Raises:
            FileNotFoundError: where there is none.
            ValueError: naming the file and the field, for another format, version or damage.
        """
        place = Path(path)
        place = place / "results.json" if place.is_dir() else place
        if not place.is_file():
            cells = len(list((place.parent / "cells").glob("*.json")))
            hint = f"; {cells} cells are there: the same `semdiff evaluate` finishes the rest" if cells else ""
            raise FileNotFoundError(f"{path}: expected a folder with results.json, as `semdiff evaluate` writes it{hint}")
        header = read_json(place, FORMAT, VERSION)
        check_results(place, header)
        rows = header.pop("rows")
        del header["format"], header["format_version"]
        columns = [*COLUMNS, *(f"{m}{end}" for m in header["metrics"] for end in ("", "_se"))]
        return cls(header, [{name: row.get(name) for name in columns} for row in rows], place.parent)


def _load(path: Path) -> NDArray[np.uint8]:
    """Kept pictures. FileNotFoundError where they are not there; ValueError, naming the file, where they are damaged or something else."""
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise
    except Exception as error:
        raise ValueError(f"{path}: expected kept pictures, but it does not read ({error})") from error
    if not isinstance(found, np.ndarray) or found.dtype != np.uint8 or found.ndim != 4 or found.shape[1] not in (1, 3):
        raise ValueError(f"{path}: expected kept pictures, bytes (n, 1 or 3, H, W), got something else")
    return found


def mean_and_interval(values: list[float | None]) -> tuple[float | None, float | None]:
    """Compute a mean, and the half width of its 95 % confidence interval by Student's t.

    Args:
        values: numbers; None is a missing one.

    Returns:
        Both, or None where a number is missing; the second is None for a single number.
    """
    numbers = [v for v in values if v is not None]
    if len(numbers) < len(values) or not numbers:
        return None, None
    n, mean = len(numbers), math.fsum(numbers) / len(numbers)
    if n == 1:
        return mean, None
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in numbers) / (n - 1))
    return mean, student_t_975(n - 1) * deviation / math.sqrt(n)


def student_t_975(freedom: int) -> float:
    """Compute the 97.5 % point of Student's t for so many degrees of freedom."""
    try:
        from scipy.special import stdtrit
    except ImportError as error:
        raise ImportError("confidence intervals need scipy: pip install 'semdiff-torch[eval]'") from error
    return float(stdtrit(freedom, 0.975))


def _rows_to_csv(rows: list[Row]) -> bytes:
    """Write rows of the same columns as CSV; fields without a number are empty."""
    return to_csv(list(rows[0]) if rows else COLUMNS, map(replace_non_finite, rows))

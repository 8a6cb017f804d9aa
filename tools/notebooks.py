#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Execute notebooks and store what they print and draw: tools/notebooks.py [NOTEBOOK ...], all of notebooks/ if none is named.

What differs from run to run and says nothing to a reader is left out: times of execution, and the address of an object. Pictures are stored
in 256 colours, which takes a third of the place.
"""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat
from PIL import Image

from semdiff._util.atomic import write_atomically

FOLDER = Path(__file__).parents[1] / "notebooks"
ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def smaller(png: str) -> str:
    """The same picture in 256 colours; PNG in base64, as notebooks hold it."""
    stored = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(256).save(stored, "PNG", optimize=True)
    return base64.b64encode(stored.getvalue()).decode()


def execute(path: Path) -> None:
    """Run one notebook from top to bottom, in an empty folder, and write it with its outputs."""
    notebook: Any = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as place:
        nbclient.NotebookClient(notebook, timeout=3600, kernel_name="python3", resources={"metadata": {"path": place}}).execute()
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "text/plain" in data:
                data["text/plain"] = ADDRESS.sub("", data["text/plain"])
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    write_atomically(path, (nbformat.writes(notebook) + "\n").encode())


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for path in [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.glob("*.ipynb")):
        print(path.name, flush=True)
        execute(path)


if __name__ == "__main__":
    main()

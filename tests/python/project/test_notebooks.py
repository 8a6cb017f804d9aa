# SPDX-License-Identifier: Apache-2.0
"""The notebooks run from top to bottom, and are stored with what they print and draw: tools/notebooks.py."""

import importlib.util
import json
import re
from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

FOLDER = Path(__file__).parents[3] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 500_000  # bytes
PLOTS = {
    "01_channel_is_diffusion": 4,
    "02_transmit": 4,
    "03_training": 3,
    "04_channels": 4,
    "05_fair_comparison": 3,
    "06_photographs": 4,
    "07_sionna": 4,
    "08_latent_diffusion": 2,
    "09_your_own_parts": 2,
}


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def test_they_are_numbered() -> None:
    assert [p.stem for p in NOTEBOOKS] == list(PLOTS)
    numbers = [int(p.stem[:2]) for p in NOTEBOOKS]
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_outputs_are_stored(path: Path) -> None:
    """Of one run from top to bottom, and small: what a clone has to carry."""
    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert path.stat().st_size <= LARGEST
    assert not re.search(r"/(home|root|tmp|work)/", path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [o for cell in code for o in cell.outputs]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == PLOTS[path.stem]
    assert [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"] == []
    assert all(cell.metadata == {} for cell in notebook.cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_they_are_pages_of_the_site(path: Path) -> None:
    """With their text, their code, what was printed and what was drawn, in this order."""
    pytest.importorskip("myst_parser")
    spec = importlib.util.spec_from_file_location("notebooks", FOLDER.parent / "docs" / "_extensions" / "notebooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (FOLDER.parent / "docs" / "notebooks" / path.name).is_file()
    page = module.page(json.loads(path.read_text(encoding="utf-8")))
    assert page.count("](data:image/png;base64,") == PLOTS[path.stem]
    place = 0
    for cell in read(path).cells:
        place = page.index(cell.source, place) + len(cell.source)
        for output in cell.get("outputs", []):
            place = page.index(output.text.rstrip(), place) if output.output_type == "stream" else place


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_they_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # on a busy machine two threads of work this small mostly wait for each other
    source = path.read_text(encoding="utf-8")
    if "semdiff.baselines" in source or "semdiff.phy.sionna" in source:
        pytest.importorskip("sionna", reason="needs sionna-no-rt: pip install 'semdiff-torch[eval]'")
    if "fashion_mnist(" in source and "sample_images()" not in source:
        from semdiff.data import fashion_mnist

        try:
            fashion_mnist("test")
        except FileNotFoundError as error:
            pytest.skip(str(error))
    notebook = read(path)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [o for cell in notebook.cells if cell.cell_type == "code" for o in cell.outputs]
    assert sum("image/png" in o.get("data", {}) for o in outputs) == PLOTS[path.stem]
    complaints = [o.text for o in outputs if o.get("name") == "stderr"]
    no_gpu = "No CUDA runtime is found"  # said by torch's build for CUDA where there is no GPU
    assert [text for text in complaints if no_gpu not in text] == []
    assert list(tmp_path.iterdir()) == []  # nothing is left behind

# SPDX-License-Identifier: Apache-2.0
"""`semdiff train photos` in two processes: one plan, one set of checkpoints, one curve, and the same bits when it was cut off."""

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("accelerate")

from semdiff._util.tensor_files import load_tensors
from semdiff.data.pictures import to_picture
from semdiff.link import PixelLink
from semdiff.training.saving import images_seen
from tests.python.pretrained import require_lpips
from tests.python.tiny_photos import STAGES, pictures, write_recipe

ROOT = Path(__file__).parents[3]


CLI = ("--no-python", sys.executable, "-c", "from semdiff.cli import main; main()", "train", "photos")


def two(*arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=os.environ | variables, capture_output=True, text=True)


@pytest.mark.slow
def test_two_processes_train_one_link(tmp_path: Path) -> None:
    require_lpips()
    data, whole, cut = tmp_path / "data", tmp_path / "whole", tmp_path / "cut"
    data.mkdir()
    for name, picture in pictures().items():
        to_picture(picture).save(data / f"{name}.png")
    recipe = write_recipe(tmp_path / "tiny.toml")
    options = ("--config", recipe, "--data", data, "--precision", "fp32")
    ran = two(*CLI, "--out", whole, "--budget", "1s", *options)
    assert ran.returncode == 0, ran.stderr
    plan = json.loads((whole / "plan.json").read_text())
    assert plan["steps"].keys() == set(STAGES)
    assert {p.name for p in (whole / "checkpoints").iterdir()} == {f"{stage}.safetensors" for stage in STAGES}

    plan["steps"] = dict.fromkeys(STAGES, 3)  # else a quick machine would have much to do twice
    for folder in (whole, cut):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / "plan.json").write_text(json.dumps(plan))
    stopped = two("-m", "tests.python.cut_training", cut, recipe, data, 1.0, "decoder", 2)
    assert "stopped" in stopped.stderr, stopped.stderr
    assert {p.name for p in (cut / "checkpoints").iterdir()} == {f"{stage}.safetensors" for stage in STAGES[:3]}
    for folder in (whole, cut):
        ran = two(*CLI, "--out", folder, "--budget", "1s", *options)
        assert ran.returncode == 0, ran.stderr
        assert json.loads((folder / "plan.json").read_text()) == plan
        with (folder / "curve.csv").open(newline="") as file:
            rows = Counter((r["stage"], r["step"], r["quantity"], r["picture"], r["snr_db"], r["cbr"]) for r in csv.DictReader(file))
        assert {stage for stage, *_ in rows} == set(STAGES)
        assert set(rows.values()) == {1}
    files = [p.relative_to(whole) for p in (whole / "model").rglob("*.safetensors")]
    assert len(files) == 6
    assert all((whole / f).read_bytes() == (cut / f).read_bytes() for f in files)


@pytest.mark.slow
def test_one_killed_process_ends_the_other_and_the_training_goes_on(tmp_path: Path) -> None:
    """The other does not wait for ever, and torchrun says which was killed. The same command ends with the bits of one undisturbed."""
    cut = two("-m", "tests.python.killed_rank", "train", tmp_path / "cut", KILLED="1")
    assert cut.returncode != 0
    assert "Signal 9 (SIGKILL)" in cut.stderr
    assert load_tensors(tmp_path / "cut" / "line.safetensors")[1]["step"] in (5, 6)
    for folder in ("cut", "whole"):
        ran = two("-m", "tests.python.killed_rank", "train", tmp_path / folder)
        assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "cut" / "line.safetensors").read_bytes() == (tmp_path / "whole" / "line.safetensors").read_bytes()
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
def test_two_processes_train_a_link_on_pixels(tmp_path: Path) -> None:
    require_lpips()
    ran = two("-m", "tests.python.tiny_pixels", tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert {p.name for p in (tmp_path / "checkpoints").iterdir()} == {f"{stage}.safetensors" for stage in ("upsampler", "flow", "finish")}
    model = tmp_path / "model"
    assert images_seen(model) == {"upsampler": 8, "flow": 8, "finish": 8}  # of both processes together
    PixelLink.from_pretrained(model)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    ran = two("-m", "tests.python.tiny_pixels", tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before  # nothing is left to do

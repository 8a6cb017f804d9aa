# SPDX-License-Identifier: Apache-2.0
"""A training whose disk is full, or whose folder has no pictures: one line says so, and what was there before is whole."""

import errno
import os
from pathlib import Path

import pytest

pytest.importorskip("accelerate")

from semdiff._util.tensor_files import load_tensors
from semdiff.data.pictures import to_picture
from semdiff.training.recipes.photos import train
from semdiff.training.saving import save_link
from tests.python.pretrained import require_lpips
from tests.python.tiny_photos import pictures, write_recipe


def fill(file: Path) -> Path:
    """The next write of `file` meets a full disk: what is written beside it goes to a device that always is."""
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    part.symlink_to("/dev/full")
    return part


@pytest.fixture
def options(tmp_path, monkeypatch):
    require_lpips()
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    monkeypatch.setattr("semdiff.training.budget.steps_within", lambda *_: 3)
    return {"config": write_recipe(tmp_path / "tiny.toml"), "pictures": pictures(), "progress": False, "precision": "fp32"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["checkpoints/fidelity.safetensors", "curve.csv"])
def test_a_full_disk_leaves_the_last_checkpoint_and_curve_whole(name, options, tmp_path):
    whole = train(tmp_path / "whole", **options)
    out = tmp_path / "run"
    before = {}

    def full(*place):
        if place == ("fidelity", 2):
            fill(out / name)
            before.update({p: p.read_bytes() for p in (out / "checkpoints" / "fidelity.safetensors", out / "curve.csv")})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semdiff.training.engine.time.monotonic", iter(range(0, 10**6, 100)).__next__)  # a checkpoint every step
        with pytest.raises(OSError, match=f"{Path(name).name}") as caught:
            train(out, on_step=full, **options)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(out / name))
    assert load_tensors(out / "checkpoints" / "fidelity.safetensors")[1]["step"] == 2
    assert (out / name).read_bytes() == before[out / name]
    assert not list(out.rglob("*.part"))
    resumed = train(out, **options)  # there is room again
    for file in whole.rglob("*.safetensors"):
        assert file.read_bytes() == (resumed / file.relative_to(whole)).read_bytes()


def test_a_link_that_cannot_be_saved_leaves_the_old_one(tmp_path):
    class Link:
        def to(self, _):
            return self

        def save_pretrained(self, folder):
            folder.mkdir()
            (folder / "half").write_text("half")
            raise OSError(errno.ENOSPC, "No space left on device", str(folder / "half"))

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "old").write_text("old")
    with pytest.raises(OSError, match="No space left on device"):
        save_link(Link(), tmp_path / "model")
    assert [p.relative_to(tmp_path).as_posix() for p in sorted(tmp_path.rglob("*"))] == ["model", "model/old"]


def test_the_command_says_it_in_one_line(options, tmp_path, capfd):
    cli = pytest.importorskip("semdiff.cli.app")
    data = tmp_path / "data"
    data.mkdir()
    for name, picture in pictures().items():
        to_picture(picture).save(data / f"{name}.png")
    file = tmp_path / "run" / "checkpoints" / "fidelity.safetensors"
    fill(file)
    command = ["train", "photos", "--out", str(tmp_path / "run"), "--config", str(options["config"]), "--data"]
    with pytest.raises(SystemExit, match="1"):
        cli.app([*command, str(data)])
    assert capfd.readouterr().err.splitlines()[-1] == f"semdiff: [Errno 28] No space left on device: '{file}'"
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no picture")
    with pytest.raises(SystemExit, match="2"):
        cli.app([*command, str(empty)])
    assert capfd.readouterr().err.startswith("semdiff: expected pictures (.avif, .bmp,")
    for picture in data.iterdir():
        to_picture(pictures()["a"][:, :40]).save(picture)
    with pytest.raises(SystemExit, match="2"):
        cli.app([*command, str(data)])
    assert capfd.readouterr().err == "semdiff: pictures: expected some of at least 80x80 pixels, got 3 smaller ones\n"

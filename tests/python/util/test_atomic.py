# SPDX-License-Identifier: Apache-2.0
"""Files and folders across kills, errors and readers: the old or the new, whole, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from semdiff._util import atomic
from semdiff._util.atomic import folder_atomically, keep_others, write_atomically

LONG_AGO = 3600.0


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process that has written nothing yet."""
    monkeypatch.setattr(atomic, "_swept", set())


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    """A process that runs the code in the folder and says when it has come to `ready()`."""
    head = "import os, signal, time\nfrom pathlib import Path\nfrom semdiff._util.atomic import *\n"
    head += "def ready():\n    print('ready', flush=True)\n    time.sleep(600)\n"
    return subprocess.Popen([sys.executable, "-c", head + code], cwd=folder, stdout=subprocess.PIPE, text=True)


HALF_FILE = "write_atomically(Path('a.txt'), lambda file: (file.write(b'half'), file.flush(), ready()))"
HALF_FOLDER = """
with folder_atomically(Path('model')) as new:
    new.mkdir()
    (new / 'weights').write_text('half')
    ready()
"""


def wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def grow_old(folder: Path) -> list[Path]:
    """What lies beside, as if it had lain there for long."""
    parts = [path for path in folder.iterdir() if path.name.endswith(".part")]
    for path in parts:
        os.utime(path, (time.time() - LONG_AGO,) * 2)
    return parts


@pytest.mark.parametrize("code", [HALF_FILE, HALF_FOLDER])
def test_what_a_kill_leaves_is_cleared_by_the_next_write(tmp_path: Path, code: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_text("old")
    (tmp_path / "a.txt").write_text("old")
    process = start(code, tmp_path)
    wait_until_ready(process)
    kill(process)
    assert len(grow_old(tmp_path)) == 1
    write_atomically(tmp_path / "other.txt", b"new")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "model", "other.txt"]
    assert (tmp_path / "a.txt").read_text() == (tmp_path / "model" / "weights").read_text() == "old"


@pytest.mark.parametrize("code", [HALF_FILE, HALF_FOLDER])
def test_what_is_being_written_stays(tmp_path: Path, code: str) -> None:
    (tmp_path / "model").mkdir()
    process = start(code, tmp_path)
    try:
        wait_until_ready(process)
        assert len(parts := grow_old(tmp_path)) == 1
        write_atomically(tmp_path / "other.txt", b"new")
        assert parts[0].exists()
    finally:
        kill(process)


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    for name in ("a.txt.part", ".a.txt.part", ".part", "a.1.part", ".a.txt.12x.part"):
        (tmp_path / name).write_text("a user's")
    (tmp_path / ".link.7.part").symlink_to(tmp_path / "a.1.part")
    (tmp_path / ".first.7.part").mkdir()  # where a folder was never whole, there is nothing to tell that it is not wanted
    before = set(tmp_path.iterdir())
    grow_old(tmp_path)
    (tmp_path / ".young.7.part").write_text("just made, perhaps not locked yet")
    write_atomically(tmp_path / "b.txt", b"new")
    assert set(tmp_path.iterdir()) == before | {tmp_path / "b.txt", tmp_path / ".young.7.part"}


def write(place: Path, text: str) -> None:
    with folder_atomically(place) as new:
        new.mkdir()
        (new / "a").write_text(text)
        (new / "b").write_text(text)


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool) -> None:
    if not exchange:
        monkeypatch.setattr(atomic, "_exchange", lambda *_: False)
    place = tmp_path / "deep" / "model"
    for text in ("one", "two"):
        write(place, text)
        assert [p.read_text() for p in sorted(place.iterdir())] == [text, text]
        assert list(place.parent.iterdir()) == [place]


def test_an_error_leaves_the_old_folder(tmp_path: Path) -> None:
    write(tmp_path / "model", "old")

    def fail() -> None:
        with folder_atomically(tmp_path / "model") as new:
            new.mkdir()
            (new / "a").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert (tmp_path / "model" / "a").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


@pytest.mark.slow
def test_a_reader_meets_the_old_folder_or_the_new_one(tmp_path: Path) -> None:
    """Without a moment in which there is none: what is opened by its path is always there."""
    write(tmp_path / "model", "0")
    code = """
import itertools
for i in itertools.count(1):
    with folder_atomically(Path('model')) as new:
        new.mkdir()
        (new / 'a').write_text(str(i))
    if i == 1:
        print('ready', flush=True)
"""
    process = start(code, tmp_path)
    try:
        wait_until_ready(process)
        seen = []
        until = time.monotonic() + 2
        while time.monotonic() < until:
            seen.append(int((tmp_path / "model" / "a").read_text()))
    finally:
        kill(process)
    assert seen == sorted(seen)
    assert seen[-1] > seen[0] + 10


def test_the_folder_of_this_process_and_a_link_to_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "model", "old")
    (tmp_path / "link").symlink_to("model")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "model" / "a").read_text() == "new"
    monkeypatch.chdir(tmp_path / "model")
    write(Path(), "newer")
    assert Path("a").read_text() == "newer"
    with pytest.raises(ValueError, match="a: expected a folder, or nothing yet, got a file"):
        write(Path("a"), "")


def test_others_are_kept(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "unet").mkdir(parents=True)
    (old / "unet" / "note.txt").write_text("mine")
    (old / "config").write_text("old")
    (old / "dangling").symlink_to("nowhere")
    new.mkdir()
    (new / "config").write_text("new")
    keep_others(old, new)
    assert (new / "config").read_text() == "new"
    assert (new / "unet" / "note.txt").read_text() == "mine"
    assert os.readlink(new / "dangling") == "nowhere"
    keep_others(tmp_path / "absent", new)


def jscc(width: int) -> Any:
    from semdiff.baselines import ADJSCC

    return ADJSCC(width=width, outer_width=4, depth=1)


@pytest.mark.parametrize("kind", ["link", "jscc"])
def test_a_model_that_cannot_be_saved_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    pytest.importorskip("diffusers")
    from semdiff.baselines import ADJSCC
    from semdiff.link import SemanticLink
    from semdiff.models import store
    from semdiff.training.recipes.latents import build

    def save(seed: int) -> None:
        if kind == "link":
            build(seed).link().save_pretrained(tmp_path / "model")
        else:
            jscc(8 + seed).save(tmp_path / "model")

    save(0)
    (tmp_path / "model" / "notes.txt").write_text("mine")
    whole = store.files_digest(tmp_path / "model")
    with monkeypatch.context() as patch:
        patch.setattr(store, "_digests", lambda _: os.close(10**6))  # late: all else is written
        with pytest.raises(OSError, match="Bad file descriptor"):
            save(1)
    assert store.files_digest(tmp_path / "model") == whole
    load: Any = SemanticLink.from_pretrained if kind == "link" else ADJSCC.load
    load(tmp_path / "model")
    save(1)
    assert store.files_digest(tmp_path / "model") != whole
    load(tmp_path / "model")
    assert (tmp_path / "model" / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == ["model"]


def test_a_kill_at_any_moment_leaves_a_whole_folder(tmp_path: Path) -> None:
    """Killed after each of the calls by which a folder is saved: what is at its place is the old one or the new one."""
    code = """
import sys
from semdiff._util import atomic
left = int(sys.argv[1]) if len(sys.argv) > 1 else LEFT
def count(name, module):
    call = getattr(module, name)
    def wrapped(*args, **kwargs):
        global left
        done = call(*args, **kwargs)
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(module, name, wrapped)
for name, module in (('mkdir', os), ('fsync', os), ('rename', os), ('_exchange', atomic), ('rmdir', os), ('unlink', os)):
    count(name, module)
with folder_atomically(Path('model')) as new:
    new.mkdir()
    for name in 'ab':
        (new / name).write_text('new')
"""
    found = set()
    for left in range(1, 30):
        write(tmp_path / "model", "old")
        process = start(code.replace("LEFT", str(left)), tmp_path)
        process.communicate()
        texts = {p.read_text() for p in (tmp_path / "model").iterdir()}
        assert len(texts) == 1
        assert len(list((tmp_path / "model").iterdir())) == 2
        found |= texts
        if process.returncode == 0:
            break
        assert process.returncode == -signal.SIGKILL
    assert found == {"old", "new"}
    assert left > 6

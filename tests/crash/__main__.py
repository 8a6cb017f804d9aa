# SPDX-License-Identifier: Apache-2.0
"""Kill and fail what writes files: python -m tests.crash [--kills N] [--seed S] [--every] [COMMAND...]

N processes of each command are killed at random moments, 25 without (100 of the four together). With --every, each call that changes a file
fails once with a full disk, once with a broken one, is cut short once, and ends the process once by SIGKILL; without it a tenth of them do.
Afterwards every file is whole, the same command ends with what an undisturbed one has, and nothing else is left.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SHIM = "SEMDIFF_TEST_SHIM"
KINDS = {"full": 1, "broken": 2, "short": 3, "kill": 4}  # of shim.c
OLD = 120.0  # seconds: what killed processes left is taken away when it is older than a minute


def under_shim() -> None:
    """Begin again with the shim loaded before libc."""
    place = Path(tempfile.mkdtemp(prefix="semdiff-shim-")) / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([os.environ.get("CC", "cc"), "-O1", "-shared", "-fPIC", "-o", str(place), str(source), "-ldl"], check=True)
    environment = os.environ | {SHIM: str(place), "LD_PRELOAD": str(place)}
    try:
        ran = subprocess.run([sys.executable, "-m", "tests.crash", *sys.argv[1:]], cwd=ROOT, env=environment)
    finally:
        shutil.rmtree(place.parent)
    sys.exit(ran.returncode)


@contextmanager
def child(call: Any, folder: Path, at: int = 0, kind: str = "full") -> Iterator[tuple[int, int]]:
    """Fork a process that makes the call with the shim set. Gives its id and the end of a pipe at which its words come."""
    read, write = os.pipe()
    sys.stdout.flush()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            os.close(read)
            shim = ctypes.CDLL(os.environ[SHIM])
            shim.shim_begin(os.fsencode(folder), at, KINDS[kind])
            try:
                call()
                code = 0
            except OSError as error:
                code = 3 if error.filename is not None or str(folder) in str(error) else 4
                os.write(write, f"OSError {error}".encode()[:500])
            except BaseException:
                os.write(write, traceback.format_exc().encode()[-1500:])
            if code == 0:
                os.write(write, str(shim.shim_count()).encode())
        finally:
            os._exit(code)
    os.close(write)
    try:
        yield process, read
    finally:
        os.close(read)


def ended(call: Any, folder: Path, at: int = 0, kind: str = "full") -> tuple[int, str]:
    """The exit code of a child (negative: its signal) and its words."""
    with child(call, folder, at, kind) as (process, read):
        said = b""
        while part := os.read(read, 4096):
            said += part
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said.decode(errors="replace")


class Trial:
    """One command in a folder of its own, undisturbed once, then disturbed often.

    Args:
        name: of the command.
        place: an empty folder.
    """

    def __init__(self, name: str, place: Path) -> None:
        from tests.crash import commands

        self.commands, self.name, self.run = commands, name, commands.COMMANDS[name]
        self.place, self.out = place, place / "out"
        self.found: list[str] = []
        with tempfile.TemporaryDirectory() as elsewhere:
            self.run(Path(elsewhere).resolve() / name / "out")  # so that children find imported what it imports
        self.fresh()
        begun = time.monotonic()
        code, said = ended(lambda: self.run(self.out), self.place)
        self.seconds = time.monotonic() - begun
        if code:
            raise RuntimeError(f"{name}: the undisturbed command failed: {said}")
        self.calls = int(said)
        self.want = commands.content(self.out)

    def fresh(self) -> None:
        """Empty the folder, and make what is there before."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir(parents=True)
        code, said = ended(lambda: self.commands.prepare(self.name, self.out), self.place)  # not here: a process clears a folder once
        if code:
            raise RuntimeError(f"{self.name}: it cannot be prepared: {said}")

    def kill(self, after: float) -> bool:
        """Kill the command after some seconds. Whether it was still running."""
        self.fresh()
        with child(lambda: self.run(self.out), self.place) as (process, _):
            time.sleep(after)
            os.kill(process, signal.SIGKILL)
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        self.look(f"killed after {after:.3f} s", killed=True)
        return code == -signal.SIGKILL

    def fail(self, at: int, kind: str) -> None:
        """Let one call of the command fail."""
        self.fresh()
        code, said = ended(lambda: self.run(self.out), self.place, at, kind)
        what = f"call {at} {kind}"
        right = {"kill": (-signal.SIGKILL,), "short": (0,), "full": (3, 0), "broken": (3, 0)}[kind]
        if code not in right:
            self.found.append(f"{self.name}: {what}: exit code {code}: {said[-800:]}")
        self.look(what, killed=kind == "kill")

    def look(self, what: str, killed: bool) -> None:
        """Hold what is there to what must be, then run the command again."""
        try:
            parts = [path for path in self.place.rglob("*.part")]
            if parts and not killed:
                self.found.append(f"{self.name}: {what}: left {parts[0].name}")
            self.commands.check_state(self.name, self.out)
            for path in parts:
                os.utime(path, (time.time() - OLD,) * 2)
            code, said = ended(lambda: self.run(self.out), self.place)
            if code:
                self.found.append(f"{self.name}: {what}: the same command then fails: {said[-800:]}")
                return
            left = [path.name for path in self.place.rglob("*.part")]
            if left:
                self.found.append(f"{self.name}: {what}: {left[0]} is left after the same command")
            got = self.commands.content(self.out)
            if got != self.want:
                wrong = sorted(name for name in got.keys() | self.want.keys() if got.get(name) != self.want.get(name))
                self.found.append(f"{self.name}: {what}: another result: {', '.join(wrong)}")
        except Exception as error:
            self.found.append(f"{self.name}: {what}: {type(error).__name__}: {error}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("commands", nargs="*", help="train, evaluate, transmit, save_pretrained; all without")
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--share", type=float, default=0.1, help="of the calls that fail")
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if SHIM not in os.environ:
        under_shim()
    import torch

    from tests.crash import commands

    torch.set_num_threads(1)  # a process that has threads is not forked
    choose, broken = random.Random(options.seed), []
    with tempfile.TemporaryDirectory(prefix="semdiff-crash-") as folder:
        for name in options.commands or commands.COMMANDS:
            trial = Trial(name, Path(folder).resolve() / name)
            killed, tried, latest = 0, 0, trial.seconds
            while killed < options.kills and tried < 10 * options.kills:
                hit = trial.kill(choose.uniform(0, latest))
                latest *= 1.1 if hit else 0.8  # some are over before their moment
                killed, tried = killed + hit, tried + 1
            points = [(at, kind) for at in range(1, trial.calls + 1) for kind in KINDS]
            points = points if options.every else choose.sample(points, max(1, round(options.share * len(points))))
            for at, kind in points:
                trial.fail(at, kind)
            print(f"{name}: {killed} killed while it ran, {len(points)} of {4 * trial.calls} failures of its", end=" ")
            print(f"{trial.calls} calls, {len(trial.found)} findings", *trial.found, sep="\n  ", flush=True)
            broken += trial.found
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())

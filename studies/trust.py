# SPDX-License-Identifier: Apache-2.0
"""How semdiff stands load: python -m studies.trust [--minutes M] [--pictures N] [--operators N] [--megapixels N]

Threads and processes on one link, a folder of pictures with a kill in the middle, many small operators, and one huge picture. It writes
docs/results/trust.md with what was run and what came of it. The whole of it, ten minutes, 10,000 pictures, a million operators and 100
megapixels, takes some hours on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import semdiff
from semdiff import Key
from semdiff.data import sample_images
from semdiff.data.pictures import to_picture
from semdiff.link import SemanticLink
from studies.writing import table, write_lines

PAGE = Path(__file__).parents[1] / "docs" / "results" / "trust.md"
KEYS = 8  # of transmissions whose results are known
THREADS, PROCESSES = 8, 4


def resident() -> float:
    """MiB of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def digest(images: Tensor) -> str:
    return hashlib.sha256(images.numpy().tobytes()).hexdigest()


def send(link: SemanticLink, i: int) -> str:
    return digest(link.transmit(sample_images()[:2], 5.0, key=Key(i), steps=2).images)


def threads(seconds: float) -> tuple[int, int, float]:
    """Transmissions of THREADS threads that share a link, how many differ from those made alone, and the growth in MiB after the first."""
    torch.set_num_threads(1)
    link = SemanticLink.default()
    want = [send(link, i) for i in range(KEYS)]
    sent, wrong, grown = [0] * THREADS, [0] * THREADS, [0.0]
    end = time.monotonic() + seconds

    def work(number: int) -> None:
        torch.set_num_threads(1)
        while time.monotonic() < end:
            i = (number + sent[number]) % KEYS
            wrong[number] += send(link, i) != want[i]
            sent[number] += 1

    pool = [threading.Thread(target=work, args=(n,)) for n in range(THREADS)]
    for thread in pool:
        thread.start()
    time.sleep(seconds / 10)
    before = resident()
    for thread in pool:
        thread.join()
    grown[0] = resident() - before
    return sum(sent), sum(wrong), grown[0]


def processes(seconds: float) -> tuple[int, int]:
    """Transmissions of PROCESSES processes that load one folder, and how many differ from those of this one."""
    torch.set_num_threads(1)
    link = SemanticLink.default()
    want = {send(link, i) for i in range(KEYS)}
    command = [sys.executable, "-m", "studies.trust", "--work", str(seconds)]
    pool = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(PROCESSES)]
    said = [process.communicate()[0].split() for process in pool]
    if any(process.returncode for process in pool):
        raise RuntimeError("a process failed")
    return sum(map(len, said)), sum(word not in want for words in said for word in words)


def work(seconds: float) -> None:
    """One of the processes: print digests until the time is over."""
    torch.set_num_threads(1)
    link, end, i = SemanticLink.default(), time.monotonic() + seconds, 0
    while time.monotonic() < end:
        print(send(link, i % KEYS), flush=True)
        i += 1


def folder(count: int) -> tuple[int, int, int]:
    """Pictures that a killed `semdiff transmit` had written, how many of them were not whole, and how many differ after the same command
    was run again from those of a command that was not killed."""
    pictures = sample_images()
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "sent"
        source.mkdir()
        for i in range(count):
            to_picture(pictures[i % len(pictures)]).save(source / f"{i:05d}.png")

        def command(out: str) -> list[str]:
            files = map(str, sorted(source.iterdir()))
            return [sys.executable, "-m", "semdiff", "transmit", *files, "--model", "fashion-mnist", "--steps", "1", "--out", out, "--json"]

        whole, cut = Path(place) / "whole", Path(place) / "cut"
        subprocess.run(command(str(whole)), check=True, stdout=subprocess.DEVNULL)
        process = subprocess.Popen(command(str(cut)), stdout=subprocess.DEVNULL)
        while len(list(cut.glob("*.png"))) < count // 2 and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        want = {path.name: path.read_bytes() for path in whole.iterdir()}
        written = {path.name: path.read_bytes() for path in cut.glob("*.png")}
        damaged = sum(want[name] != content for name, content in written.items())
        subprocess.run(command(str(cut)), check=True, stdout=subprocess.DEVNULL)
        again = {path.name: path.read_bytes() for path in cut.glob("*.png")}
        return len(written), damaged, sum(again.get(name) != content for name, content in want.items())


def operators(count: int) -> float:
    """The growth in MiB between the first tenth of so many calls and the last."""
    schedule, key = semdiff.NoiseSchedule.scaled_linear(), Key(0)
    x = semdiff.normal((2, 64), key).requires_grad_()
    s = semdiff.pack(x.detach())
    t, earlier = torch.tensor([500.0, 300.0], dtype=torch.float64), torch.tensor([400.0, 200.0], dtype=torch.float64)
    calls: list[Callable[[], Any]] = [
        lambda: semdiff.normal((64,), key),
        lambda: semdiff.normalize_power(s),
        lambda: semdiff.AWGN()(s, 5.0, key),
        lambda: semdiff.equalize(semdiff.Rayleigh()(s, 5.0, key)),
        lambda: semdiff.match(x.detach(), 0.3, schedule),
        lambda: semdiff.ddim_step(x, x.detach(), t, earlier, schedule).sum().backward(),
        lambda: semdiff.upsampler_loss(x, x, x.detach(), 0.5, key=key).total.backward(),
        lambda: key.fold_in(3),
    ]
    before = 0.0
    for i in range(count):
        calls[i % len(calls)]()
        if i == count // 10:
            before = resident()
    return resident() - before


def huge(megapixels: float) -> tuple[str, float]:
    """What `semdiff transmit` says of a picture of so many megapixels, and the most GiB that it took."""
    side = round((megapixels * 1e6) ** 0.5)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "huge.png"
        to_picture(torch.zeros(1, side, side, dtype=torch.uint8)).save(path, compress_level=1)
        command = [sys.executable, "-m", "semdiff", "transmit", str(path), "--out", str(Path(place) / "out")]
        ran = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"COLUMNS": "200"})
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
        said = (
            "sent" if ran.returncode == 0 else f"refused (exit code {ran.returncode}): `{ran.stderr.splitlines()[-1].replace(place, '')}`"
        )
        return said, peak


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m studies.trust", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of the threads, and of the processes")
    parser.add_argument("--pictures", type=int, default=10_000)
    parser.add_argument("--operators", type=int, default=1_000_000)
    parser.add_argument("--megapixels", type=float, default=100.0)
    parser.add_argument("--work", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        work(options.work)
        return
    said, peak = huge(options.megapixels)  # first: the most that a child took counts all children
    growth = operators(options.operators)
    sent, wrong, grown = threads(60 * options.minutes)
    also, also_wrong = processes(60 * options.minutes)
    written, damaged, differ = folder(options.pictures)
    info = semdiff.build_info()
    rows = [
        [f"{THREADS} threads on one link, {options.minutes:g} minutes", f"{sent} transmissions, {wrong} differ; {grown:+.1f} MiB"],
        [f"{PROCESSES} processes on one folder, {options.minutes:g} minutes", f"{also} transmissions, {also_wrong} differ"],
        [
            f"`semdiff transmit` of {options.pictures} pictures, killed in the middle",
            f"{written} written by then, {damaged} of them damaged; {differ} differ after the same command",
        ],
        [f"{options.operators} calls of operators", f"{growth:+.1f} MiB after the first tenth"],
        [f"a picture of {options.megapixels:g} megapixels", f"{said}; at most {peak:.2f} GiB"],
    ]
    lines = [
        "# Load", "",
        "What semdiff does under load: `make trust` writes this page. A transmission is of two pictures by the Fashion-MNIST link in two",
        "steps; it differs where a bit of the result is not that of the same key sent alone. Growth is of the memory that the process",
        "holds.", "",
        *table(["what was run", "what came of it"], rows), "",
        f"semdiff {info['version']}, torch {torch.__version__}, {info['isa']}, Python {platform.python_version()},",
        f"{os.cpu_count()} processors, one thread each.",
    ]  # fmt: skip
    write_lines(PAGE, lines)


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""Fuzz the readers: python -m tests.fuzz [--minutes M] [--atheris] [NAME...]

M minutes in all, 10 without; each target in a process of its own. With --atheris libFuzzer steers by the coverage of Python code;
without it inputs are changed at random, which needs no other package. What breaks a promise is written to build/fuzz/NAME/, and the exit
code is 1: mend it, and keep the file in tests/fuzz/corpus/NAME.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import resource
import subprocess
import sys
import time
import traceback
import warnings
from pathlib import Path

from tests.fuzz.targets import TARGETS, corpus, mutated

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "fuzz"
ROOM = 8 << 30  # bytes of address space
LONGEST = 5.0  # seconds of processor time that one input of some kilobytes may take


def plainly(name: str, seconds: float, seed: int) -> int:
    """Mutate at random until the time is over. Returns how many broke a promise."""
    target, kept = TARGETS[name], [content for _, content in corpus(name)]
    choose, runs, read, broken = random.Random(seed), 0, 0, 0
    seen: set[str] = set()
    for content in kept:
        target(content)  # what is imported for it takes no time of the search
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        content = mutated(choose.choice(kept), choose.choice(kept), choose)
        begun = time.process_time()
        try:
            read += target(content)
            if time.process_time() - begun > LONGEST:
                raise TimeoutError(f"took {time.process_time() - begun:.1f} s of processor time")
        except Exception as error:  # whatever it is, it is a finding
            last = traceback.extract_tb(error.__traceback__)[-1]
            place = f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"
            if place not in seen:
                seen.add(place)
                broken += 1
                print(f"{name}: {place}: {str(error)[:300]}\n  kept as {keep(name, content)}")
        runs += 1
    print(f"{name}: {runs} inputs, {read} of them read, {broken} findings", flush=True)
    return broken


def keep(name: str, content: bytes) -> Path:
    """Write what broke a promise to a file named by its content."""
    path = BUILD / name / hashlib.sha256(content).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def steered(name: str, seconds: float, seed: int) -> None:
    """Hand the target to atheris, which ends the process."""
    import atheris

    with atheris.instrument_imports(
        include=["semdiff.data", "semdiff.phy", "semdiff.models", "semdiff.evaluation", "semdiff.metrics", "tomllib"]
    ):
        target = TARGETS[name]
        kept = [content for _, content in corpus(name)]
        for content in kept:
            target(content)
    begin = BUILD / "seeds" / name
    begin.mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(kept):
        (begin / str(i)).write_bytes(content)
    (BUILD / name).mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={max(1, round(seconds))}", f"-artifact_prefix={BUILD / name}/", f"-seed={seed + 1}", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options, "-timeout=20", "-rss_limit_mb=8192", "-print_final_stats=1", str(begin)], target_once(name))
    atheris.Fuzz()


def target_once(name: str) -> object:
    def one(content: bytes) -> None:
        TARGETS[name](content)

    return one


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*TARGETS, []], help="of targets; all without")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--atheris", action="store_true")
    parser.add_argument("--alone", action="store_true", help="in this process")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # pillow's, of damaged pictures
    names = options.names or list(TARGETS)
    seconds = 60 * options.minutes / len(names)
    if options.alone:
        if not options.atheris:
            resource.setrlimit(resource.RLIMIT_AS, (ROOM, resource.RLIM_INFINITY))
        if options.atheris:
            steered(names[0], seconds, options.seed)
        return int(sum(plainly(name, seconds, options.seed) for name in names) > 0)
    broken = []
    for name in names:
        command = [sys.executable, "-m", "tests.fuzz", name, "--alone", "--minutes", str(seconds / 60), "--seed", str(options.seed)]
        ran = subprocess.run([*command, *(["--atheris"] if options.atheris else [])], cwd=ROOT, capture_output=True, text=True)
        said = ran.stdout + ran.stderr
        inputs = re.search(r"stat::number_of_executed_units:\s*(\d+)", said)
        print(f"{name}: {inputs[1]} inputs, exit code {ran.returncode}" if inputs else ran.stdout.strip(), flush=True)
        if ran.returncode:
            broken.append(name)
            print(said[-3000:])
    print(f"broken: {', '.join(broken)}" if broken else "no target is broken")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())

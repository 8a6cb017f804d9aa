# SPDX-License-Identifier: Apache-2.0
"""Instructions of one call of every case and of every operator at 3,072 elements, Python and allocation included, as Valgrind counts them.

A case is what a user calls (benchmarks/cases.py), an operator is called as torch.ops.semdiff has it, with the arguments of
tests/python/op_table.py, which has all of them, backwards too.

Times differ from machine to machine and from minute to minute; these counts do not, so a test can hold them (tests/python/
test_instructions.py). `python -m benchmarks.instructions` prints them as JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

ELEMENTS, CALLS, WARM = 3072, 20, 20
SHAPE = (12, 4, 8, 8)  # as many
ISA = "x86_64_v3"  # Valgrind knows no AVX-512


def calls() -> dict[str, Callable[[], object]]:
    """Return what is counted, by name."""
    from benchmarks.cases import CASES
    from tests.python.op_table import OPS

    found: dict[str, Callable[[], object]] = {case.name: case.make(ELEMENTS)[0] for case in CASES}
    for op in OPS:  # of several rows of an operator the first
        dtype = next(d for d in op.dtypes if d.itemsize == 4)
        found.setdefault(f"torch.ops.semdiff.{op.name}", partial(op.call, *op.make(SHAPE, dtype)))
    return found


def count() -> dict[str, int]:
    """Instructions a call, by name. RuntimeError without Valgrind."""
    if shutil.which("valgrind") is None:
        raise RuntimeError("counting instructions needs Valgrind: install it")
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind"
        tool = ["valgrind", "--quiet", "--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no", f"--callgrind-out-file={out}"]
        fixed = {"SEMDIFF_ISA": ISA, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        command = [*tool, sys.executable, "-W", "ignore", "-m", "benchmarks.instructions", "--run"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=os.environ | fixed, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as done:
            if done.stdout is not None and done.stdout.readline():  # all is imported and made: from here on instructions are looked at
                subprocess.run(["callgrind_control", "--instr=on", str(done.pid)], check=True, capture_output=True)
            said, errors = done.communicate("\n")
        if done.returncode:
            raise RuntimeError(f"valgrind ended with {done.returncode}: {errors[-2000:]}")
        names = json.loads(said)
        dumps = [out.with_name(f"{out.name}.{i + 1}") for i in range(len(names))]
        return {name: round(_total(dump) / CALLS) for name, dump in zip(names, dumps, strict=True)}


def _total(dump: Path) -> int:
    return next(int(line.split()[1]) for line in dump.read_text("utf-8").splitlines() if line.startswith(("totals:", "summary:")))


def _run() -> None:
    """Count: one dump for each name."""
    import torch

    torch.set_num_threads(1)
    found = calls()
    for ours in found.values():
        ours()
    print("ready", flush=True)
    input()
    for ours in found.values():
        for _ in range(WARM):
            ours()
        torch._C._valgrind_toggle()
        for _ in range(CALLS):
            ours()
        torch._C._valgrind_toggle_and_dump_stats()
    print(json.dumps(list(found)))


if __name__ == "__main__":
    if "--run" in sys.argv:
        _run()
    else:
        print(json.dumps(count(), indent=1))

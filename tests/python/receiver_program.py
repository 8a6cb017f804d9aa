# SPDX-License-Identifier: Apache-2.0
"""cpp/examples/receive.cpp, built, and run without Python's environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / os.environ.get("SEMDIFF_BUILD", "build/preset-release")  # where `make develop` compiles


def build() -> Path:
    """The program, in the folder where `make develop` has compiled the operators. Skips without CMake or Ninja."""
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    cmake, ninja = (shutil.which(tool, path=tools) for tool in ("cmake", "ninja"))
    if not (cmake and ninja):
        pytest.skip("building the example needs cmake and ninja")
    folder = BUILD
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_MAKE_PROGRAM": ninja,
        "Python_EXECUTABLE": sys.executable,
        "SEMDIFF_BUILD_EXAMPLES": "ON",
        "SEMDIFF_WERROR": "ON",
    }
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    for command in (["-G", "Ninja", "-S", ROOT, "-B", folder, *definitions], ["--build", folder, "--target", "receive"]):
        done = subprocess.run([cmake, *command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder / "receive"


def run(program: Path, *arguments: str | Path | float) -> subprocess.CompletedProcess[str]:
    """Without Python's variables and without a path to find it on."""
    kept = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "TMPDIR") if name in os.environ}
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, env=kept)

# SPDX-License-Identifier: Apache-2.0
"""The C++ package as `cmake --install` gives it, projects built beside it, and programs that run without Python's environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = ROOT / os.environ.get("SEMDIFF_BUILD", "build/preset-release")  # where `make develop` compiles


def _cmake(*command: str | Path) -> None:
    tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    if not (shutil.which("cmake", path=tools) and shutil.which("ninja", path=tools)):
        pytest.skip("building a program needs cmake and ninja")
    done = subprocess.run(["cmake", *map(str, command)], capture_output=True, text=True, env=os.environ | {"PATH": tools})
    assert done.returncode == 0, done.stdout + done.stderr


def install(prefix: Path) -> None:
    """Install headers, libraries and CMake's package, compiled in the folder where `make develop` has compiled the operators."""
    options = ("-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}", "-DSEMDIFF_WERROR=ON")
    _cmake("-G", "Ninja", "-S", ROOT, "-B", BUILD, *options)
    _cmake("--build", BUILD, "--target", "semdiff_ops")
    _cmake("--install", BUILD, "--prefix", prefix)


def build(source: Path, folder: Path, prefix: Path, *options: str) -> None:
    """Build a project beside the package that is installed in `prefix`."""
    _cmake("-G", "Ninja", "-S", source, "-B", folder, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DPython_EXECUTABLE={sys.executable}", *options)
    _cmake("--build", folder)


def run(program: Path, *arguments: str | Path | float) -> subprocess.CompletedProcess[str]:
    """Without Python's variables and without a path to find it on."""
    kept = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "TMPDIR") if name in os.environ}
    return subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, env=kept)

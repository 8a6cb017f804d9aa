# SPDX-License-Identifier: Apache-2.0
"""The C++ package as `cmake --install` gives it: headers, libraries and find_package(semdiff), apart from the source tree."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.python.receiver_program import BUILD

ROOT = Path(__file__).parents[3]
README = (ROOT / "cpp" / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.slow


def run(*command: str | Path) -> str:
    env = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix. Compiled in the folder where `make develop` has compiled the operators."""
    if not (shutil.which("cmake", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")):
        pytest.skip("needs cmake")
    folder, prefix = BUILD, tmp_path_factory.mktemp("prefix")
    options = ("-DCMAKE_BUILD_TYPE=Release", f"-DPython_EXECUTABLE={sys.executable}", "-DSEMDIFF_WERROR=ON")
    run("cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, *options)
    run("cmake", "--build", folder, "--target", "semdiff_ops")
    run("cmake", "--install", folder, "--prefix", prefix)
    return prefix


def build(source: Path, folder: Path, prefix: Path, *options: str) -> None:
    found = f"-DCMAKE_PREFIX_PATH={prefix}", f"-DPython_EXECUTABLE={sys.executable}"
    run("cmake", "-G", "Ninja", "-S", source, "-B", folder, *found, *options)
    run("cmake", "--build", folder)


def test_what_is_installed(installed: Path) -> None:
    found = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    headers = {f"include/semdiff/{path.name}" for path in (ROOT / "cpp" / "include" / "semdiff").iterdir()}
    cmake = {"semdiffConfig.cmake", "semdiffConfigVersion.cmake", "semdiffTargets.cmake", "semdiffTargets-release.cmake", "torch.cmake"}
    lib = next(path.parent for path in installed.rglob("libsemdiff_ops.a")).relative_to(installed).as_posix()
    archives = {f"{lib}/libsemdiff_{name}.a" for name in ("ops", "kernels")}
    assert found == headers | archives | {f"{lib}/cmake/semdiff/{name}" for name in cmake}
    for path in installed.rglob("*.cmake"):
        assert str(ROOT) not in path.read_text(encoding="utf-8"), path


def test_the_examples_build_beside_it_alone(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "cpp" / "examples", tmp_path / "examples")
    build(tmp_path / "examples", tmp_path / "build", installed)
    done = subprocess.run([tmp_path / "build" / "receive"], capture_output=True, text=True, env={})
    assert done.returncode == 2
    assert done.stderr.startswith("receive: expected FOLDER and SYMBOLS")


def test_the_readmes_program(installed: Path, tmp_path: Path) -> None:
    """Zero forcing of |h| = 1 leaves a noise v of 0.1. DDIM with the exact denoiser of a Gaussian latent leaves x_t, up to its few steps:
    sqrt(a) (z + n) with a = 1 / (1 + v), whose error is (1 - sqrt(a))^2 + a v."""
    (program,) = re.findall(r"```cpp\n(.*?)```", README, re.DOTALL)
    (project,) = re.findall(r"```cmake\n(.*?)```", README, re.DOTALL)
    (tmp_path / "main.cpp").write_text(program)
    (tmp_path / "CMakeLists.txt").write_text(project)
    build(tmp_path, tmp_path / "build", installed, "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror")
    said = subprocess.run([tmp_path / "build" / "mine"], capture_output=True, text=True, env={}, check=True).stdout
    variance = float(re.search(r"noise of ([\d.]+)", said)[1])  # type: ignore[index]
    assert variance == pytest.approx(0.1, rel=0.2)  # times the latent's own power
    errors = [float(x) for x in re.findall(r"^ *(\d\.\d+)$", said, re.MULTILINE)]
    assert len(errors) == 4
    a = 1 / (1 + variance)
    expected = (1 - a**0.5) ** 2 + a * variance
    assert sum(errors) / 4 == pytest.approx(expected, rel=0.25)  # of 512 squares: their mean is known to 6 %

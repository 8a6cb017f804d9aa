# SPDX-License-Identifier: Apache-2.0
"""The C++ package as `cmake --install` gives it: headers, libraries and find_package(semdiff), apart from the source tree.

The example is built beside it by tests/python/link/test_export.py, which runs exported receivers.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.python import receiver_program

ROOT = Path(__file__).parents[3]
README = (ROOT / "cpp" / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prefix = tmp_path_factory.mktemp("prefix")
    receiver_program.install(prefix)
    return prefix


def test_what_is_installed(installed: Path) -> None:
    found = {path.relative_to(installed).as_posix() for path in installed.rglob("*") if path.is_file()}
    headers = {f"include/semdiff/{path.name}" for path in (ROOT / "cpp" / "include" / "semdiff").iterdir()}
    cmake = {"semdiffConfig.cmake", "semdiffConfigVersion.cmake", "semdiffTargets.cmake", "semdiffTargets-release.cmake", "torch.cmake"}
    lib = next(path.parent for path in installed.rglob("libsemdiff_ops.a")).relative_to(installed).as_posix()
    archives = {f"{lib}/libsemdiff_{name}.a" for name in ("ops", "kernels")}
    assert found == headers | archives | {f"{lib}/cmake/semdiff/{name}" for name in cmake}
    for path in installed.rglob("*.cmake"):
        assert str(ROOT) not in path.read_text(encoding="utf-8"), path


def test_the_readmes_program(installed: Path, tmp_path: Path) -> None:
    """Zero forcing of |h| = 1 leaves a noise v of 0.1. DDIM with the exact denoiser of a Gaussian latent leaves x_t, up to its few steps:
    sqrt(a) (z + n) with a = 1 / (1 + v), whose error is (1 - sqrt(a))^2 + a v."""
    (program,) = re.findall(r"```cpp\n(.*?)```", README, re.DOTALL)
    (project,) = re.findall(r"```cmake\n(.*?)```", README, re.DOTALL)
    (tmp_path / "main.cpp").write_text(program)
    (tmp_path / "CMakeLists.txt").write_text(project)
    receiver_program.build(tmp_path, tmp_path / "build", installed, "-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror")
    said = subprocess.run([tmp_path / "build" / "mine"], capture_output=True, text=True, env={}, check=True).stdout
    variance = float(re.search(r"noise of ([\d.]+)", said)[1])  # type: ignore[index]
    assert variance == pytest.approx(0.1, rel=0.2)  # times the latent's own power
    errors = [float(x) for x in re.findall(r"^ *(\d\.\d+)$", said, re.MULTILINE)]
    assert len(errors) == 4
    a = 1 / (1 + variance)
    expected = (1 - a**0.5) ** 2 + a * variance
    assert sum(errors) / 4 == pytest.approx(expected, rel=0.25)  # of 512 squares: their mean is known to 6 %

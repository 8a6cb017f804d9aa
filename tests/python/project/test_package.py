# SPDX-License-Identifier: Apache-2.0
"""The package as pip sees it: a wheel built in isolation, its installation beside the same torch, and one without torch.

The editable installation without isolation is the one that `make develop` makes, which all other tests run on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")} | environment
    return subprocess.run([str(c) for c in command], cwd=cwd, env=env, text=True, capture_output=True)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a release holds, so that no build folder of the checkout is used."""
    folder = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "cpp", folder / "cpp")
    shutil.copytree(ROOT / "python", folder / "python", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    return folder


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built with pip's isolation, which hides the installed torch from everything but `python -I`."""
    out = tmp_path_factory.mktemp("wheel")
    # Warnings are errors in make's build too: with the same flags, ccache has the objects where it is installed.
    command = (sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", out, source)
    done = run(*command, cwd=out, CMAKE_ARGS="-DSEMDIFF_WERROR=ON")
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = out.glob("*.whl")
    return found


def make_venv(folder: Path) -> Path:
    """A fresh environment, without torch."""
    venv.create(folder, with_pip=True)
    return folder / "bin" / "python"


def lend_torch(folder: Path) -> None:
    """Torch and its requirements come into the environment from this one by a path file, as if installed there."""
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "torch_of_the_tests.pth").write_text(str(Path(torch.__file__).parents[1]) + "\n")


def test_the_wheel_holds_nothing_of_torch(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        sizes = {i.filename: i.file_size for i in archive.infolist()}
    libraries = [n for n in names if ".so" in n]
    assert len(libraries) == 1, libraries
    assert libraries[0].startswith("semdiff/_C.")
    assert "semdiff/py.typed" in names
    # MiB at the most; baselines are in the repository alone.
    models = {"photos": 12, "fashion-mnist": 6, "cifar10": 6, "fashion-mnist-classifier": 1, "cifar10-classifier": 2}
    weights = {model: sum(n for name, n in sizes.items() if name.startswith(f"semdiff/weights/{model}/")) for model in models}
    assert sum(weights.values()) == sum(n for name, n in sizes.items() if name.startswith("semdiff/weights/"))
    assert all(0 < weights[model] <= most * 2**20 for model, most in models.items()), weights
    assert sum(weights.values()) <= 24 * 2**20
    assert sum(sizes.values()) - sum(weights.values()) < 4 * 2**20


def test_the_wheel_works_in_a_fresh_environment(wheel: Path, tmp_path: Path) -> None:
    python = make_venv(tmp_path / "venv")
    done = run(python, "-m", "pip", "install", "-q", "--no-deps", wheel, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    lend_torch(tmp_path / "venv")  # after the installation: pip would take a semdiff that it sees there for the one asked for
    files = ("test_rng", "phy/test_channel", "diffusion/test_matching", "diffusion/test_loss", "project/test_build")
    tests = [ROOT / "tests" / "python" / f"{file}.py" for file in files]
    where = run(python, "-c", "import semdiff; print(semdiff.__file__)", cwd=tmp_path).stdout
    assert str(tmp_path) in where
    options = ("-q", "-p", "no:cacheprovider", "-m", "not slow", "-c", ROOT / "pyproject.toml")
    done = run(python, "-m", "pytest", *options, *tests, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_install_without_torch_says_what_to_do(source: Path, tmp_path: Path) -> None:
    python = make_venv(tmp_path / "venv")
    done = run(python, "-m", "pip", "install", "--no-deps", source, cwd=tmp_path)
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "semdiff is built against the installed PyTorch" in text
    assert "-m pip install torch==2.13.0" in text


def test_without_a_compiler_one_line_says_what_to_do(source: Path, tmp_path: Path) -> None:
    cmake, ninja = (
        shutil.which(tool, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}") for tool in ("cmake", "ninja")
    )
    if not (cmake and ninja):
        pytest.skip("needs cmake and ninja")
    options = ("-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", f"-DPython_EXECUTABLE={sys.executable}")
    done = run(cmake, "-S", source, "-B", tmp_path / "build", *options, cwd=tmp_path, PATH="", CXX="")
    assert done.returncode != 0
    assert "there is no C++ compiler. Install one first, on Debian and Ubuntu apt-get install g++" in " ".join(done.stderr.split())

# SPDX-License-Identifier: Apache-2.0
"""Build a wheel for the torch of this interpreter, with the lowest manylinux tag that auditwheel grants.

    python tools/wheel.py OUT

Its version names the torch, as 0.2.0+pt213, and so does its requirement, torch==2.13.*: pip installs it beside no other one.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent
LARGEST = 32 * 2**20  # bytes
TORCH = ("libtorch.so", "libtorch_cpu.so", "libtorch_python.so", "libc10.so")  # stay where torch has them


def copy_source(place: Path) -> None:
    """Copy what is built, with this torch in the version and in the requirements."""
    for name in ("CMakeLists.txt", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, place)
    shutil.copytree(ROOT / "cpp", place / "cpp")
    shutil.copytree(ROOT / "python", place / "python", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    major, minor = torch.__version__.split(".")[:2]
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    for pattern, new in (
        (r'^version = "([^"+]+)"', rf'version = "\1+pt{major}{minor}"'),
        (r'"torch>=[^"]+"', f'"torch=={major}.{minor}.*"'),
    ):
        text, found = re.subn(pattern, new, text, count=1, flags=re.MULTILINE)
        if not found:
            raise SystemExit(f"pyproject.toml: expected a line like {pattern}")
    (place / "pyproject.toml").write_text(text, "utf-8")


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "source").mkdir()
        copy_source(place / "source")
        pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
        subprocess.run([*pip, "-C", "cmake.define.SEMDIFF_WERROR=ON", "-w", place, place / "source"], check=True)
        (built,) = place.glob("*.whl")
        audit = [sys.executable, "-m", "auditwheel"]
        print(subprocess.run([*audit, "show", built], check=True, capture_output=True, text=True).stdout.strip())
        excluded = [option for library in TORCH for option in ("--exclude", library)]
        subprocess.run([*audit, "repair", *excluded, "-w", place / "repaired", built], check=True, capture_output=True)
        (wheel,) = (place / "repaired").glob("*.whl")
        size = wheel.stat().st_size
        if size > LARGEST:
            raise SystemExit(f"{wheel.name}: expected at most {LARGEST / 2**20:.0f} MiB, got {size / 2**20:.1f} MiB")
        print(f"{out / wheel.name}: {size / 2**20:.1f} MiB, built against torch {torch.__version__}")
        shutil.copy(wheel, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

# SPDX-License-Identifier: Apache-2.0
"""What the binary is, and whether it fits the torch that is running."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version

import torch

REMEDY = "Rebuild it from its source folder with `pip install --no-build-isolation --force-reinstall --no-deps .`"


def _load() -> dict[str, str | list[str]]:
    try:
        from semdiff import _C
    except ImportError as error:
        if (built := torch_of(distribution_version())) is not None:
            check_torch(built, torch.__version__)
        raise ImportError(
            f"semdiff's C++ core does not load beside torch {torch.__version__} ({error}). It is built for one Python and one torch "
            f"major.minor. {REMEDY}"
        ) from error
    return _C.build_info()


def distribution_version() -> str:
    """Return the installed distribution's version; empty where there is none. Slow, as it reads the folder of packages."""
    try:
        return version("semdiff-torch")
    except PackageNotFoundError:
        return ""


def torch_of(distribution: str) -> str | None:
    """Return the torch that a wheel's version names, 2.13 of 0.2.0+pt213; None for a build from source."""
    found = re.search(r"\+pt(\d)(\d+)", distribution)
    return f"{found[1]}.{found[2]}" if found else None


def check_torch(built: str, running: str) -> None:
    """ImportError unless the two versions agree in major.minor."""
    if built.split(".")[:2] != running.split(".")[:2]:
        old, new = (".".join(each.split(".")[:2]) for each in (built, running))
        raise ImportError(
            f"semdiff was built against torch {built} and torch {running} is running: their binary interfaces differ. Install torch {old} "
            f"(pip install 'torch=={old}.*'), or the wheel of semdiff for torch {new}, whose version ends in +pt{new.replace('.', '')}. "
            f"{REMEDY}"
        )


_built = _load()
check_torch(str(_built["torch"]), torch.__version__)

__version__ = str(_built["version"])


def openmp_runtimes() -> list[str]:
    """Return the OpenMP runtimes in this process (Linux): one is right, two would fight over the threads."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:
            files = {line.split()[-1] for line in maps if ".so" in line}
    except OSError:
        return []
    return sorted(f for f in files if any(name in f.rsplit("/", 1)[-1] for name in ("libgomp", "libiomp", "libomp")))


def build_info() -> dict[str, str | int | list[str]]:
    """Tell how this build was made and where it runs; `semdiff info` prints it.

    Returns:
        version, torch (built with), torch_running, compiler, flags, build_type, cxx_standard, isa_built (instruction sets in the binary),
        isa (the one in use), threads, openmp (the runtimes in the process).

    Example:
        >>> import semdiff
        >>> semdiff.build_info()["version"] == semdiff.__version__
        True
    """
    return {**_built, "torch_running": torch.__version__, "threads": torch.get_num_threads(), "openmp": openmp_runtimes()}

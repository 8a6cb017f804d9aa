# SPDX-License-Identifier: Apache-2.0
"""The house rules that a program can check: which layer may use which, file lengths, linters."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "python" / "semdiff"
CPP = ROOT / "cpp"

# What each part of the package may import, at the top of a file, inside a function, or by a string that names a module.
ALLOWED = {
    "_C": set(),
    "_build": {"_C"},
    "_ops": {"_C"},
    "_reference": set(),
    "_util": set(),
    "rng": {"_ops", "_util"},
    "phy": {"_ops", "_util", "rng"},
    "diffusion": {"_ops", "_util", "rng"},
    "transmission": {"_util", "rng", "phy"},
    "data": {"_util"},
    "metrics": {"_util", "data"},
    "models": {"_util", "rng", "diffusion", "transmission"},
    "link": {"_build", "_util", "rng", "phy", "diffusion", "transmission", "models"},
    "baselines": {"_util", "rng", "phy", "diffusion", "transmission", "models", "link", "metrics"},
    "oracle": {"diffusion"},
}
SYSTEMS = {part for part in ALLOWED if not part.startswith("_C")} - {"_ops", "_reference"} | {""}
ALLOWED |= {"training": SYSTEMS, "evaluation": SYSTEMS}
ALLOWED |= {"_public": {"_build", "rng", "phy", "diffusion"}, "__init__": {"_public"}}
FRONT_DOORS = {"cli", "numpy", "__main__"}
# Parts that need neither diffusers nor pillow, whatever of them is imported.
LIGHT = ("_util", "diffusion", "phy", "transmission")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def top(path: Path) -> str:
    """The package's part that a file belongs to: `rng`, `link`, `__init__`."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The parts of semdiff that a file imports; "" is the package's own public names."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parents = path.relative_to(PACKAGE.parent).with_suffix("").parts[: -node.level]
                base = ".".join([*parents, *([base] if base else [])])
            # `from semdiff import channel` may name a module or a public name.
            names = [f"{base}.{a.name}" if base == "semdiff" and (PACKAGE / f"{a.name}.py").exists() else base for a in node.names]
            if base == "semdiff":
                names = [f"semdiff.{a.name}" if _is_part(a.name) else "semdiff" for a in node.names]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"semdiff(\.\w+)+", node.value):
            names = [node.value]  # import_module, files, and the like
        for name in names:
            if name == "semdiff" or name.startswith("semdiff."):
                found.add(name.removeprefix("semdiff").lstrip(".").split(".")[0])
    return found


def _is_part(name: str) -> bool:
    return name == "_C" or (PACKAGE / f"{name}.py").exists() or (PACKAGE / name / "__init__.py").exists()


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_python_layers_point_down(path: Path) -> None:
    part, used = top(path), imports(path) - {top(path)}
    if part in ALLOWED:
        assert used <= ALLOWED[part], f"{part} may import {sorted(ALLOWED[part])}"
    elif part in FRONT_DOORS:
        private = {name for name in used if name.startswith("_")} - {"_build", "_util"}
        assert not private, "front doors use public names only"
    else:
        pytest.fail(f"{part} is in no layer: add it to the table here and in ARCHITECTURE.md")


def test_trainings_layers_point_down() -> None:
    """The engine knows no stage, and a stage no recipe."""
    training = PACKAGE / "training"
    for path in (*training.glob("*.py"), *(training / "stages").glob("*.py")):
        text = path.read_text()
        assert "semdiff.training.recipes" not in "".join(re.findall(r"^\s*(?:from|import) .*$", text, re.MULTILINE)), path.name
    assert "semdiff.training.stages" not in (training / "engine.py").read_text()


@pytest.mark.parametrize("part", LIGHT)
def test_no_part_below_the_models_needs_their_libraries(part: str) -> None:
    found = []
    for path in (PACKAGE / part).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [(path.name, name) for name in names if name.split(".")[0] in ("diffusers", "transformers", "PIL", "accelerate")]
    assert found == []


@pytest.mark.slow
def test_digital_baselines_need_no_diffusers() -> None:
    code = "import sys; sys.modules['diffusers'] = None; from semdiff.baselines import Capacity, Digital, capacity_bits; Digital()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_nothing_imports_the_reference() -> None:
    assert [p.name for p in modules() if p.name != "_reference.py" and "_reference" in imports(p)] == []
    code = "import sys, semdiff; assert 'semdiff._reference' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_importing_semdiff_needs_only_torch_and_numpy() -> None:
    code = (
        "import sys, torch, numpy; before = set(sys.modules); import semdiff; new = {m.split('.')[0] for m in set(sys.modules) - before};"
        "heavy = {'diffusers', 'accelerate', 'PIL', 'safetensors', 'scipy', 'matplotlib', 'pandas', 'typer', 'rich', 'torchmetrics'};"
        "assert not new & heavy, new & heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def includes(path: Path) -> list[str]:
    return re.findall(r'^\s*#include\s+[<"]([^">]+)[">]', path.read_text(), re.MULTILINE)


def sources(folder: str) -> list[Path]:
    return sorted(p for p in (CPP / folder).rglob("*") if p.suffix in (".h", ".cpp"))


def test_kernels_know_no_torch_and_no_library() -> None:
    own = {p.name for p in sources("kernels")}
    for path in sources("kernels"):
        for name in includes(path):
            assert name in own | {"cstdint", "cstddef", "immintrin.h"}, f"{path.name} includes {name}"
        text = re.sub(r"//.*", "", path.read_text())
        for word in ("throw", "new", "malloc", "std::vector", "std::string", "try", "#pragma omp"):
            assert not re.search(rf"(?<![\w:]){re.escape(word)}(?!\w)", text), f"{path.name} has {word}"


def test_operators_know_no_python() -> None:
    for path in [*sources("ops"), *sources("include")]:
        for name in includes(path):
            assert not name.startswith(("pybind11", "Python", "torch/extension", "torch/library", "torch/csrc")), f"{path.name}: {name}"
            assert "bindings" not in name
        text = re.sub(r"//.*", "", path.read_text())
        assert "#pragma omp" not in text
        assert "std::thread" not in text


def test_public_headers_show_no_kernel() -> None:
    for path in sources("include"):
        for name in includes(path):
            assert name.startswith(("ATen/", "c10/", "semdiff/")) or "/" not in name, f"{path.name}: {name}"
            assert "kernels" not in name


def test_bindings_use_operators_only_and_pybind11_takes_no_tensor() -> None:
    for path in sources("bindings"):
        names = includes(path)
        assert not any("kernels" in n or n.startswith("..") for n in names), path.name
        if any(n.startswith("pybind11") for n in names):
            assert "Tensor" not in re.sub(r"//.*", "", path.read_text())


NOUNS = {"phy": ("channel", "equalizer", "fading", "mimo"), "diffusion": ("loss", "sampler", "vae"), ".": ("rng",)}


@pytest.mark.parametrize(("noun", "package"), [(noun, package) for package, nouns in NOUNS.items() for noun in nouns])
def test_one_noun_one_stem(noun: str, package: str) -> None:
    stems = "cpp/include/semdiff/{}.h", "cpp/ops/{}.cpp", "cpp/kernels/{}.h"
    for path in (*stems, f"python/semdiff/{package}/{{}}.py", f"tests/python/{package}/test_{{}}.py"):
        assert (ROOT / path.format(noun)).exists(), path


def files() -> list[Path]:
    kinds = {".py", ".pyi", ".h", ".cpp", ".cmake"}
    folders = ("cpp", "python", "tests", "tools", "studies", "benchmarks")
    return [p for folder in folders for p in (ROOT / folder).rglob("*") if p.suffix in kinds]


def test_no_file_is_long() -> None:
    assert {str(p.relative_to(ROOT)): n for p in files() if (n := p.read_text().count("\n")) > 400} == {}


def test_every_source_names_its_licence() -> None:
    sources = [p for p in files() if p.suffix in (".py", ".h", ".cpp") and p.stat().st_size and "tools" not in p.parts]
    assert [str(p) for p in sources if "SPDX-License-Identifier: Apache-2.0" not in p.read_text()[:200]] == []


def test_lines_fit() -> None:
    code = [p for p in files() if p.suffix != ".cmake"]
    long = [
        f"{p.relative_to(ROOT)}:{i}"
        for p in code
        for i, line in enumerate(p.read_text().splitlines(), 1)
        if len(line.split("  # type:")[0]) > 140
    ]
    assert long == []


def test_ruff_is_clean() -> None:
    ruff = shutil.which("ruff", path=str(Path(sys.executable).parent)) or shutil.which("ruff")
    assert ruff, "ruff is not installed: pip install semdiff-torch[dev]"
    run = subprocess.run([ruff, "check", "python", "tests", "studies", "benchmarks", "tools"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout


def test_commits_are_formatted_by_the_same_versions() -> None:
    """A version that pyproject.toml pins is the one that .pre-commit-config.yaml names."""
    pinned = set(re.findall(r'"((?:ruff|clang-format)==[\d.]+)"', (ROOT / "pyproject.toml").read_text()))
    named = set(re.findall(r'"([\w-]+==[\d.]+)"', (ROOT / ".pre-commit-config.yaml").read_text()))
    assert len(pinned) == 2
    assert named == pinned


@pytest.mark.slow
def test_mypy_is_clean() -> None:
    run = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout

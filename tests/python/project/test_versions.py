# SPDX-License-Identifier: Apache-2.0
"""What pyproject.toml, constraints.txt, the texts and the workflows say of versions agrees."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PINS = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text("utf-8"), flags=re.MULTILINE))
INSTALL = (ROOT / "docs" / "get-started" / "install.md").read_text("utf-8")


def requirements() -> dict[str, str]:
    """Of every extra: the specifier by name."""
    command = [sys.executable, ROOT / "tools" / "dependencies.py", "dev"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    return {match[1]: match[2] for line in lines if (match := re.fullmatch(r"([\w.-]+)(.*)", line))}


def test_constraints_pin_every_requirement_within_its_bounds() -> None:
    specifiers = pytest.importorskip("packaging.specifiers")
    wanted = requirements()
    assert wanted.keys() <= PINS.keys()
    assert [name for name, bound in wanted.items() if PINS[name] not in specifiers.SpecifierSet(bound)] == []


def hashed(name: str) -> dict[str, str]:
    """Versions by name in a list of tools/hashes, of which each line has a hash."""
    lines = (ROOT / "tools" / "hashes" / f"{name}.txt").read_text("utf-8").splitlines()[1:]
    found = [re.fullmatch(r"([a-z0-9-]+)==(\S+)( --hash=sha256:[0-9a-f]{64})+", line) for line in lines]
    assert all(found), [line for line, match in zip(lines, found, strict=True) if not match]
    return {match[1]: match[2] for match in found if match}


def test_hashes_are_of_the_pinned_versions() -> None:
    """The lists have the versions of constraints.txt, and those that the Makefile names for who has no hashes."""
    environment = hashed("environment")
    assert {name: environment.get(name) for name in PINS} == PINS
    assert "torch" not in environment
    named = re.findall(r"\$\(call fetch,(\w+),(.*?)\)(?:;|$)", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    assert {name for name, _ in named} | {"metrics"} == {path.stem for path in (ROOT / "tools" / "hashes").iterdir()}
    for name, words in named:
        assert dict(re.findall(r"([a-z-]+)==([\w.]+)", words)).items() <= hashed(name).items()


def test_the_table_of_versions() -> None:
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| ([\d.]+) \|$", INSTALL, flags=re.MULTILINE)
    assert len(rows) == 7
    bounds = requirements() | {re.split(">=", name)[0]: ">=" + re.split(">=", name)[1] for name in PROJECT["dependencies"]}
    workflow = (ROOT / ".github" / "workflows" / "tests.yml").read_text("utf-8")
    tested = re.findall(r'"torch==([\d.]+)"', workflow)
    for name, least, newest in rows:
        assert bounds[name] == f">={least}"
        assert newest == (PINS[name] if name != "torch" else tested[-1])


def test_one_torch_is_pinned() -> None:
    (pinned,) = re.findall(r"^PINNED := torch==([\d.]+)$", (ROOT / "Makefile").read_text("utf-8"), flags=re.MULTILINE)
    assert f"torch=={pinned}" in (ROOT / "cpp" / "cmake" / "torch.cmake").read_text("utf-8")
    assert f'pip install "torch=={pinned}"' in (ROOT / "README.md").read_text("utf-8")
    assert f'pip install "torch=={pinned}"' in INSTALL
    assert pinned.startswith(PROJECT["dependencies"][0].removeprefix("torch>="))


def test_the_release_has_one_version_and_one_date() -> None:
    cited = dict(re.findall(r"^(version|date-released): (\S+)$", (ROOT / "CITATION.cff").read_text("utf-8"), flags=re.MULTILINE))
    dated = re.findall(r"^## \[(\S+)\] - (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    assert dated[0] == (cited["version"], cited["date-released"])
    assert cited["version"] == PROJECT["version"]


def test_a_wheel_names_its_torch(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("wheel", ROOT / "tools" / "wheel.py")
    assert spec is not None
    assert spec.loader is not None
    wheel = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(wheel)
    wheel.copy_source(tmp_path)
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text("utf-8"))["project"]
    major, minor = torch.__version__.split(".")[:2]
    assert project["version"] == f"{PROJECT['version']}+pt{major}{minor}"
    assert project["dependencies"] == [f"torch=={major}.{minor}.*", *PROJECT["dependencies"][1:]]
    assert (tmp_path / "cpp" / "kernels" / "kernels.h").is_file()
    assert not list(tmp_path.rglob("*.so"))

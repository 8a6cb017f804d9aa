# SPDX-License-Identifier: Apache-2.0
"""The guides' code runs as pasted, page by page; their commands and options exist; so do linked files, and every page is in the site."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
TOP = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md")]
NEEDS = {"get-started": ("diffusers",), "guides": ("diffusers", "PIL", "accelerate", "torchmetrics", "pandas")}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


WITH_CODE = [page for page in PAGES if blocks(page, "python")]


def test_the_guides_have_code() -> None:
    assert {page.parent.name for page in WITH_CODE} == {"get-started", "guides"}
    assert len(WITH_CODE) >= 9


@pytest.mark.parametrize("page", WITH_CODE, ids=name)
def test_code_runs_as_pasted(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page, one after the other, as a reader pastes them; they leave no files."""
    for module in NEEDS[page.parent.name]:
        pytest.importorskip(module)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block, name(page), "exec"), names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml")], ids=name)
def test_configurations_are_read(page: Path) -> None:
    pytest.importorskip("tqdm")
    from semdiff.evaluation import Config

    for block in blocks(page, "toml"):
        assert len(Config.from_mapping(tomllib.loads(block)).systems) > 1


@pytest.mark.parametrize("page", [page for page in [*TOP, *PAGES] if page.exists()], ids=name)
def test_linked_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if not target.startswith(("http", "mailto")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=name)
def test_commands_and_options_exist(page: Path) -> None:
    typer = pytest.importorskip("typer")
    from semdiff.cli.app import app

    commands = typer.main.get_command(app).commands
    text = "".join(blocks(page, "sh")) + "\n".join(re.findall("^ {4}(semdiff .*)$", page.read_text(encoding="utf-8"), flags=re.M))
    for line in re.findall("^semdiff (.*)$", text, flags=re.M):
        command, *words = line.split("#")[0].split()
        assert command in commands, line
        known = {option for parameter in commands[command].params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in words if word.startswith("-") and not re.fullmatch(r"-[\d.]+", word)} <= known, line


def test_every_file_that_contributing_names_exists() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = [path for path in re.findall(r"`([\w./-]+/[\w./-]*)`", text) if not re.search("NAME|NOUN|^build/", path)]
    assert len(paths) > 40
    assert [path for path in paths if not (ROOT / path).exists()] == []


TEXTS = [*TOP[:3], *(page for page in PAGES if page.name != "changelog.md")]


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_files_and_names_that_texts_mention_exist(page: Path) -> None:
    """Paths from the root or from the package, and what is called semdiff.SOMETHING."""
    text = page.read_text(encoding="utf-8")
    folders = "cpp|docs|notebooks|python|studies|benchmarks|tests|tools"
    places = re.findall(rf"`((?:{folders})/[\w./-]+|[a-z_]+/[a-z_/]+\.(?:py|toml|csv))`", text)
    roots = (ROOT, ROOT / "python" / "semdiff")
    assert [p for p in places if not re.search("NAME|NOUN", p) and not any((root / p).exists() for root in roots)] == []
    names = re.findall(r"`(semdiff(?:\.[a-zA-Z]\w*)+)`|^(?:\.\. auto\w+:: |from |import )(semdiff[\w.]*)", text, flags=re.M)
    pytest.importorskip("diffusers")
    for found in {a or b for a, b in names}:
        pkgutil.resolve_name(found)


def test_tests_that_texts_mention_exist() -> None:
    known = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "python").rglob("test_*.py"))
    files = {path.name for path in (ROOT / "tests" / "python").rglob("test_*.py")}
    found = {name for page in TEXTS for name in re.findall(r"`(test_\w+(?:\.py)?)`", page.read_text(encoding="utf-8"))}
    assert len(found) > 10
    assert [n for n in found if n not in files and f"def {n}(" not in known] == []


def test_design_records_are_numbered_and_listed() -> None:
    records = sorted(p for p in (DOCS / "design").glob("*.md") if p.name != "README.md")
    assert [int(p.name[:4]) for p in records] == list(range(1, len(records) + 1))
    index = (DOCS / "design" / "README.md").read_text(encoding="utf-8")
    for record in records:
        text = record.read_text(encoding="utf-8")
        title = text.splitlines()[0]
        assert title.startswith(f"# {record.name[:4]}. "), record.name
        assert re.search(r"^\d{4}-\d\d-\d\d$", text, flags=re.M), record.name
        assert re.findall("^## (.*)$", text, flags=re.M) == ["Context", "Decision", "Evidence", "Consequences"], record.name
        assert f"- [{record.name[:4]}]({record.name}) {title.partition('. ')[2]}\n" in index, record.name
        assert f"\n{record.stem}\n" in index, record.name


PUBLIC = ["semdiff", *(f"semdiff.{name}" for name in ("link", "baselines", "metrics", "evaluation", "data", "numpy", "oracle"))]


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_is_in_the_reference(module: str) -> None:
    if module != "semdiff":
        pytest.importorskip("diffusers")
    page = (DOCS / "reference" / f"{module.removeprefix('semdiff.')}.md").read_text(encoding="utf-8")
    if ":imported-members:" not in page:
        named = set(re.findall(r"^\.\. auto\w+:: (\w+)", page, flags=re.M))
        assert {name for name in importlib.import_module(module).__all__ if not name.startswith("_")} <= named


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    if importlib.util.find_spec("furo") is None or importlib.util.find_spec("myst_parser") is None:
        pytest.skip("needs sphinx, myst-parser and furo: pip install 'semdiff-torch[docs]'")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", str(DOCS), str(tmp_path / "site")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr

# SPDX-License-Identifier: Apache-2.0
"""Docstrings of the packages above the core: they begin with a verb, name every parameter, and their examples run."""

from __future__ import annotations

import ast
import doctest
import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "python" / "semdiff"
PACKAGES = ("transmission", "models", "link", "baselines", "metrics", "data", "evaluation", "training", "cli")
NO_VERBS = frozenset(
    [
        "A",
        "All",
        "An",
        "And",
        "Any",
        "As",
        "At",
        "Both",
        "By",
        "Each",
        "Every",
        "For",
        "From",
        "How",
        "In",
        "It",
        "Its",
        "None",
        "No",
        "Numbers",
        "Of",
        "On",
        "One",
        "Or",
        "That",
        "The",
        "Their",
        "These",
        "This",
        "Those",
        "To",
        "What",
        "When",
        "Where",
        "Whether",
        "Which",
        "Who",
        "Whom",
        "Whose",
        "Why",
        "With",
    ]
)
# Examples that train.
SLOW = {"semdiff.training.recipes.ends.train_ends"}


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((PACKAGE / package).rglob("*.py"))]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def parameters(function: ast.FunctionDef) -> list[str]:
    """Public parameters of a function, without self and cls."""
    found = function.args
    named = [
        *found.posonlyargs,
        *found.args,
        *found.kwonlyargs,
        *([found.vararg] if found.vararg else []),
        *([found.kwarg] if found.kwarg else []),
    ]
    return [a.arg for a in named if a.arg not in ("self", "cls") and not a.arg.startswith("_")]


def documented(path: Path) -> list[tuple[str, str | None, list[str]]]:
    """(name, docstring, parameters) of a module and of its public classes, functions and methods; a class has its constructor's."""
    tree = ast.parse(path.read_text())
    found: list[tuple[str, str | None, list[str]]] = [(path.stem, ast.get_docstring(tree), [])]

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                constructors = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
                found.append((prefix + node.name, ast.get_docstring(node), parameters(constructors[0]) if constructors else []))
                visit(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef) and (not node.name.startswith("_") or node.name == "__call__"):
                found.append((prefix + node.name, ast.get_docstring(node), parameters(node)))

    visit(tree.body, "")
    return found


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_docstrings_begin_with_a_verb(path: Path) -> None:
    wrong = []
    for name, docstring, _ in documented(path):
        word = re.match(r"[A-Z]\w+(?=[\s,.:-])", docstring or "")
        if word is None or word.group() in NO_VERBS or re.search("[^s]s$", word.group()):
            wrong.append((name, (docstring or "").split("\n")[0]))
    assert wrong == []


@pytest.mark.parametrize("path", modules(), ids=module_name)
def test_docstrings_name_every_parameter(path: Path) -> None:
    wrong = {}
    for name, docstring, names in documented(path):
        if path.parent.name == "cli" and name in (path.stem, "semdiff"):
            continue  # a command: its docstring is its help, and its options have their own
        absent = [n for n in names if not re.search(rf"\b{re.escape(n)}\b", docstring or "")]
        if absent:
            wrong[name] = absent
    assert wrong == {}


def examples() -> list[str]:
    """Objects whose docstrings have examples, as module:name."""
    found = []
    for path in modules():
        found += [f"{module_name(path)}:{name}" for name, docstring, _ in documented(path) if ">>>" in (docstring or "")]
    return found


def mark(example: str) -> object:
    return pytest.param(example, marks=pytest.mark.slow) if example.replace(":", ".") in SLOW else example


@pytest.mark.slow
@pytest.mark.parametrize("example", [mark(e) for e in examples()])
def test_example_runs(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example that needs a data set or weights that are not on this machine is skipped, with the message that says how to get them."""
    monkeypatch.chdir(ROOT)  # for weights/
    module, _, name = example.partition(":")
    target = import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    tests = doctest.DocTestFinder(recurse=False).find(target, name, globs={"__name__": "__main__"})
    assert tests
    for test in tests:
        try:
            doctest.DebugRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(test)
        except doctest.UnexpectedException as error:
            if isinstance(error.exc_info[1], FileNotFoundError):
                pytest.skip(str(error.exc_info[1]))
            raise error.exc_info[1] from None
        except doctest.DocTestFailure as failure:
            pytest.fail(f"{name}: {failure.example.source.strip()}\nexpected {failure.example.want.strip()}\ngot {failure.got.strip()}")


def test_main_entry_points_have_examples() -> None:
    wanted = {
        "link": {"LinkFiles.default", "ImageLink.transmit", "ImageLink.send", "ImageLink.receive", "SemanticLink", "PixelLink"},
        "baselines": {"Digital", "Hybrid", "Capacity", "DeepJSCC", "ADJSCC", "FFDNet", "FFDNetReceiver", "capacity_bits", "opta_psnr_db"},
        "metrics": {"psnr", "ssim", "ms_ssim", "lpips", "lpips_shifted", "LPIPS", "accuracy", "fid", "kid", "kid_patches"},
        "data": {"cifar10", "fashion_mnist", "kodak", "photos", "read_folder", "read_picture", "sample_images", "sample_photos"},
        "training": {"train_ends"},
        "evaluation": {"Config", "Results", "diagnose", "diagnose_link", "sweep"},
    }
    found = {(example.split(".")[1].split(":")[0], example.partition(":")[2]) for example in examples()}
    assert {(package, name) for package, names in wanted.items() for name in names} - found == set()

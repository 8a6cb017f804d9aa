# SPDX-License-Identifier: Apache-2.0
"""What help() shows: every public name says what it takes and gives, and shows an example that runs."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import pkgutil
import pydoc
import re
from collections.abc import Iterator
from typing import Any

import pytest
from torch import nn

import semdiff
import semdiff.numpy
import semdiff.oracle
import semdiff.rng

PACKAGES = ("semdiff.phy", "semdiff.diffusion", "semdiff._util")
ALONE = ("semdiff", "semdiff._build", "semdiff.rng", "semdiff.numpy", "semdiff.oracle")
TYPES = {"Denoiser", "KeyLike", "MatchMode", "Prediction", "Solver", "__version__"}
# First words that tell what a thing is, or where, in place of what it does.
NOT_IMPERATIVE = re.compile(r"(What|How|Where|Which|The|A|An|It|This|Whether)\b")


def modules() -> list[str]:
    found = list(ALONE)
    for name in PACKAGES:
        package = importlib.import_module(name)
        found += [name, *(each.name for each in pkgutil.walk_packages(package.__path__, f"{name}."))]
    return found


def documented() -> Iterator[tuple[str, Any]]:
    """Every public name of the package, of rng and of oracle, and the public methods that a class has of its own."""
    things = {f"semdiff.{name}": getattr(semdiff, name) for name in semdiff.__all__ if name not in TYPES}
    things |= {f"semdiff.rng.{name}": getattr(semdiff.rng, name) for name in ("Key", "key_tensor", "normal", "complex_normal")}
    things |= {"semdiff.oracle.GaussianMixture": semdiff.oracle.GaussianMixture}
    for name, thing in things.items():
        yield name, thing
        if isinstance(thing, type) and not issubclass(thing, tuple):
            for method, value in vars(thing).items():
                bare = value.__func__ if isinstance(value, classmethod) else value
                if not method.startswith("_") and inspect.isfunction(bare) and method != "extra_repr":
                    yield f"{name}.{method}", bare


DOCUMENTED = dict(documented())


@pytest.mark.parametrize("name", modules())
def test_examples_run(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


# Those that raise nothing of their own.
SILENT = {"build_info", "Channel.uses", "MIMO.draw", "GaussianMixture.standardized"}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_every_public_name_is_documented(name: str) -> None:
    thing, short = DOCUMENTED[name], name.removeprefix("semdiff.").removeprefix("rng.").removeprefix("oracle.")
    text = inspect.getdoc(thing) or ""
    first = text.split("\n")[0]
    assert first, "no docstring"
    assert not NOT_IMPERATIVE.match(first), first
    if short not in ("Channel.forward", "Channel.uses") and re.search(r"`Channel\.(forward|uses)`", text):
        return  # a channel's own call and count: the base class says it
    sections = set(re.findall(r"^(\w+):$", text, re.M))
    takes = set(_parameters(thing))
    assert takes <= _described(text), f"not described: {takes - _described(text)}"
    assert "Returns" in sections or isinstance(thing, type)
    assert "Raises" in sections or short in SILENT or (isinstance(thing, type) and (not takes or issubclass(thing, tuple)))
    assert "Example" in sections or short in ("Channel.forward", "Channel.uses")


@pytest.mark.parametrize("name", modules())
def test_docstrings_begin_with_a_verb(name: str) -> None:
    """Of functions and classes; properties and tests of something are named by what they are."""
    found = []
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(name)))):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not any("property" in ast.unparse(d) for d in node.decorator_list):
            first = (ast.get_docstring(node) or "").split("\n")[0]
            if NOT_IMPERATIVE.match(first) and not first.startswith("Whether"):
                found.append(f"{node.name}: {first}")
    assert found == []


def _parameters(thing: Any) -> list[str]:
    if isinstance(thing, type) and issubclass(thing, tuple):
        return list(thing._fields)  # type: ignore[attr-defined]
    if isinstance(thing, type) and issubclass(thing, nn.Module) and "__init__" not in vars(thing):
        return [] if thing.__init__ is nn.Module.__init__ else [p for p in inspect.signature(thing).parameters]
    return [p for p in inspect.signature(thing).parameters if p not in ("self", "cls")]


def _described(text: str) -> set[str]:
    """The names with a line of their own under Args or Attributes."""
    sections = re.findall(r"^(?:Args|Attributes):\n((?:    .*\n?|\n)+)", text, re.M)
    return {name for section in sections for name in re.findall(r"^    (\w+): ", section, re.M)}


@pytest.mark.parametrize("name", semdiff.numpy.__all__)
def test_numpys_functions_are_documented(name: str) -> None:
    thing = getattr(semdiff.numpy, name)
    text = inspect.getdoc(thing) or ""
    if inspect.isfunction(thing):
        takes = [p for p in inspect.signature(thing).parameters if p != "self"]
        assert set(takes) <= _described(text)
        assert "Returns:" in text
        assert "For NumPy" in text or "Example:" in text
        assert not ("For NumPy" in text and "Example:" in text), "an example for torch"


def test_help_of_the_package_is_a_page() -> None:
    text = pydoc.plain(pydoc.render_doc(semdiff))
    assert len(text.splitlines()) <= 300
    for name in semdiff.__all__:
        assert re.search(rf"\b{name}\b", text), name
    assert "_wrapped_call_impl" not in text  # nn.Module's methods
    assert set(semdiff.__all__) <= set(dir(semdiff))  # for everyone else


def test_types_are_exported() -> None:
    def f(key: semdiff.KeyLike, denoiser: semdiff.Denoiser) -> None: ...

    assert semdiff.MatchMode.__args__ == ("exact", "paper", "calibrated")  # type: ignore[attr-defined]
    assert set(semdiff.Prediction.__args__) == {"eps", "x0", "v"}  # type: ignore[attr-defined]
    assert set(semdiff.Solver.__args__) == {"dpmpp_2m", "ddim", "ddpm", "heun"}  # type: ignore[attr-defined]
    assert set(semdiff.__all__) >= TYPES

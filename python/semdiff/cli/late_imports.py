# SPDX-License-Identifier: Apache-2.0
"""Put off what diffusers imports for decorators and options: torch's compiler and parts of scipy, two thirds of the time that it takes.

For the command alone, whose process is its own: it puts stand-ins into `sys.modules`, which a library has no right to.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace
from typing import Any

import torch

COMPILER = "torch._dynamo"
PUT_OFF = (COMPILER, "scipy.stats", "scipy.integrate")


class _Later(ModuleType):
    """Stand for a module until something of it is used."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        package, _, rest = name.partition(".")
        spec = find_spec(package)
        self.__path__ = [f"{place}/{rest}" for place in (spec and spec.submodule_search_locations) or []]  # its own modules are there

    def __getattr__(self, name: str) -> Any:
        # diffusers does without allow_in_graph where it is not; it concerns attention over several devices.
        if name.startswith("__") or (self.__name__ == COMPILER and name == "allow_in_graph"):
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


def _disable(function: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Callable[..., Any]:
    """Make `torch.compiler.disable` of a function when it is called: before the compiler is loaded nothing is compiled."""
    if function is None:
        return partial(_disable, recursive=recursive, **options)

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        loaded = not isinstance(sys.modules.get(COMPILER), _Later | None)
        return (torch.compiler.disable(function, recursive, **options) if loaded else function)(*args, **kwargs)

    return run


@contextmanager
def late_imports() -> Iterator[None]:
    """Let diffusers, inside the block, leave out torch's compiler and parts of scipy, which are loaded when they are used.

    Example:
        >>> from semdiff.cli.late_imports import late_imports
        >>> with late_imports():
        ...     from diffusers import UNet2DModel
    """
    standing = {name: _Later(name) for name in PUT_OFF if name not in sys.modules}
    if COMPILER in standing:
        nothing = type("OptimizedModule", (), {})  # the class of compiled modules, of which there are none yet
        standing[COMPILER].__dict__.update(disable=_disable, eval_frame=SimpleNamespace(OptimizedModule=nothing))
    sys.modules.update(standing)
    try:
        yield
    finally:
        for name, module in standing.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


def import_links() -> None:
    """Import `semdiff.link` inside `late_imports()`. A command does so before it asks for anything of links."""
    with late_imports():
        from diffusers import DiffusionPipeline  # noqa: F401, before other modules of it: the first import decides what else is loaded

        import semdiff.link  # noqa: F401

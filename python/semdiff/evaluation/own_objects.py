# SPDX-License-Identifier: Apache-2.0
"""Find and make the objects of a user's modules that a configuration names as "module:Name".

Name is a class, which is made with the given arguments; a function, which is called with them; or an object that is there. Python finds the
module as any other; the command also looks in the current folder. Naming it runs it, so it should be one that you trust.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from semdiff.evaluation.readers import unknown


def find_object(name: str, where: str) -> Any:
    """Import an object.

    Args:
        name: "module:Name".
        where: the field, for the message.

    Raises:
        ValueError: where there is no such module, or no such name in it.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise  # a module that theirs imports
        found = f"a file {module_name.replace('.', '/')}.py in the current folder, or an installed module"
        raise ValueError(f"{where}: expected {found}, got {name!r} ({error})") from None
    if not hasattr(module, attribute):
        known = [n for n in vars(module) if not n.startswith("_")]
        raise ValueError(f"{where}: {unknown(f'name of {module_name}', attribute, known)}")
    return getattr(module, attribute)


def make_object(name: str, options: Mapping[str, Any], where: str) -> Any:
    """Make a system, channel or denoiser: of a class or a function by a call, else the object itself.

    Args:
        name: "module:Name".
        options: arguments.
        where: the field, for the message.

    Raises:
        ValueError: where there is no such thing.
        TypeError: for arguments that it does not take, or methods that it lacks.
    """
    found = find_object(name, where)
    if not inspect.isclass(found) and not inspect.isfunction(found):
        if options:
            raise ValueError(f"{where}: expected no arguments for {name}, which is made already; got {dict(options)}")
        return found
    check_arguments(where, options, found)
    if inspect.isabstract(found):
        methods: frozenset[str] = getattr(found, "__abstractmethods__", frozenset())
        missing = ", ".join(f"{method}{inspect.signature(getattr(found, method))}" for method in sorted(methods))
        raise TypeError(f"{where}: expected {name} to define {missing}; it does not")
    try:
        return found(**options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from error


def make_function(name: str, options: Mapping[str, Any], where: str) -> Callable[..., Any]:
    """Make a metric or a denoiser: a function with the arguments filled in, an object of a class, or the object itself.

    Args:
        name: "module:Name".
        options: arguments.
        where: the field, for the message.

    Raises:
        ValueError, TypeError: as `make_object`, or where the result cannot be called.
    """
    found = find_object(name, where)
    if inspect.isfunction(found):
        check_arguments(where, options, found)
        return partial(found, **options) if options else found
    made = make_object(name, options, where)
    if not callable(made) and not callable(getattr(made, "function", None)):  # semdiff.metrics.Metric has a function
        raise TypeError(f"{where}: expected a function, or an object that can be called, got {type(made).__name__}")
    return made  # type: ignore[no-any-return]


def check_arguments(where: str, given: Mapping[str, Any], make: Any) -> None:
    """Check that a callable has arguments of these names.

    Args:
        where: for the message.
        given: arguments by name.
        make: the callable.

    Raises:
        ValueError: for one that it has not.
    """
    parameters = inspect.signature(make).parameters.values()
    if any(p.kind == p.VAR_KEYWORD and p.name != "kwargs" for p in parameters):
        return
    takes = [p.name for p in parameters if p.name not in ("args", "kwargs")]
    for name in given:
        if name not in takes:
            raise ValueError(f"{where}: {unknown('argument', name, takes)}")

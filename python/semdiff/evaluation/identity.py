# SPDX-License-Identifier: Apache-2.0
"""Tell what the results of an object depend on: its class, its weights, and its arguments, so that a changed one is computed again.

The arguments are what the object's method `identity()` returns, and without one all its attributes. A module is known by its submodules
too, a method by its object, and a function by its defaults and by what it took from where it was made. Code is not looked at, but for
lambdas.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from types import CellType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from semdiff.evaluation.json_files import to_json

DEEPEST = 12  # objects in objects; deeper ones are known by their class


def class_name(thing: Any) -> str:
    """Return module.Name of a function or a class, or of an object's class.

    Args:
        thing: the function, class or object.
    """
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def object_identity(thing: Any) -> Any:
    """Describe an object as JSON: a function by its name, others also by their weights and arguments.

    Args:
        thing: a metric, a channel, or a denoiser.
    """
    found = _plain_form(thing, 0)
    return found["class"] if isinstance(found, dict) and found.keys() == {"class"} else found


def arguments_of(thing: Any) -> dict[str, Any]:
    """Return an object's arguments as JSON.

    Args:
        thing: a system.

    Raises:
        TypeError: where its `identity()` returns no dict.
    """
    return _arguments(thing, 0)


def weights_digest(thing: Any) -> str | None:
    """Compute the sha256 of all parameters and buffers of an object's modules, and of its config; None where there are none.

    Args:
        thing: a module, or what has some.
    """
    found = hashlib.sha256()
    any_weights = False
    for name, module in _modules(thing):
        for key, value in sorted(module.state_dict().items()):
            any_weights = True
            found.update(f"{name}.{key} {value.dtype} {tuple(value.shape)}\n".encode())
            found.update(_bytes(value))
    config = getattr(thing, "config", None)
    if isinstance(config, Mapping):
        found.update(to_json({k: v for k, v in config.items() if _plain(v)}))
    return found.hexdigest() if any_weights else None


def _modules(thing: Any) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(thing, nn.Module):
        yield "", thing
        return
    parts = getattr(thing, "components", None)  # a diffusers pipeline's
    for name, part in sorted((parts if isinstance(parts, Mapping) else getattr(thing, "__dict__", {})).items()):
        if isinstance(part, nn.Module):
            yield name, part


def _plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) or (isinstance(value, (list, tuple)) and all(map(_plain, value)))


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def _arguments(thing: Any, depth: int) -> dict[str, Any]:
    if callable(getattr(thing, "identity", None)):
        found = thing.identity()
        if not isinstance(found, Mapping):
            raise TypeError(f"{type(thing).__name__}.identity: expected a dict of what results depend on, got {type(found).__name__}")
    elif isinstance(getattr(thing, "components", None), Mapping):  # a pipeline is known by its weights and its config
        return {}
    else:
        kept = _attributes(thing)
        names = {f"_{name}": name for name in _parameters(type(thing)) if name not in kept}  # as the constructor calls them
        found = {names.get(name, name): value for name, value in kept.items()}
    return {str(name): _plain_form(value, depth + 1) for name, value in found.items()}


def _attributes(thing: Any) -> dict[str, Any]:
    """Return an object's attributes, but for those that torch's modules keep of their own, which `_structure` describes."""
    slots: list[str] = []
    for kind in type(thing).__mro__:
        named = kind.__dict__.get("__slots__", ())
        slots += [named] if isinstance(named, str) else named
    kept = {name: getattr(thing, name) for name in slots if name not in ("__dict__", "__weakref__") and hasattr(thing, name)}
    kept |= getattr(thing, "__dict__", {})
    own = vars(nn.Module()) if isinstance(thing, nn.Module) else {}
    return {name: value for name, value in kept.items() if name not in own}


def _structure(module: nn.Module, depth: int) -> dict[str, Any]:
    """Describe the submodules of a module: class, what it says of itself, attributes if it is not torch's, and unsaved buffers."""
    found: dict[str, Any] = {}
    for name, part in module.named_modules():
        stored = part.state_dict(keep_vars=True)
        unsaved = {n: _plain_form(b, depth) for n, b in part.named_buffers(recurse=False) if n not in stored}
        told = [class_name(part), part.extra_repr()] if name else []
        if name and not type(part).__module__.startswith("torch."):
            told.append(_arguments(part, depth + 1))
        if told or unsaved:
            found[name] = [*told, *([unsaved] if unsaved else [])]
    return found


def _parameters(kind: type) -> list[str]:
    try:
        found = inspect.signature(kind).parameters.values()
    except (TypeError, ValueError):  # some built-in classes have none
        return []
    return [p.name for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]


def _plain_form(value: Any, depth: int) -> Any:
    """The value as JSON: tensors and arrays by their digests, objects by class, weights and arguments."""
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if depth > DEEPEST:
        return class_name(value)
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain_form(v, depth + 1) for v in (sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value)]
    if isinstance(value, Mapping):
        return {str(k): _plain_form(v, depth + 1) for k, v in value.items()}
    if isinstance(value, np.ndarray) and value.dtype != object:
        return f"{value.dtype} {value.shape} sha256 {hashlib.sha256(value.tobytes()).hexdigest()}"
    if isinstance(value, Tensor):
        return f"{value.dtype} {tuple(value.shape)} sha256 {hashlib.sha256(_bytes(value)).hexdigest()}"
    if isinstance(value, partial):
        return {"class": class_name(value.func), "arguments": _plain_form([value.args, value.keywords], depth + 1)}
    if inspect.ismethod(value):
        return {"class": class_name(value), "arguments": {"self": _plain_form(value.__self__, depth + 1)}}
    if inspect.isfunction(value):
        taken = _taken(value, depth)
        return {"class": class_name(value)} | ({"arguments": taken} if taken else {})
    if hasattr(value, "__qualname__"):
        return {"class": class_name(value)}
    if not (hasattr(value, "__dict__") or hasattr(type(value), "__slots__")):
        shown = repr(value)
        return class_name(value) if " at 0x" in shown else shown
    found: dict[str, Any] = {"class": class_name(value)}
    digest, arguments = weights_digest(value), _arguments(value, depth)
    if isinstance(value, nn.Module) and (parts := _structure(value, depth + 1)):
        found["modules"] = parts
    return found | ({"weights_sha256": digest} if digest else {}) | ({"arguments": arguments} if arguments else {})


def _taken(function: Any, depth: int) -> dict[str, Any]:
    """Return a function's defaults and what it took from the function that made it; of a lambda, which has no name, its code too."""
    code, cells = function.__code__, function.__closure__ or ()
    found: dict[str, Any] = {}
    if defaults := [*(function.__defaults__ or ()), *sorted((function.__kwdefaults__ or {}).items())]:
        found["defaults"] = _plain_form(defaults, depth + 1)
    taken = {name: cell.cell_contents for name, cell in zip(code.co_freevars, cells, strict=True) if cell != CellType()}
    if taken:
        found["taken"] = _plain_form(taken, depth + 1)
    if function.__name__ == "<lambda>":
        parts = (code.co_code, [c for c in code.co_consts if not inspect.iscode(c)], code.co_names)
        found["code_sha256"] = hashlib.sha256(repr(parts).encode()).hexdigest()
    return found

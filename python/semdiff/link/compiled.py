# SPDX-License-Identifier: Apache-2.0
"""A link's networks, quicker: channels last in memory, bfloat16 where the processor multiplies it, and torch.compile."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from semdiff.precision import Precision, check_precision, computes_bf16

Methods = list[tuple[nn.Module, str]]


def hasten(quick: Methods, exact: Methods, device: torch.device, precision: Precision, compiled: bool, any_size: bool) -> None:
    """Changes these methods of these networks in place, the exact ones in float32. Their weights stay as they are, and so does what they
    save. any_size: compiles once for all sizes."""
    check_precision(precision)
    narrow = computes_bf16(device.type == "cpu") if precision == "auto" else precision == "bf16"
    if compiled and device.type == "cpu" and not has_compiler():
        message = "compile: no C++ compiler found (install g++, or name one in the variable CXX); the networks run eagerly"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
        compiled = False
    for network, method in (*quick, *exact):
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        run = getattr(type(network), method).__get__(network)  # a second call begins anew
        if narrow and (network, method) in quick:
            run = _in_bf16(run, device.type)
        setattr(network, method, torch.compile(run, dynamic=any_size) if compiled else run)


def has_compiler() -> bool:
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


def _in_bf16(run: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Convolutions and matrices in bfloat16; what comes out is float32, as solvers want it."""

    def narrowed(*args: Any, **options: Any) -> Any:
        with torch.autocast(device, torch.bfloat16):
            out = run(*args, **options)
        return tree_map_only(torch.Tensor, lambda v: v.float(), out)

    return narrowed

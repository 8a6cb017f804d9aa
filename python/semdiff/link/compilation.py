# SPDX-License-Identifier: Apache-2.0
"""Make a link's networks faster: channels last in memory, bfloat16 where the processor multiplies it, and torch.compile."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import nn
from torch.utils._pytree import tree_map_only

from semdiff._util.precision import Precision, check_precision, computes_bf16

NetworkMethods = list[tuple[nn.Module, str]]


def compile_networks(
    quick: NetworkMethods, exact: NetworkMethods, device: torch.device, precision: Precision, compiled: bool, any_size: bool
) -> None:
    """Replace methods of networks by faster ones, in place. Weights and saved files stay as they are.

    Args:
        quick: methods that may compute in bfloat16, as (network, name).
        exact: methods that compute in float32.
        device: where the networks run.
        precision: "bf16", "fp32", or "auto", which is bfloat16 where the processor multiplies it.
        compiled: whether to use torch.compile. Without a C++ compiler there is a RuntimeWarning, and the networks run eagerly.
        any_size: compile once for all image sizes.
    """
    check_precision(precision)
    narrow = computes_bf16(device.type == "cpu") if precision == "auto" else precision == "bf16"
    if compiled and device.type == "cpu" and not has_compiler():
        message = "compile: no C++ compiler found (install g++, or name one in the variable CXX); the networks run eagerly"
        warnings.warn(message, RuntimeWarning, stacklevel=3)
        compiled = False
    for network, method in (*quick, *exact):
        cast(Any, network).to(memory_format=torch.channels_last)  # which torch's annotations do not know in every version
        setattr(
            network, method, FastMethod(network, method, device.type if narrow and (network, method) in quick else None, compiled, any_size)
        )


def has_compiler() -> bool:
    """Check whether torch.compile finds a C++ compiler."""
    from torch._inductor.cpp_builder import get_cpp_compiler
    from torch._inductor.exc import InvalidCxxCompiler

    try:
        get_cpp_compiler()
    except InvalidCxxCompiler:
        return False
    return True


class FastMethod:
    """Run a network's method through torch.compile, in bfloat16, or both.

    A copy, also one in another process, compiles anew: compiled code belongs to a process.

    Args:
        network, method: the method of the network's class by this name.
        narrow_on: the device type on which to compute in bfloat16; None computes in float32.
        compiled: whether to use torch.compile.
        any_size: compile once for all sizes.
    """

    def __init__(self, network: nn.Module, method: str, narrow_on: str | None, compiled: bool, any_size: bool) -> None:
        self.network, self.method, self.narrow_on, self.compiled, self.any_size = network, method, narrow_on, compiled, any_size
        self.run: Callable[..., Any] | None = None

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Run the method.

        Args:
            args, options: of the method.
        """
        if self.run is None:
            run = self._narrowed if self.narrow_on else getattr(type(self.network), self.method).__get__(self.network)
            self.run = torch.compile(run, dynamic=self.any_size) if self.compiled else run
        return self.run(*args, **options)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"run": None}

    def _narrowed(self, *args: Any, **options: Any) -> Any:
        """Convolutions and matrices in bfloat16; what comes out is float32, as solvers want it."""
        with torch.autocast(str(self.narrow_on), torch.bfloat16):
            out = getattr(type(self.network), self.method)(self.network, *args, **options)
        return tree_map_only(torch.Tensor, lambda v: v.float(), out)

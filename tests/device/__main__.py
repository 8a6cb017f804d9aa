# SPDX-License-Identifier: Apache-2.0
"""Every operator on a device against the CPU's kernels, forwards and backwards, one transmission, and the time that each operator takes:
python -m tests.device --device cuda

Tolerances are those of tests/python/ops/test_op_contract.py, doubled, since two implementations differ from the exact result each.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import semdiff
from benchmarks.timing import interleave
from semdiff.data import sample_images
from tests.python.op_table import OPS, SMALL, Op

TOLERANCE = {torch.float64: 2e-12, torch.float32: 2e-5, torch.float16: 2**-9, torch.bfloat16: 2**-6}


def moved(value: Any, device: str) -> Any:
    """A tensor of data goes to the device, and so does an argument that names one; a key, which is read on the CPU, stays."""
    if isinstance(value, torch.device):
        return torch.device(device)
    return value.to(device) if isinstance(value, Tensor) and value.dtype != torch.uint64 else value


def run(op: Op, args: tuple[Any, ...]) -> list[Tensor]:
    """The outputs, and the gradients of the sum of their squares."""
    args = tuple(a.detach().clone().requires_grad_() if i in op.gradients else a for i, a in enumerate(args))
    out = op.call(*args)
    found = [out] if isinstance(out, Tensor) else list(out)
    if op.gradients:
        carrying = [found[i] for i in op.outputs] if op.outputs is not None else found
        loss = sum((torch.view_as_real(o) if o.is_complex() else o).double().square().sum() for o in carrying)
        found += torch.autograd.grad(loss, [args[i] for i in op.gradients])
    return [f.detach().cpu() for f in found]


def difference(got: Tensor, want: Tensor) -> float:
    """The largest, in parts of the largest number wanted; of whole numbers, which must be equal, infinity."""
    if not want.numel():
        return 0.0
    if not (want.is_floating_point() or want.is_complex()):
        return 0.0 if torch.equal(got, want) else float("inf")
    return float((got.to(want.dtype) - want).abs().max()) / max(float(want.abs().max()), 1e-30)


def differences(device: str) -> list[str]:
    wrong = []
    for op in OPS:
        for dtype in op.dtypes:
            args = op.make(SMALL, dtype)
            for i, (got, want) in enumerate(zip(run(op, tuple(moved(a, device) for a in args)), run(op, args), strict=True)):
                error = difference(got, want)
                if not error <= TOLERANCE[dtype]:
                    wrong.append(f"{op} {dtype} output {i}: {error:.3g} of {TOLERANCE[dtype]:.3g}")
    return wrong


def timings(device: str, shape: tuple[int, ...] = (64, 4, 64, 64)) -> list[str]:
    """Microseconds of each operator in float32, forwards: on the CPU's kernels, and on the device, which is waited for."""

    def timed(op: Op, args: tuple[Any, ...], place: str) -> Callable[[], None]:
        wait = torch.get_device_module(place).synchronize if place != "cpu" else lambda: None

        def call() -> None:
            op.call(*args)
            wait()

        return call

    lines = []
    for op in OPS:
        if torch.float32 in op.dtypes:
            args = op.make(shape, torch.float32)
            variants = {"cpu": timed(op, args, "cpu"), device: timed(op, tuple(moved(a, device) for a in args), device)}
            found = interleave(variants, rounds=5)
            lines.append(f"{op!s:32s}" + "".join(f" {name} {time.median * 1e6:10.1f} us" for name, time in found.items()))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.device", description=__doc__)
    parser.add_argument("--device", default="cuda")
    device = parser.parse_args().device
    wrong = differences(device)
    print(f"{len(OPS)} operators on {device} against the CPU: {len(wrong)} differences", *wrong, sep="\n")
    from semdiff.link import SemanticLink

    images = sample_images()
    link = SemanticLink.default()
    here = link.transmit(images, 5.0, key=semdiff.Key(0)).images
    there = link.to(device).transmit(images.to(device), 5.0, key=semdiff.Key(0)).images.cpu()
    apart = float((here - there).abs().max())
    print(f"one transmission on {device}: at most {apart:.2g} from the CPU's")
    print(f"{torch.get_num_threads()} threads", *timings(device), sep="\n")
    return int(bool(wrong) or not apart < 0.02)


if __name__ == "__main__":
    sys.exit(main())

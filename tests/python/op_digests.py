# SPDX-License-Identifier: Apache-2.0
"""Print a digest of the outputs of every operator as JSON, to compare processes: python -m tests.python.op_digests [THREADS]"""

from __future__ import annotations

import hashlib
import json
import sys

import torch
from torch import Tensor

from semdiff import Key, _ops
from tests.python.op_table import BIG, OPS, SMALL

ops = _ops.ops


def digest(*tensors: Tensor) -> str:
    """The sha256 of the tensors' bytes."""
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def of_operators() -> dict[str, str]:
    """One digest for each operator and dtype, of a small and a larger tensor."""
    found = {}
    for op in OPS:
        for dtype in op.dtypes:
            tensors: list[Tensor] = []
            for shape in (SMALL, BIG) if op.shaped else (SMALL,):
                result = op.call(*op.make(shape, dtype))
                tensors += [result] if isinstance(result, Tensor) else result
            found[f"{op} {str(dtype).removeprefix('torch.')}"] = digest(*tensors)
    return found


def of_streams() -> dict[str, object]:
    """What keys mean: the children of some, digests of their draws in each dtype, and of the operators that draw."""
    keys = (Key(7), Key(2**64 - 1), Key(3, 2**32 - 2), Key(0, 2**64 - 3))
    found: dict[str, object] = {}
    for key in keys:
        children = [*key.split(3), key.fold_in(0), key.fold_in(2**40)]
        found[f"children of {key}"] = [child.tensor.tolist() for child in children]
        for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
            draw = ops.normal.default((4099,), key.tensor, dtype, torch.device("cpu"))
            found[f"{str(dtype).removeprefix('torch.')} of {key}"] = digest(draw)
    key = Key(7).tensor
    for dtype in (torch.float64, torch.float32):
        x, y = (ops.normal.default((2, 8, 6, 10), Key(i).tensor, dtype, torch.device("cpu")) for i in (1, 2))
        s = torch.view_as_complex(ops.normal.default((2, 501, 2), Key(3).tensor, dtype, torch.device("cpu")))
        share = torch.tensor([0.25, 0.5], dtype=torch.float64)
        drawn = {
            "diffuse": ops.diffuse.default(x, share, share, key),
            "fading": ops.fading.default(s, 0.25, 0.75, share, 7, key),
            "fading_equalized": ops.fading_equalized.default(s, 0.25, 0.75, share, 7, "mmse", key),
            "reparameterize": ops.reparameterize.default(x, y, key),
            "gaussian_upsample": ops.gaussian_upsample.default(x, 2, key),
        }
        for name, out in drawn.items():
            found[f"{name} {str(dtype).removeprefix('torch.')}"] = digest(*([out] if isinstance(out, Tensor) else out))
    return found


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    print(json.dumps(of_operators()))

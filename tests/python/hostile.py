# SPDX-License-Identifier: Apache-2.0
"""Every argument of every operator, wrong or strange in every way, in processes whose fresh memory is filled.

    python -m tests.python.hostile [--share S] [--seed N]     S of all cases, 1 without; what is found is printed, and the exit code is 1

Each case is right by the reference, or refused in words. All cases run twice, under two fills of the memory that malloc gives
(MALLOC_PERTURB_): a result that depends on memory nobody wrote differs between the two. A crash is a finding and ends the process alone.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import resource
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from tests.python.hostile_references import REFERENCES
from tests.python.mutations import mutants
from tests.python.op_digests import digest
from tests.python.op_table import KEY, OPS, SMALL, Args, Op

ROOT = Path(__file__).parents[2]
FILLS = ("165", "90")  # of MALLOC_PERTURB_: fresh bytes are 0x5a, 1.5e16 as float32, and 0xa5, -2.9e-16
ROOM = 6 << 30  # bytes of address space: what asks for more is refused by malloc, and the machine goes on
REFUSALS = (ValueError, TypeError, NotImplementedError, RuntimeError, IndexError, OverflowError)
TOLERANCE = 4e-5  # of float32, relative to the largest number, as in test_op_contract.py, for inputs that are less tame


@dataclass(frozen=True)
class Case:
    """Name one call: its operator's row, the position of the changed argument (-1: none), and which of the changes it is."""

    row: int
    position: int
    index: int
    kind: str

    def __str__(self) -> str:
        op = OPS[self.row]
        name = op.call._schema.arguments[self.position].name if self.position >= 0 else "all"
        return f"{op}: {name} {self.kind} #{self.index}"


def strange(value: Any) -> Iterator[tuple[str, Any]]:
    """(kind, value) of right types that few would hand over: layouts, sizes, numbers at the ends, states of autograd."""
    if not isinstance(value, Tensor):
        return
    wide = torch.empty((), dtype=value.dtype)
    if value.dim():
        yield "stride", torch.stack([value, value], -1)[..., 0]
        yield "stride", value[:1].expand(value.shape)
        yield "stride", torch.cat([value.reshape(-1)[:1], value.reshape(-1)])[1:].view(value.shape)  # not aligned
        for place in range(value.dim()):
            yield "empty", value.new_empty([0 if i == place else n for i, n in enumerate(value.shape)])
        yield "size", wide.expand(2**31, *value.shape[1:])
        yield "size", wide.expand(2**62)
        yield "size", wide.expand(2**31, 2**31)
        yield "size", wide.expand(0, 2**62)
        yield "rank", value[None]
        yield "rank", value.reshape(-1)
        yield "shape", torch.cat([value, value])
        yield "shape", value[..., :-1]
    if value.dim() > 1:
        yield "stride", value.transpose(0, -1).contiguous().transpose(0, -1)
    yield "meta", value.to("meta")
    yield "meta size", torch.empty((2**31, *value.shape[1:]), dtype=value.dtype, device="meta")
    yield "sparse", value.to_sparse() if value.is_floating_point() and value.dim() else None
    if value.is_floating_point() or value.is_complex():
        yield "requires_grad", value.detach().clone().requires_grad_()
        yield "forward AD", value
        for number in (math.nan, math.inf, -math.inf, 0.0, -0.0, 1e-45, 1e15, -1e15):
            changed = value.clone()
            changed.reshape(-1)[:1] = number
            yield "number", changed
        for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128, torch.int64, torch.uint8):
            if dtype != value.dtype:
                yield "dtype", torch.ones(value.shape, dtype=dtype)
        if value.is_complex():
            yield "conjugate", value.conj()
        yield "negative bit", torch._neg_view(value)


def changes(value: Any) -> list[tuple[str, Any]]:
    return [*mutants(value), *strange(value)]


@cache
def arguments(row: int) -> Args:
    op = OPS[row]
    return op.make(SMALL, torch.float32)


def cases() -> list[Case]:
    """All of them, in a fixed order."""
    found = []
    for row in range(len(OPS)):
        for position, value in enumerate(arguments(row)):
            if not isinstance(value, (torch.dtype, torch.device)):
                found += [Case(row, position, i, kind) for i, (kind, _) in enumerate(changes(value))]
    return found


# In the process of the cases


def run(case: Case) -> str:
    """What came of it: `refused`, `right` with a digest, or a word for what is wrong."""
    op, args = OPS[case.row], list(arguments(case.row))
    kind, args[case.position] = changes(args[case.position])[case.index]
    try:
        with forward_ad.dual_level():
            if kind == "forward AD":
                args[case.position] = forward_ad.make_dual(args[case.position], torch.ones_like(args[case.position]))
            out = op.call(*args)
            found = [out] if isinstance(out, Tensor) else list(out)
            if kind == "forward AD" and not any(forward_ad.unpack_dual(f).tangent is not None for f in found):
                return "wrong: the tangent is lost without a word"
    except REFUSALS as error:
        message = str(error)
        if not message or "INTERNAL ASSERT" in message:
            return "wrong: an internal error: " + message[:200]
        return f"refused: {type(error).__name__}"
    if any(f.is_meta for f in found):
        return "right: meta " + str([(str(f.dtype), list(f.shape)) for f in found])
    return judge(op, tuple(args), [f.detach() for f in found])


def judge(op: Op, args: Args, found: list[Tensor]) -> str:
    """Compare with the reference, where it takes the arguments; the digest is compared between the two fills."""
    told = "" if any(f.numel() > 1 << 20 for f in found) else digest(*(f.resolve_conj().resolve_neg() for f in found))
    if op.name == "svd_2x2":  # vectors are not unique where singular values are equal: the product is
        u, values, vh = found
        product = torch.einsum("...ij,...j,...jk->...ik", u, values.to(u.dtype), vh)
        return f"right: {told}" if agree(product, _wide(args[0]), not bool(torch.isfinite(args[0]).all())) else "wrong: not H"
    reference = REFERENCES.get(op.name) or op.reference
    if reference is None or not all(map(_known, args)):
        return f"unjudged: {told}"
    try:
        want = reference(*(_wide(a) for a in args))
    except Exception:  # a reference checks nothing, and fails at what the operator may take
        return f"unjudged: {told}"
    bad = [not bool(torch.isfinite(a).all()) for a in args if isinstance(a, Tensor) and a.dtype != torch.uint64]
    for i, (f, w) in enumerate(zip(found, (want,) if isinstance(want, Tensor) else want, strict=False)):
        if w is None:
            continue
        if f.shape != w.shape:
            return f"wrong: output {i} has shape {tuple(f.shape)}, of the reference {tuple(w.shape)}"
        if not agree(f, w, any(bad)):
            return f"wrong: output {i} differs from the reference"
    return f"right: {told}"


def _known(value: Any) -> bool:
    """Whether a reference means the same by it: one key, and tables that fall, as `NoiseSchedule` sees to."""
    if not isinstance(value, Tensor):
        return True
    if value.dtype == torch.uint64:
        return torch.equal(value, KEY)
    if value.dtype == torch.float64 and value.dim() == 1 and len(value) > SMALL[0]:
        return bool((value.diff() < 0).all()) and bool((value > 0).all()) and bool((value < 1).all())
    return value.numel() > 0


def _wide(value: Any) -> Any:
    if not isinstance(value, Tensor) or not (value.is_floating_point() or value.is_complex()):
        return value
    return value.detach().resolve_neg().to(torch.complex128 if value.is_complex() else torch.float64)


def agree(found: Tensor, want: Tensor, loose: bool) -> bool:
    """Compare where the reference is finite, and within float32 too; elsewhere the result must not be a plain number.

    loose: of arguments that are not finite, a result may be not finite where the reference is: 0 times infinity is no number.
    """
    f, w = (t.resolve_conj().to(torch.complex128 if t.is_complex() else torch.float64) for t in (found, want))
    plain = w.isfinite() & (w.abs() < 1e36)
    if bool((f[~plain].isfinite() & (f[~plain].abs() < 1e34)).any()):
        return False
    if loose:
        plain &= f.isfinite()
    scale = {torch.float16: 64, torch.bfloat16: 512}.get(found.dtype, 1) * TOLERANCE
    size = w[plain].abs().max().item() if bool(plain.any()) else 0.0
    return bool(((f[plain] - w[plain]).abs() <= scale * max(size, 1e-30)).all())


def work(todo: list[int]) -> None:
    """Run cases by number; each is named before it runs, so that the one that ends the process is known."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    whole = cases()
    resource.setrlimit(resource.RLIMIT_AS, (ROOM + _address_space(), resource.RLIM_INFINITY))
    for number in todo:
        print(json.dumps([number]), flush=True)
        print(json.dumps([number, run(whole[number])]), flush=True)


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


# In the process that looks at them


def outcomes(todo: list[int], fill: str) -> dict[int, str]:
    """Run cases in as many processes as it takes: after a crash the rest goes on in another."""
    found: dict[int, str] = {}
    rest = list(todo)
    while rest:
        command = [sys.executable, "-m", "tests.python.hostile", "--work"]
        ran = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"MALLOC_PERTURB_": fill}, input=json.dumps(rest), capture_output=True, text=True
        )
        lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith("[")]
        found |= {line[0]: line[1] for line in lines if len(line) == 2}
        rest = [number for number in rest if number not in found]
        if ran.returncode == 0:
            break
        if not lines or len(lines[-1]) == 2:
            raise RuntimeError(f"no case was running: {ran.stderr[-2000:]}")
        number = lines[-1][0]
        found[number] = f"wrong: the process ended with {ran.returncode}: {ran.stderr[-300:]}"
        rest.remove(number)
    return found


def sample(share: float, seed: int) -> list[int]:
    """Numbers of a part of all cases."""
    count = len(cases())
    return sorted(random.Random(seed).sample(range(count), max(1, round(share * count))))


def findings(todo: list[int]) -> tuple[list[str], dict[str, int]]:
    """What is wrong, and how many cases ended how."""
    whole = cases()
    first, second = (outcomes(todo, fill) for fill in FILLS)
    wrong, counts = [], dict.fromkeys(("refused", "right", "unjudged", "wrong"), 0)
    for number in todo:
        one, other = first[number], second[number]
        counts[one.split(":")[0]] += 1
        if one.startswith("wrong"):
            wrong.append(f"{whole[number]}: {one}")
        elif one != other:
            wrong.append(f"{whole[number]}: memory that nobody wrote is read: {one} and {other}")
    return wrong, counts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.python.hostile")
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", action="store_true", help="run the cases whose numbers come as JSON on stdin")
    options = parser.parse_args()
    if options.work:
        work(json.load(sys.stdin))
        return 0
    wrong, counts = findings(sample(options.share, options.seed))
    print(*wrong, f"{sum(counts.values())} cases: " + ", ".join(f"{count} {name}" for name, count in counts.items()), sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

# SPDX-License-Identifier: Apache-2.0
"""A part of the cases of tests/python/hostile.py; `make fuzz` runs all of them."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from tests.python import hostile
from tests.python.op_table import OPS, SMALL

FRESH = "import torch; print(torch.empty(64, dtype=torch.uint8).tolist(), torch.empty(1 << 22, dtype=torch.uint8)[-64:].tolist())"


@pytest.mark.parametrize(("fill", "byte"), [("165", 0x5A), ("90", 0xA5)])
def test_fresh_memory_is_filled(fill: str, byte: int) -> None:
    """Else two equal results would mean nothing."""
    assert fill in hostile.FILLS
    ran = subprocess.run([sys.executable, "-c", FRESH], env=os.environ | {"MALLOC_PERTURB_": fill}, capture_output=True, text=True)
    assert ran.stdout.count(str(byte)) >= 120, ran.stdout + ran.stderr


@pytest.mark.slow
def test_a_sample_of_the_cases_is_right_or_refused() -> None:
    wrong, counts = hostile.findings(hostile.sample(0.04, 0))
    assert wrong == []
    assert counts["right"] > 50
    assert counts["refused"] > 50
    assert counts["unjudged"] < 0.1 * sum(counts.values())


def test_a_wrong_result_is_seen() -> None:
    """The judge itself: another number, another shape, and a plain number where the reference has none."""
    row = next(i for i, op in enumerate(OPS) if op.name == "reparameterize")
    op, args = OPS[row], OPS[row].make(SMALL, torch.float32)
    right = op.call(*args)
    assert hostile.judge(op, args, [right]).startswith("right")
    assert "differs" in hostile.judge(op, args, [right * 1.001])
    assert "shape" in hostile.judge(op, args, [right[:1]])
    hidden = (torch.full_like(args[0], float("nan")), *args[1:])
    assert "differs" in hostile.judge(op, hidden, [right])


def test_every_argument_of_every_operator_has_cases() -> None:
    kinds: dict[tuple[int, int], set[str]] = {}
    for case in hostile.cases():
        kinds.setdefault((case.row, case.position), set()).add(case.kind)
    for row, op in enumerate(OPS):
        for position, value in enumerate(hostile.arguments(row)):
            if isinstance(value, (torch.dtype, torch.device)):
                continue
            found = kinds.get((row, position), set())  # none of an absent one, which other rows have
            if isinstance(value, torch.Tensor) and value.dim() and value.dtype != torch.uint64:
                assert {"shape", "rank", "dtype", "meta", "stride", "size", "empty", "number", "requires_grad", "forward AD"} <= found, op
            assert found or value is None or isinstance(value, bool), (op, position)

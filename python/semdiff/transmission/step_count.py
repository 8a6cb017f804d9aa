# SPDX-License-Identifier: Apache-2.0
"""Choose the number of sampling steps: a given number, or "auto", a number that depends on the SNR of the received features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor

StepCount: TypeAlias = int | Literal["auto"]
StepTable: TypeAlias = Sequence[Sequence[float]]  # [SNR in dB, steps from there upwards]
DEFAULT_STEPS = 8  # of "auto" without a table: 200 steps give the same pictures to 0.03 dB (docs/results/link_steps.md)


def check_steps(steps: StepCount, most: int) -> None:
    """Check a number of steps.

    Args:
        steps: expected an integer in [1, most], or "auto".
        most: the most steps that the schedule has.

    Raises:
        TypeError, ValueError: for anything else.
    """
    if steps == "auto":
        return
    if isinstance(steps, bool) or not isinstance(steps, int):
        got = repr(steps) if isinstance(steps, str) else type(steps).__name__
        raise TypeError(f"steps: expected an integer in [1, {most}] or 'auto', got {got}")
    if not 1 <= steps <= most:
        raise ValueError(f"steps: expected an integer in [1, {most}], got {steps}")


def check_table(table: StepTable | None, most: int) -> None:
    """Check a table of steps by SNR.

    Args:
        table: None, or at least one pair of an SNR in dB and steps in [1, most], with rising SNRs.
        most: the most steps that the schedule has.

    Raises:
        ValueError: for anything else.
    """
    if table is None:
        return
    if not (
        len(table)
        and all(len(row) == 2 and row[1] == int(row[1]) and 1 <= row[1] <= most for row in table)
        and all(a[0] < b[0] for a, b in pairwise(table))
    ):
        raise ValueError(f"auto_steps: expected pairs of a rising SNR in dB and steps in [1, {most}], got {table}")


def resolve_steps(steps: StepCount, snr_db: Tensor, table: StepTable | None) -> Tensor:
    """Look up the number of steps of each sample.

    Args:
        steps: a number for all samples, or "auto".
        snr_db: SNR of the received features, (B,).
        table: steps by SNR for "auto"; below the first SNR its first row holds. None is 8 at every SNR.

    Returns:
        int64 (B,), on the CPU.
    """
    if steps != "auto":
        return torch.full(snr_db.shape, steps, device="cpu")
    if table is None:
        return torch.full(snr_db.shape, DEFAULT_STEPS, device="cpu")
    starts, counts = torch.tensor(table, dtype=torch.float64, device="cpu").T.contiguous()
    row = torch.searchsorted(starts, snr_db.cpu().double().round(decimals=3), right=True) - 1  # 5 dB, come back as 4.9999998, is 5 dB
    found: Tensor = counts[row.clamp_min(0)].long()
    return found


def sample_in_groups(draw: Callable[[int, Tensor], Tensor], counts: Tensor, together: bool) -> Tensor:
    """Draw samples in groups of equal step counts, and return them in the batch's order.

    Args:
        draw: draw(steps, rows) -> (len(rows), ...).
        counts: steps of each sample, int64 (B,), B >= 1.
        together: whether noise is drawn by place in the batch. Then every group draws the whole batch and keeps its own rows.

    Returns:
        The samples, (B, ...).
    """
    whole = torch.arange(len(counts), device=counts.device)
    found: Tensor | None = None
    for steps in counts.unique():
        own = (counts == steps).nonzero()[:, 0]
        part = draw(int(steps), whole if together else own)
        if found is None:
            found = torch.empty((len(counts), *part.shape[1:]), dtype=part.dtype, device=part.device)
        found[own] = part[own] if together else part
    assert found is not None
    return found

# SPDX-License-Identifier: Apache-2.0
"""How many steps the sampler takes: as many as it is told, or ("auto") as many as pay at the SNR at which a sample was heard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

import torch
from torch import Tensor

Steps: TypeAlias = int | Literal["auto"]
Table: TypeAlias = Sequence[Sequence[float]]  # [SNR in dB, steps from there upwards]
USUAL = 8


def check_steps(steps: Steps, most: int) -> None:
    """An integer in [1, most], or "auto". TypeError or ValueError otherwise."""
    if steps == "auto":
        return
    if isinstance(steps, bool) or not isinstance(steps, int):
        got = repr(steps) if isinstance(steps, str) else type(steps).__name__
        raise TypeError(f"steps: expected an integer in [1, {most}] or 'auto', got {got}")
    if not 1 <= steps <= most:
        raise ValueError(f"steps: expected an integer in [1, {most}], got {steps}")


def check_table(table: Table | None, most: int) -> None:
    """None, or at least one pair of an SNR and steps in [1, most], SNRs rising. ValueError otherwise."""
    if table is None:
        return
    if not (
        len(table)
        and all(len(row) == 2 and row[1] == int(row[1]) and 1 <= row[1] <= most for row in table)
        and all(a[0] < b[0] for a, b in pairwise(table))
    ):
        raise ValueError(f"auto_steps: expected pairs of a rising SNR in dB and steps in [1, {most}], got {table}")


def resolve_steps(steps: Steps, snr_db: Tensor, table: Table | None) -> Tensor:
    """The steps of each sample, int64 (B,), for the SNR (B,) at which it was heard. Below the table's first SNR its first row holds."""
    if steps != "auto":
        return torch.full(snr_db.shape, steps, device="cpu")
    if table is None:
        return torch.full(snr_db.shape, USUAL, device="cpu")
    starts, counts = torch.tensor(table, dtype=torch.float64, device="cpu").T.contiguous()
    row = torch.searchsorted(starts, snr_db.cpu().double().round(decimals=3), right=True) - 1  # 5 dB, come back as 4.9999998, is 5 dB
    found: Tensor = counts[row.clamp_min(0)].long()
    return found


def sample_in_groups(draw: Callable[[int, Tensor], Tensor], counts: Tensor, together: bool) -> Tensor:
    """draw(steps, rows) -> (len(rows), ...) for the samples of each number of steps, in the batch's order. B >= 1.

    together: noise is drawn by the place in the batch, so all samples run along each time, and some in vain.
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

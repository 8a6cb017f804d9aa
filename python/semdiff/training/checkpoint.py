# SPDX-License-Identifier: Apache-2.0
"""Convert an optimiser's state to named tensors, optimizer.<parameter number>.<name>, which a checkpoint holds beside the weights."""

from __future__ import annotations

import torch
from torch import Tensor


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as named tensors. Its settings are the recipe's, and are not stored."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer.{i}.{name}": torch.as_tensor(value) for i, entry in state.items() for name, value in entry.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Invert `optimizer_tensors`.

    Args:
        optimizer: takes the state.
        tensors: by name; others than the optimiser's are ignored.
    """
    whole = optimizer.state_dict()
    whole["state"] = {}
    for name, value in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimizer":
            i, _, entry = rest.partition(".")
            whole["state"].setdefault(int(i), {})[entry] = value
    optimizer.load_state_dict(whole)

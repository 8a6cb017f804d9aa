# SPDX-License-Identifier: Apache-2.0
"""Resume a training: what a checkpoint holds, and to what it belongs.

Beside the weights and their averages it has the optimiser's state as named tensors, optimizer.<parameter number>.<name>.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from semdiff._util.parameters import check_tensors
from semdiff._util.tensor_files import load_tensors

if TYPE_CHECKING:
    from accelerate import Accelerator

    from semdiff.rng import Key
    from semdiff.training.batches import Batches
    from semdiff.training.engine import Plan, Stage


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
    for parameter, entries in optimizer.state.items():  # in the parameter's memory format, which a fused optimiser takes for granted
        for entry, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                entries[entry] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def training_identity(stage: Stage, batches: Batches, plan: Plan, name: str, key: Key, accelerator: Accelerator) -> str:
    """Compute a digest of what must be equal for a checkpoint to be continued.

    Args:
        stage, batches, plan, name, key, accelerator: of the training, see `fit`.
    """
    settings = dataclasses.asdict(plan)
    if plan.optimizer == "adam":  # which checkpoints of 0.1.0 do not say
        del settings["optimizer"]
    content: dict[str, Any] = {
        "name": name,
        "plan": settings,
        "key": key.tensor.tolist(),
        "processes": accelerator.num_processes,
        "data": batches.identity(),
        "weights": {n: list(t.shape) for n, t in stage.weights().items()},
    }
    if accelerator.mixed_precision != "no":
        content["precision"] = accelerator.mixed_precision
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def resume_training(
    file: Path, identity: str, stage: Stage, optimizer: torch.optim.Optimizer, average: dict[str, Tensor]
) -> tuple[int, dict[str, Tensor]]:
    """Load a checkpoint into the stage, its optimiser and the averaged weights.

    Args:
        file: the checkpoint.
        identity: from `training_identity`.
        stage, optimizer, average: take what it holds.

    Returns:
        The step, and the running means of what is shown.

    Raises:
        ValueError: naming the file, for a checkpoint of something else, or a damaged one.
    """
    tensors, meta = load_tensors(file)
    if meta.get("identity") != identity:
        expected = "a checkpoint of this plan, seed, data and precision"
        raise ValueError(f"{file}: expected {expected}, got one of others; remove it or pass resume=False")
    for kind in ("model.", "average."):
        given = {n.removeprefix(kind): t for n, t in tensors.items() if n.startswith(kind)}
        check_tensors(str(file), given, average)
        if kind == "model.":
            stage.load_state_dict(given, strict=False)  # what is frozen is not stored
        else:
            for name, value in average.items():
                value.copy_(given[name])
    restore_optimizer(optimizer, tensors)
    return int(meta["step"]), {n: torch.tensor(v, dtype=torch.float64) for n, v in meta["shown"].items()}

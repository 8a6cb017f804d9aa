# SPDX-License-Identifier: Apache-2.0
"""Choose the numbers in which a training computes: float32, or mixed with bfloat16.

bfloat16 takes half the time where the processor multiplies it. Weights, optimiser, averages, what stands between the networks and the
losses stay float32; convolutions and matrices are bfloat16.
"""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState

from semdiff._util.precision import Precision, check_precision, computes_bf16

VARIABLE = "ACCELERATE_MIXED_PRECISION"  # which `accelerate launch --mixed_precision` sets too


def prepare_accelerator(precision: Precision | None = None, cpu: bool = False) -> Accelerator:
    """Prepare the processes, the device and the precision of a training.

    Args:
        precision: None is what the environment tells accelerate, float32 where it tells nothing. "auto" is that too, but bf16 where it
            tells nothing and the device computes with it.
        cpu: use the CPU even where there is a GPU.

    Raises:
        ValueError: for another precision.
    """
    if precision is not None:
        check_precision(precision)
    cpu = cpu or not torch.cuda.is_available()
    preset = os.environ.get(VARIABLE, "").lower()
    if precision in (None, "auto"):
        mixed = preset or ("bf16" if precision and computes_bf16(cpu) else "no")
    else:
        mixed = "bf16" if precision == "bf16" else "no"
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != mixed:
        AcceleratorState._reset_state()  # accelerate would refuse a second precision in one process, or silently go on with the first
    return Accelerator(cpu=cpu, mixed_precision=mixed)

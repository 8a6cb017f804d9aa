# SPDX-License-Identifier: Apache-2.0
"""In which numbers networks compute, and what this machine can."""

from __future__ import annotations

from typing import Literal, get_args

import torch

Precision = Literal["auto", "bf16", "fp32"]


def check_precision(precision: str) -> None:
    """ValueError unless it is a `Precision`."""
    if precision not in get_args(Precision):
        raise ValueError(f"precision: expected {', '.join(get_args(Precision))}, got {precision!r}")


def computes_bf16(cpu: bool) -> bool:
    """Whether the processor itself multiplies bfloat16; others could only imitate it, which is slower than float32."""
    if not cpu:
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))

# SPDX-License-Identifier: Apache-2.0
"""Store weights in eight bits: a matrix or a convolution as integers with one scale for each output channel, all else in float16.

w = scale * q, q in [-127, 127], scale = max |w| / 127 over the output channel, so no weight moves by more than half a scale. The files are
half as large as in float16; networks compute in float32 as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

SCALE = ".int8_scale"
FILE = "diffusion_pytorch_model.safetensors"  # diffusers' name for a network's weights


def quantize(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn a state dict into what is stored.

    Args:
        tensors: by name; those of two or more dimensions have their output channels first.

    Returns:
        For each of those an int8 tensor of its shape, and beside it NAME.int8_scale, float32 (channels,); the rest as float16.
    """
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point() or tensor.dim() < 2:
            found[name] = tensor.half() if tensor.is_floating_point() else tensor
            continue
        rows = tensor.detach().float().flatten(1)
        scale = rows.abs().amax(1).clamp_min(1e-30) / 127
        found[name] = (rows / scale[:, None]).round().to(torch.int8).reshape(tensor.shape)
        found[name + SCALE] = scale
    return found


def dequantize(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn what is stored into a state dict of float32; integers that have no scale stay.

    Args:
        tensors: by name, as `quantize` returns them.

    Raises:
        ValueError: naming the tensor, for a scale without its integers, or of a shape that does not fit them.
    """
    found = {}
    for name, tensor in tensors.items():
        if name.endswith(SCALE):
            of = tensors.get(name.removesuffix(SCALE))
            fits = of is not None and of.dtype == torch.int8 and of.dim() >= 2 and tensor.shape == of.shape[:1]
            if not (fits and tensor.dtype == torch.float32 and bool((tensor > 0).all())):
                raise ValueError(f"{name}: expected one float32 number above zero for each output channel of int8 weights of that name")
            continue
        scale = tensors.get(name + SCALE)
        if scale is None:
            if tensor.dtype == torch.int8:
                raise ValueError(f"{name}: expected its scale, {name}{SCALE}, beside int8 weights")
            found[name] = tensor.float() if tensor.is_floating_point() else tensor
        else:
            found[name] = tensor.float() * scale.float().reshape(-1, *[1] * (tensor.dim() - 1))
    return found


def is_quantized(file: Path) -> bool:
    """Check whether a safetensors file holds weights in eight bits, or scales of such."""
    with safe_open(file, framework="pt") as tensors:
        names = list(tensors.keys())  # a safetensors file is no mapping
        return any(name.endswith(SCALE) or tensors.get_slice(name).get_dtype() == "I8" for name in names)

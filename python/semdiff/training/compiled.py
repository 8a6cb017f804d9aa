# SPDX-License-Identifier: Apache-2.0
"""Compile the blocks that a training spends its time in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from semdiff.models.blocks import FiLMBlock
from semdiff.models.jscc_layers import JSCCLayer
from semdiff.models.pixels import SelfAttention
from semdiff.models.restorer import PlainBlock

BLOCKS = (FiLMBlock, JSCCLayer, PlainBlock, SelfAttention)


@contextmanager
def compiled_blocks(stage: nn.Module) -> Iterator[None]:
    """Compile the trained blocks of a stage, each by itself, for as long as the context lasts.

    The first steps take a minute or two. Where no gradient is taken a block runs uncompiled: inductor of torch 2.13 makes NaN of a JSCC
    layer in bfloat16 there.

    Args:
        stage: has blocks somewhere inside.
    """
    import torch._dynamo  # which takes as long to import as torch itself

    blocks = [m for m in stage.modules() if isinstance(m, BLOCKS) and any(p.requires_grad for p in m.parameters())]
    # The blocks of one class share their code, of which no more than this many compiled forms are kept.
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False, recompile_limit=max(64, 4 * len(blocks))):
        for block in blocks:
            block.forward = _where_learned(block.forward)  # type: ignore[method-assign]
        try:
            yield
        finally:
            for block in blocks:
                del block.forward


def _where_learned(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    compiled = torch.compile(forward, dynamic=False)
    return lambda *args: (compiled if torch.is_grad_enabled() else forward)(*args)

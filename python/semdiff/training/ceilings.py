# SPDX-License-Identifier: Apache-2.0
"""Find how large a trained decoder's features get; the link cuts larger ones off, see `semdiff.models.networks`."""

from __future__ import annotations

import torch
from torch import Tensor

from semdiff.models.networks import UNBOUNDED, DetailDecoder, MeanDecoder
from semdiff.rng import Key
from semdiff.training.batches import Batches
from semdiff.training.engine import Stage

BATCHES = 16  # chosen by hand
QUANTILE = 0.9  # chosen by hand
QUANTILE = 0.9  # chosen by hand
CEILING_STEPS = 0.4 * BATCHES  # of a training, which take as long


@torch.no_grad()
def find_ceiling(decoder: MeanDecoder | DetailDecoder, stage: Stage, batches: Batches, key: Key, least: Tensor | None = None) -> None:
    """Set the ceiling of each feature to its largest value in a batch of the training.

    It is the quantile 0.9 over some batches, because a training has outliers too.

    Args:
        decoder: the decoder.
        stage, batches: of its training.
        key: of the random numbers.
        least: values below which no ceiling is set, found by another training on other pictures.
    """
    decoder.ceiling.fill_(UNBOUNDED)
    reached: list[Tensor] = []
    handle = decoder.conv_out.register_forward_pre_hook(lambda _, inputs: reached.append(inputs[0].float().amax((0, 2, 3))))
    try:
        for i in range(BATCHES):
            stage(key.fold_in(i), *batches.batch(i))
    finally:
        handle.remove()
    found = torch.stack(reached).quantile(QUANTILE, dim=0)
    decoder.ceiling.copy_(found if least is None else torch.maximum(found, least.to(found)))

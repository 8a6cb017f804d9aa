# SPDX-License-Identifier: Apache-2.0
"""Sionna's physical layer (sionna-no-rt 2.x, on torch), imported and seeded without a trace in torch's global generator."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from semdiff.rng import Key


def sionna_phy() -> Any:
    """Return the module sionna.phy. ImportError that names the extra where it is not installed.

    Its import seeds torch's global generator from the clock; that is undone, so torch.manual_seed keeps its meaning.
    """
    try:
        with torch.random.fork_rng(devices=[]):
            return importlib.import_module("sionna.phy")
    except ModuleNotFoundError as error:
        raise ImportError("this needs sionna-no-rt: pip install 'semdiff-torch[eval]'") from error


@contextmanager
def keyed(key: Key) -> Iterator[None]:
    """Seed Sionna's CPU generator by `key` inside the block, and leave it as it was."""
    generator = sionna_phy().config.torch_rng("cpu")
    state = generator.get_state()
    # The offset is a key's second half; folding it into the seed keeps the children of one key apart.
    seed, offset = key.tensor.tolist()
    generator.manual_seed((seed ^ (offset * 0x9E3779B97F4A7C15)) % 2**63)
    try:
        yield
    finally:
        generator.set_state(state)

# SPDX-License-Identifier: Apache-2.0
"""Set what holds for all tests: their order, their random numbers, and that none asks the Hugging Face Hub."""

from __future__ import annotations

import os

import pytest
import torch

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported; test_hub.py has a server of its own


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that hold slow tests: of several processes none is left with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def same_random_inputs() -> None:
    """Seed torch's global generator: a test's random inputs are the same in every run, alone or beside others."""
    torch.manual_seed(0)

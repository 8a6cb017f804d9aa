# SPDX-License-Identifier: Apache-2.0
"""Networks and data of others that some tests need."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import pytest

T = TypeVar("T")


def installed(load: Callable[[], T]) -> T:
    """What `load()` returns. Skips where a file is not installed, with the message that says how to get it; CI installs them all."""
    try:
        return load()
    except FileNotFoundError as error:
        pytest.skip(str(error))


def require_lpips() -> None:
    """Skips where LPIPS's AlexNet or VGG is not installed."""
    from semdiff.metrics import LPIPS

    for net in ("alex", "vgg"):
        installed(lambda net=net: LPIPS(net))

# SPDX-License-Identifier: Apache-2.0
"""Networks of others that some tests need."""

import pytest


def require_lpips() -> None:
    """Skips where LPIPS's AlexNet is not installed, and says how to get it."""
    from semdiff.metrics import LPIPS

    try:
        LPIPS("alex")
    except FileNotFoundError as error:
        pytest.skip(str(error))

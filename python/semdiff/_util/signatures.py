# SPDX-License-Identifier: Apache-2.0
"""Check that a user's function can be called as it will be, before the work, in words that show what was expected."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


def check_call(function: Callable[..., Any], where: str, positional: str, keywords: str = "") -> None:
    """Check that a function takes arguments.

    Args:
        function: as it is called, without self.
        where: what it is, for the message: Pixels.exchange.
        positional: names of the arguments that are given in order, "images, air".
        keywords: those that are given by name, "cbr, steps".

    Raises:
        TypeError: where it does not take them.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some built-in functions have none
        return
    named = keywords.split(", ") if keywords else []
    try:
        signature.bind(*positional.split(", "), **dict.fromkeys(named))
    except TypeError as error:
        wanted = f"({positional}, *, {keywords})" if keywords else f"({positional})"
        raise TypeError(f"{where}: expected a call {wanted} to work, got {where}{signature} ({error})") from None

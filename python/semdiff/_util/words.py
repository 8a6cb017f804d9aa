# SPDX-License-Identifier: Apache-2.0
"""Numbers in texts for people."""

from __future__ import annotations


def counted(count: int, noun: str) -> str:
    """Return a count with its noun: 1 evaluation, 2 evaluations."""
    return f"{count} {noun}{'' if count == 1 else 's'}"

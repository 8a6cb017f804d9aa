# SPDX-License-Identifier: Apache-2.0
"""Print what several commands print."""

from __future__ import annotations

import json
import math
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from semdiff.transmission.ledger import Ledger


def print_note(text: str) -> None:
    """Print text as one line on stderr, above a progress bar where there is one."""
    line = f"semdiff: {' '.join(text.split())}"
    try:
        from tqdm import tqdm
    except ImportError:  # no bar then
        print(line, file=sys.stderr)
    else:
        tqdm.write(line, file=sys.stderr)


def screen() -> Console:
    """Return the console for tables and lines for people. Names of files and of data are shown as they are: no markup, no emoji."""
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def print_json(document: Any) -> None:
    """Print a document as JSON on stdout. Numbers that JSON does not have (NaN, infinity) become null."""
    print(json.dumps(_finite(document), indent=2, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return value


def channel_uses(ledger: Ledger) -> dict[str, int]:
    """Return the channel uses of a ledger for a document: every kind, and their sum."""
    kinds = ("payload", "side_information", "pilots", "preamble", "cyclic_prefix", "total")
    return {name: getattr(ledger, name) for name in kinds}


def uses_line(ledger: Ledger) -> str:
    """Write a ledger for people: 64 payload + 8 pilots = 72 (CBR 1/10.9)."""
    kinds = {"payload": "payload", "pilots": "pilots", "preamble": "preamble", "side_information": "side", "cyclic_prefix": "prefix"}
    parts = " + ".join(f"{uses} {word}" for name, word in kinds.items() if (uses := getattr(ledger, name)))
    return f"{parts} = {ledger.total} (CBR {format_ratio(ledger.cbr)})"


def format_ratio(cbr: float) -> str:
    """Write a bandwidth ratio cbr as people do: 1/12.2."""
    return f"1/{1 / cbr:.3g}"


def format_time(t: float | None) -> str:
    """Write the time t of the diffusion at which denoising began, or - where there was none."""
    return "-" if t is None or math.isnan(t) else f"{t:.0f}"

# SPDX-License-Identifier: Apache-2.0
"""A bounded memory of byte strings that take long to make."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

ENTRY = 256  # bytes that an entry takes besides its content, about


class Remembered:
    """What was made for each key. Beyond `most` bytes those that were asked for longest ago are forgotten."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self._found: OrderedDict[Hashable, bytes | None] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], bytes | None]) -> bytes | None:
        """The content of the key, made if it is not remembered. Two threads may both make it."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                return self._found[key]
        content = make()
        with self._lock:
            if key not in self._found:
                self._found[key] = content
                self.bytes += _size(content)
            while self.bytes > self.most:
                self.bytes -= _size(self._found.popitem(last=False)[1])
        return content


def _size(content: bytes | None) -> int:
    return ENTRY + len(content or b"")

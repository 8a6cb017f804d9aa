# SPDX-License-Identifier: Apache-2.0
"""Keep byte strings that take long to make, within a bound on memory."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock

ENTRY = 256  # bytes that an entry takes besides its content, about


class ByteCache:
    """Keep the content made for each key, and drop the least recently used beyond a bound.

    Args:
        most: bytes to keep.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.bytes = 0
        self._found: OrderedDict[Hashable, bytes | None] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], bytes | None]) -> bytes | None:
        """Return the content of a key, made at the first call. Two threads may both make it.

        Args:
            key: what the content depends on.
            make: makes the content.
        """
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

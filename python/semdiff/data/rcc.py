# SPDX-License-Identifier: Apache-2.0
"""Read Qt's resource files (.rcc): a tree of named files in one.

https://doc.qt.io/qt-6/resources.html; the layout is that of its rcc tool.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_DIRECTORY, _COMPRESSED = 2, 5  # flags; compressed: zlib (1) or zstd (4)
_LETTERS = 64  # of all paths together, for each byte of the file


def read_rcc(path: Path) -> dict[str, memoryview]:
    """Read the files that are stored as they are; compressed ones (texts, mostly) are left out.

    Args:
        path: of the resource file.

    Returns:
        Contents by path inside.

    Raises:
        ValueError: naming the file, where it is not such a file or is cut off.
    """
    content = memoryview(path.read_bytes())
    if bytes(content[:4]) != b"qres":
        raise ValueError(f"{path}: expected a Qt resource file, which begins with qres, got {bytes(content[:4])!r}")
    try:
        version, tree, data, names = struct.unpack_from(">4I", content, 4)
        if version not in (1, 2, 3):
            raise ValueError(f"{path}: expected version 1, 2 or 3 of Qt's resource files, got {version}")
        return dict(_walk(content, tree, data, names, 14 if version == 1 else 22))
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: expected a Qt resource file, but it is cut off or damaged ({error})") from None


def _walk(content: memoryview, tree: int, data: int, names: int, size: int) -> Iterator[tuple[str, memoryview]]:
    """The files, depth first. struct.error where a node has two parents, or names are repeated beyond what the file holds: a small file
    would have an endless number of paths then."""
    waiting, seen, letters = [(0, "")], {0}, 0
    while waiting:
        node, folder = waiting.pop()
        at = tree + node * size
        name_at, flags = struct.unpack_from(">IH", content, at)
        name = folder
        if node:  # the root's name is empty
            (length,) = struct.unpack_from(">H", content, names + name_at)
            begin = names + name_at + 6  # after the length and a hash
            name += bytes(content[begin : begin + 2 * length]).decode("utf-16-be")
            letters += len(name)
            if letters > _LETTERS * len(content):
                raise struct.error(f"its paths are longer than {_LETTERS} times the file")
        if flags & _DIRECTORY:
            count, first = struct.unpack_from(">II", content, at + 6)
            if first + count > (len(content) - tree) // size:
                raise struct.error(f"{name or 'the root'} ends with node {first + count - 1}, which is not there")
            children = range(first, first + count)
            if not seen.isdisjoint(children):
                raise struct.error(f"{name or 'the root'} has what another folder has")
            seen.update(children)
            waiting += [(child, f"{name}/" if name else "") for child in reversed(children)]
        elif not flags & _COMPRESSED:
            (begin,) = struct.unpack_from(">I", content, at + 10)
            (length,) = struct.unpack_from(">I", content, data + begin)
            found = content[data + begin + 4 : data + begin + 4 + length]
            if len(found) != length:
                raise struct.error(f"{name} of {length} bytes ends after {len(found)}")
            yield name, found

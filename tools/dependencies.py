# SPDX-License-Identifier: Apache-2.0
"""Prints the requirements of an extra of pyproject.toml, its own extras unfolded, so that they can be installed without the package."""

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text())["project"]


def unfold(extra: str) -> list[str]:
    found: list[str] = []
    for requirement in project["optional-dependencies"][extra]:
        own = re.fullmatch(re.escape(project["name"]) + r"\[(.+)\]", requirement)
        found += [r for name in own[1].split(",") for r in unfold(name)] if own else [requirement]
    return found


print("\n".join(unfold(sys.argv[1])))

# SPDX-License-Identifier: Apache-2.0
"""Print the files that pip chose, each with its hash, for tools/hashes: python tools/hashes.py [NAME...] < REPORT

REPORT is of `pip install --dry-run --ignore-installed --report REPORT -c constraints.txt ...` with the Python that the hashes are for. With
names, only packages of these are printed. torch is left out: its file differs by package index.
"""

import json
import re
import sys

names = {re.sub(r"[-_.]+", "-", name).lower() for name in sys.argv[1:]}
lines = []
for item in json.load(sys.stdin)["install"]:
    name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
    if name != "torch" and (not names or name in names):
        lines.append(f"{name}=={item['metadata']['version']} --hash=sha256:{item['download_info']['archive_info']['hashes']['sha256']}")
print("\n".join(sorted(lines)))

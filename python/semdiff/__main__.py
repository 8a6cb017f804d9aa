# SPDX-License-Identifier: Apache-2.0
"""`python -m semdiff` is the command `semdiff`."""

from semdiff.cli import main

main()

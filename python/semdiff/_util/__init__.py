# SPDX-License-Identifier: Apache-2.0
"""Serve every part of the package, and use none of them: checks of arguments, files, complex numbers, number formats."""

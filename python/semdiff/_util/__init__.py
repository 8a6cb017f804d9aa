# SPDX-License-Identifier: Apache-2.0
"""What every part of the package uses; it uses none of them: checks of arguments, files, complex numbers, number formats."""

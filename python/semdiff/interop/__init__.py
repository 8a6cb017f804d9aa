# SPDX-License-Identifier: Apache-2.0
"""Other libraries behind semdiff's own interfaces: their shapes and power conventions are converted here and nowhere else."""

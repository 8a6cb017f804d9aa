# SPDX-License-Identifier: Apache-2.0
"""Trainings from the first step to a model's folder, one file each: `python -m semdiff.training.recipes.NAME --help`."""

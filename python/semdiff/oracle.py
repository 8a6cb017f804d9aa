# SPDX-License-Identifier: Apache-2.0
"""Priors whose posteriors are known exactly, to hold samplers and links against: see `semdiff.diffusion.mixture`."""

from semdiff.diffusion.mixture import MMSE, GaussianMixture

__all__ = ["MMSE", "GaussianMixture"]

# SPDX-License-Identifier: Apache-2.0
"""Symbols as samples of a radio: frames with a preamble and pilots, and a receiver that finds and straightens them."""

from semdiff.air.frame import FrameSpec, modulate
from semdiff.air.impairments import impair
from semdiff.air.resampling import resample
from semdiff.air.synchronizer import Synchronization, synchronize

__all__ = ["FrameSpec", "Synchronization", "impair", "modulate", "resample", "synchronize"]

# SPDX-License-Identifier: Apache-2.0
"""Symbols as samples of a radio: frames with a preamble and pilots, and a receiver that finds and straightens them."""

from semdiff.phy.sync.frame import FrameSpec, modulate
from semdiff.phy.sync.radio_path import impair
from semdiff.phy.sync.resampling import resample
from semdiff.phy.sync.synchronizer import Synchronization, synchronize

__all__ = ["FrameSpec", "Synchronization", "impair", "modulate", "resample", "synchronize"]

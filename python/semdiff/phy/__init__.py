# SPDX-License-Identifier: Apache-2.0
"""The radio: channels, equalisers, channel state information, hardware, synchronisation. It knows no networks and no diffusion."""

# SPDX-License-Identifier: Apache-2.0
"""What every system that sends images shares: what it costs on the air, how symbols are laid out, and the checks of its arguments."""

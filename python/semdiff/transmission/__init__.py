# SPDX-License-Identifier: Apache-2.0
"""Send images as symbols over a channel: the common interface, the layout and cost of symbols, and checks of arguments."""

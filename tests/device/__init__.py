# SPDX-License-Identifier: Apache-2.0
"""What is checked on a machine with a GPU."""

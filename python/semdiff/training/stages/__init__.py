# SPDX-License-Identifier: Apache-2.0
"""What one stage of a training teaches, one file each."""

# SPDX-License-Identifier: Apache-2.0
"""Train links and baselines: the loop, the stages, and the recipes that put stages in order."""

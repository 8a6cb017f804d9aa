# SPDX-License-Identifier: Apache-2.0
"""Define the networks of links and baselines, and load and store their files."""

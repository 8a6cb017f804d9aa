# SPDX-License-Identifier: Apache-2.0
"""Define the stages of trainings: losses and what they train."""

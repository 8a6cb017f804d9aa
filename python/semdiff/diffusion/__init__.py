# SPDX-License-Identifier: Apache-2.0
"""Diffusion: the schedule, matching a received signal to a time, samplers, exact priors, the Gaussian up-sampler and its loss."""

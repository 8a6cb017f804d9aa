# SPDX-License-Identifier: Apache-2.0
"""Put stages in order and give them data: one recipe for each kind of model."""

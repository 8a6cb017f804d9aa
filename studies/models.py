# SPDX-License-Identifier: Apache-2.0
"""The links that the studies look at."""

from __future__ import annotations

from pathlib import Path

# A diffusion model on latents for Fashion-MNIST, the paper's own form, as semdiff 0.1.0 shipped it.
LATENT_LINK = Path(__file__).parents[1] / "tests" / "fixtures" / "semdiff-0.1.0" / "fashion-mnist"

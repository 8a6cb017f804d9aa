# SPDX-License-Identifier: Apache-2.0
"""Train the network that restores pictures behind a hybrid code."""

from __future__ import annotations

import torch
from torch import Tensor

from semdiff.models.restorer import Restorer
from semdiff.rng import Key
from semdiff.training.engine import Stage

VARIANCE_WEIGHT = 0.02  # of the Gaussian's negative logarithm, which teaches the variance, beside the relative squared error


class RestorerStage(Stage):
    """Train by the squared error in parts of the linear estimate's, crop by crop, and the variance by the Gaussian's likelihood.

    Pictures whose error is small thereby count as much as others: the loss falls by as many decibels.

    Args:
        restorer: what is trained.
    """

    def __init__(self, restorer: Restorer) -> None:
        super().__init__()
        self.restorer = restorer

    def forward(self, key: Key, images: Tensor, base: Tensor, picture: Tensor, error_maps: Tensor) -> dict[str, Tensor]:
        """Compute the losses of received crops, as `semdiff.training.hybrid_crops.HybridCrops` draws them.

        Args:
            key: unused.
            images: what was sent, (B, 3, H, W) in [0, 1].
            base, picture, error_maps: as in `Restorer.forward`.
        """
        mean, logvar = self.restorer(base, picture, error_maps)
        mean, logvar = mean.float(), logvar.float()
        error = (mean - images).square()
        relative = error.flatten(1).mean(1) / (picture - images).square().flatten(1).mean(1).clamp_min(1e-6)
        likelihood = 0.5 * (logvar + error.detach() / logvar.exp()).mean()
        with torch.no_grad():
            gain_db, calibration = -10 * relative.log10().mean(), (error.mean() / logvar.exp().mean())
        return {"loss": relative.mean() + VARIANCE_WEIGHT * likelihood, "gain_db": gain_db, "calibration": calibration}

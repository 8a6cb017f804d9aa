# SPDX-License-Identifier: Apache-2.0
"""Train the networks behind a hybrid code: of the mean, of the perceptual estimate, and the denoiser of samples."""

from __future__ import annotations

import torch
from torch import Tensor

from semdiff.metrics import lpips
from semdiff.models.restorer import PictureDenoiser, Restored, Restorer
from semdiff.rng import Key, normal, uniform
from semdiff.training.engine import Stage
from semdiff.training.stages.pixels import shifted

VARIANCE_WEIGHT = 0.02  # of the Gaussian's negative logarithm, which teaches the variance, beside the relative squared error
LPIPS_WEIGHT = 4.0  # beside a relative squared error around 1, where LPIPS is around 0.3
LEAST_ERROR = 1e-6  # of pixels in [0, 1], what a squared error is divided by at the least
SHORTEST = 0.03  # share of the noise's deviation that is left at the end of the path, in training


class RestorerStage(Stage):
    """Train by the squared error in parts of the linear estimate's, crop by crop, and the variance by the Gaussian's likelihood.

    Pictures whose error is small thereby count as much as others: the loss falls by as many decibels.

    Args:
        restorer: what is trained.
        lpips_weight: of LPIPS (AlexNet) beside the relative squared error; 0 leaves it out.
    """

    def __init__(self, restorer: Restorer, lpips_weight: float = 0.0) -> None:
        super().__init__()
        self.restorer, self.lpips_weight = restorer, lpips_weight

    def forward(self, key: Key, images: Tensor, base: Tensor, picture: Tensor, error_maps: Tensor) -> dict[str, Tensor]:
        """Compute the losses of received crops, as `semdiff.training.hybrid_crops.HybridCrops` draws them.

        Args:
            key: of the shifts of LPIPS.
            images: what was sent, (B, 3, H, W) in [0, 1].
            base, picture, error_maps: as in `Restorer.forward`.
        """
        mean, logvar = (v.float() for v in self.restorer(base, picture, error_maps))
        error = (mean - images).square()
        relative = error.flatten(1).mean(1) / (picture - images).square().flatten(1).mean(1).clamp_min(LEAST_ERROR)
        likelihood = 0.5 * (logvar + error.detach() / logvar.exp()).mean()
        with torch.no_grad():
            shown = {"gain_db": -10 * relative.log10().mean(), "calibration": error.mean() / logvar.exp().mean()}
        loss = relative.mean() + VARIANCE_WEIGHT * likelihood
        if self.lpips_weight:
            seen = lpips(*shifted(mean.clamp(0, 1), images, key)).mean()
            loss, shown["lpips"] = loss + self.lpips_weight * seen, seen
        return {"loss": loss} | shown


class PictureFlowStage(Stage):
    """Train the denoiser along the straight path from the perceptual estimate with fresh noise to the picture.

    Args:
        perceptual: makes the estimate, not trained.
        denoiser: what is trained.
        renoise: of the path's beginning.
        lpips_weight: of LPIPS of the picture as predicted in the first two thirds of the path; 0 leaves it out.
    """

    frozen = ("perceptual",)

    def __init__(self, perceptual: Restorer, denoiser: PictureDenoiser, renoise: float = 0.25, lpips_weight: float = 0.0) -> None:
        super().__init__()
        self.perceptual, self.denoiser, self.renoise, self.lpips_weight = perceptual, denoiser, renoise, lpips_weight

    def forward(self, key: Key, images: Tensor, base: Tensor, picture: Tensor, error_maps: Tensor) -> dict[str, Tensor]:
        """Compute the losses of received crops. Arguments key, images, base, picture, error_maps: as in `RestorerStage.forward`."""
        noise_key, place_key, first_key, shift_key = key.split(4)
        with torch.no_grad():
            estimate = Restored(*(v.float() for v in self.perceptual(base, picture, error_maps)))
        variance = estimate.logvar.exp()
        start = estimate.mean.clamp(0, 1) + (self.renoise * variance).sqrt() * normal(variance.shape, noise_key)
        left = uniform(len(images), place_key).clamp_min(SHORTEST)
        left = torch.where(uniform(len(images), first_key) < 1 / 7, torch.ones_like(left), left)
        share = left[:, None, None, None]
        total = (1 + self.renoise) * variance
        noisy = images + share * (start - images)
        found = self.denoiser(noisy, total.log() + 2 * share.log()).float()
        # The noise in units of its deviation is the same along the path; its error counts as that of the picture.
        weight = total / total.flatten(1).mean(1)[:, None, None, None]
        flow = (weight * (found - (start - images) / total.sqrt()).square()).mean()
        if not self.lpips_weight:
            return {"loss": flow}
        early = (left > 1 / 3).nonzero()[:, 0]
        predicted = (noisy - share * total.sqrt() * found)[early].clamp(0, 1)
        seen = lpips(*shifted(predicted, images[early], shift_key)).mean() if len(early) else flow.new_zeros(())
        return {"loss": flow + self.lpips_weight * seen, "flow": flow, "lpips": seen}

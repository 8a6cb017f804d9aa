# SPDX-License-Identifier: Apache-2.0
"""Train the denoiser's network as a regressor: the receiver that a sampler of the same size and depth must beat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff.diffusion.schedule import NoiseSchedule, alpha_bar_of
from semdiff.link.pixel_starting_state import PixelReception, perceptual_state
from semdiff.metrics import lpips
from semdiff.models.pixels import PixelDenoiser
from semdiff.rng import Key
from semdiff.training.engine import Stage
from semdiff.training.stages.diffusion import denoised
from semdiff.training.stages.jscc import LPIPS_WEIGHT
from semdiff.training.stages.pixels import LPIPS_EVERY, Front, shifted


class RegressionStage(Stage):
    """Teach the denoiser's network what it makes of the perceptual estimate in `steps` evaluations, without noise.

    forward(key, images (B, C, H, W) in [0, 1]). The evaluations follow each other as those of a sampler do, DDIM's with steps that are
    equal in the noise's deviation, and the loss looks at the last one's image: squared error of normalised pixels, and LPIPS (AlexNet) of
    shifted images where `perceptual`.

    Args:
        front: everything before the denoiser, which stays as it is.
        denoiser: the network.
        schedule: of the denoiser.
        steps: evaluations, unrolled.
        perceptual: whether LPIPS is in the loss, with the weight that it has for ADJSCC.
    """

    frozen = ("front",)

    def __init__(self, front: Front, denoiser: PixelDenoiser, schedule: NoiseSchedule, steps: int = 1, perceptual: bool = False) -> None:
        super().__init__()
        self.front, self.denoiser, self.scale, self.schedule = front, denoiser, front.scale, schedule
        self.steps, self.perceptual = steps, perceptual

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the losses of images (B, C, H, W) in [0, 1]; key draws all random numbers."""
        channel_key, unused_key, shift_key = key.split(3)
        with torch.no_grad():
            reception = self.front(images, channel_key)
            start, t = perceptual_state(reception, self.scale, self.schedule, 0.0, unused_key)  # without fresh noise
        x = self.scale.normalize(images)
        found = self.unroll(start, t, reception)
        error = F.mse_loss(found, x)
        if not self.perceptual:
            return {"loss": error}
        seen = self.scale.images(found[::LPIPS_EVERY]).clamp(0, 1)
        distance = lpips(*shifted(seen, images[::LPIPS_EVERY], shift_key)).mean()
        return {"loss": error + LPIPS_WEIGHT / self.scale.std**2 * distance, "error": error, "lpips": distance}

    def unroll(self, start: Tensor, t: Tensor, reception: PixelReception) -> Tensor:
        """Run the evaluations from a state, with gradients through all.

        Args:
            start, t: the state, (B, C, H, W) and (B,).
            reception: gives SNR and rate.

        Returns:
            The last evaluation's image, normalised.
        """
        first_var = self.schedule.noise_var(t)
        y = start * (1 + first_var).sqrt().to(start)[:, None, None, None]  # x_t over its signal: image and noise
        for step in range(self.steps):
            left = 1 - step / self.steps
            noise_var = left**2 * first_var
            a = alpha_bar_of(noise_var)
            state = a.sqrt().to(y)[:, None, None, None] * y
            v = self.denoiser(state, noise_var.log().to(y), reception.snr_db.to(y), reception.rate.to(y)).to(y)
            estimate = denoised(state, v, a)
            y = estimate + (1 - 1 / (self.steps - step)) * (y - estimate)
        return y

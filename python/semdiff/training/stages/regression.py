# SPDX-License-Identifier: Apache-2.0
"""The denoiser's network as a regressor: the receiver that a sampler of the same size and depth must beat."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from semdiff.diffusion.matching import DiffusionState
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link.pixel_starting_state import PixelReception, perceptual_state
from semdiff.metrics import lpips
from semdiff.models.pixels import PixelDenoiser, PixelScale
from semdiff.rng import Key
from semdiff.training.engine import Stage
from semdiff.training.stages.diffusion import denoised
from semdiff.training.stages.pixels import LPIPS_EVERY, LPIPS_WEIGHT, Front, shifted


def noiseless_state(reception: PixelReception, scale: PixelScale, schedule: NoiseSchedule, renoise: float, key: Key) -> DiffusionState:
    """Make the perceptual estimate without fresh noise a state at the time that it would have with it.

    Args:
        reception: what the receiver knows.
        scale: between images and normalised pixels.
        schedule: of the denoiser.
        renoise: fresh noise that is left out, in parts of the estimate's error variance.
        key: unused but for the time's arguments, which are those of `perceptual_state`.
    """
    _, t = perceptual_state(reception, scale, schedule, renoise, key)
    signal = schedule.alpha_bar(t).sqrt().to(reception.perceptual)[:, None, None, None]
    return DiffusionState(scale.clamp(reception.perceptual) * signal, t)


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
        renoise: of the link, which gives the time.
    """

    frozen = ("front",)

    def __init__(
        self,
        front: Front,
        denoiser: PixelDenoiser,
        schedule: NoiseSchedule,
        steps: int = 1,
        perceptual: bool = False,
        renoise: float = 0.25,
    ) -> None:
        super().__init__()
        self.front, self.denoiser, self.scale, self.schedule = front, denoiser, front.scale, schedule
        self.steps, self.perceptual, self.renoise = steps, perceptual, renoise

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        channel_key, start_key, shift_key = key.split(3)
        with torch.no_grad():
            reception = self.front(images, channel_key)
            start, t = noiseless_state(reception, self.scale, self.schedule, self.renoise, start_key)
        x = self.scale.normalize(images)
        found = self.unroll(start, t, reception)
        error = F.mse_loss(found, x)
        if not self.perceptual:
            return {"loss": error}
        seen = self.scale.images(found[::LPIPS_EVERY]).clamp(0, 1)
        distance = lpips(*shifted(seen, images[::LPIPS_EVERY], shift_key)).mean()
        return {"loss": error + LPIPS_WEIGHT / self.scale.std**2 * distance, "error": error, "lpips": distance}

    def unroll(self, start: Tensor, t: Tensor, reception: PixelReception) -> Tensor:
        """Run the evaluations from the state `start` at t (B,); the last one's normalised image, with gradients through all."""
        first_var = self.schedule.noise_var(t)
        y = start * (1 + first_var).sqrt().to(start)[:, None, None, None]  # x_t over its signal: image and noise
        for step in range(self.steps):
            left = 1 - step / self.steps
            noise_var = left**2 * first_var
            a = 1 / (1 + noise_var)
            state = a.sqrt().to(y)[:, None, None, None] * y
            v = self.denoiser(state, noise_var.log().to(y), reception.snr_db.to(y), reception.rate.to(y)).to(y)
            estimate = denoised(state, v, a)
            y = estimate + (1 - 1 / (self.steps - step)) * (y - estimate)
        return y

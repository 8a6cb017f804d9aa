# SPDX-License-Identifier: Apache-2.0
"""Train an unconditional denoiser of latents, v-prediction (Salimans and Ho, 2022), real-valued times: stage 2 of the recipes.

Times are drawn uniformly in the SNR's decibels where a channel can put them, and now and then over the whole schedule.
"""

from __future__ import annotations

import torch
from diffusers import UNet2DModel
from torch import Tensor
from torch.nn import functional as F

from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.diffusion.steps import add_noise
from semdiff.rng import Key, uniform
from semdiff.training.engine import Stage


def velocity(x: Tensor, z: Tensor, alpha_bar: Tensor) -> Tensor:
    """Compute v such that z = sqrt(alpha_bar) x - sqrt(1 - alpha_bar) v, whatever the noise in x is.

    Args:
        x, z: (B, C, h, w).
        alpha_bar: (B,).
    """
    a = alpha_bar.to(x)[:, None, None, None]
    return (a.sqrt() * x - z) / (1 - a).sqrt()


def denoised(x: Tensor, v: Tensor, alpha_bar: Tensor) -> Tensor:
    """Compute the z that v says is in x: the inverse of `velocity`.

    Args:
        x, v: (B, C, h, w).
        alpha_bar: (B,).
    """
    a = alpha_bar.to(x)[:, None, None, None]
    return a.sqrt() * x - (1 - a).sqrt() * v


def denoising_times(
    count: int, schedule: NoiseSchedule, key: Key, low_db: float = -8.0, high_db: float = 25.0, whole: float = 0.1
) -> Tensor:
    """Draw times uniform in SNR, a share of them uniform over the schedule.

    Args:
        count: how many.
        schedule: of the times.
        key: of the draw.
        low_db, high_db: range of the SNR in dB.
        whole: the share.

    Returns:
        float64 (count,).
    """
    keys = key.split(3)
    focused = schedule.timestep((10 ** (-0.1 * uniform(count, keys[0], low_db, high_db))).double())
    anywhere = uniform(count, keys[1], 0.0, schedule.T - 1.0).double()
    return torch.where(uniform(count, keys[2]) < whole, anywhere, focused)


class DiffusionStage(Stage):
    """Train a denoiser by the mean squared error of v.

    Args:
        unet: the denoiser.
        schedule: of its times.
    """

    def __init__(self, unet: UNet2DModel, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.unet, self.schedule = unet, schedule

    def forward(self, key: Key, z: Tensor) -> dict[str, Tensor]:
        """Compute the loss of latents z (B, C, h, w); key draws times and noise."""
        times, noise = key.split(2)
        t = denoising_times(z.shape[0], self.schedule, times)
        x = add_noise(z, t, self.schedule, noise)
        v = velocity(x, z, self.schedule.alpha_bar(t))
        return {"loss": F.mse_loss(self.unet(x, t.to(x)).sample.to(v), v)}

# SPDX-License-Identifier: Apache-2.0
"""Stage 2: an unconditional denoiser of latents, v-prediction (Salimans and Ho, 2022), real-valued times.

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
    """v such that z = sqrt(alpha_bar) x - sqrt(1 - alpha_bar) v, whatever the noise in x is. alpha_bar (B,)."""
    a = alpha_bar.to(x)[:, None, None, None]
    return (a.sqrt() * x - z) / (1 - a).sqrt()


def denoised(x: Tensor, v: Tensor, alpha_bar: Tensor) -> Tensor:
    """The z that v says is in x: the inverse of `velocity`. alpha_bar (B,)."""
    a = alpha_bar.to(x)[:, None, None, None]
    return a.sqrt() * x - (1 - a).sqrt() * v


def denoising_times(
    count: int, schedule: NoiseSchedule, key: Key, low_db: float = -8.0, high_db: float = 25.0, whole: float = 0.1
) -> Tensor:
    """Times (count,), float64: uniform in SNR between the bounds, a share `whole` of them uniform over the schedule."""
    keys = key.split(3)
    focused = schedule.timestep((10 ** (-0.1 * uniform(count, keys[0], low_db, high_db))).double())
    anywhere = uniform(count, keys[1], 0.0, schedule.T - 1.0).double()
    return torch.where(uniform(count, keys[2]) < whole, anywhere, focused)


class DiffusionStage(Stage):
    """forward(key, latents (B, C, h, w)): mean squared error of v."""

    def __init__(self, unet: UNet2DModel, schedule: NoiseSchedule) -> None:
        super().__init__()
        self.unet, self.schedule = unet, schedule

    def forward(self, key: Key, z: Tensor) -> dict[str, Tensor]:
        times, noise = key.split(2)
        t = denoising_times(z.shape[0], self.schedule, times)
        x = add_noise(z, t, self.schedule, noise)
        v = velocity(x, z, self.schedule.alpha_bar(t))
        return {"loss": F.mse_loss(self.unet(x, t.to(x)).sample.to(v), v)}

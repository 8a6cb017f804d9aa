# SPDX-License-Identifier: Apache-2.0
"""The link's path of most detail: the denoiser and the decoder that samples go through, behind a transmitter that stays as it is.

The denoiser learns the straight path from what the receiver starts with to the latent that was sent (posterior-mean rectified flow, arXiv
2410.00418), told what was heard: the estimate and how far each element of it is to be relied on. So it adds what the up-sampler does not
know. What it says at each point is also decoded, and judged by LPIPS (AlexNet) beside the squared error.

For comparison the path may be that of white noise, the forward process of plain latent diffusion, at the times that receivers meet; and the
decoder may stay as it is, then the denoiser learns by the squared error alone.
"""

from __future__ import annotations

from typing import Literal

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from semdiff.link.codec import Border, from_blocks, to_blocks
from semdiff.link.networks import Denoiser, Downsampler, Upsampler
from semdiff.link.reception import estimate_elements
from semdiff.metrics import lpips
from semdiff.rng import Key, normal
from semdiff.sampler import add_noise
from semdiff.schedule import NoiseSchedule
from semdiff.training.diffusion import denoised, velocity
from semdiff.training.engine import Stage
from semdiff.training.receiver import path_point
from semdiff.training.resampling import Conditions, cross_channel

PathKind = Literal["received", "noise"]
DecoderKind = Literal["trained", "frozen"]


class GenerationStage(Stage):
    """forward(key, images (B, 3, H, W) in [0, 1]): squared error of v on the path, LPIPS and squared error of what is decoded.

    A quarter of the batch is decoded from clean latents with a little noise, so that the decoder stays one for those. path: from what is
    received, or from noise; decoder: whether it is trained. block, border: see `semdiff.link.codec`.
    """

    def __init__(
        self,
        vae: AutoencoderTiny,
        unet: Denoiser,
        downsampler: Downsampler,
        upsampler: Upsampler,
        schedule: NoiseSchedule,
        rates: tuple[int, ...],
        conditions: Conditions,
        block: int,
        border: Border,
        renoise: float = 1.0,
        perceptual: float = 1.0,
        pixel_weight: float = 4.0,
        decoder_noise: float = 0.15,
        path: PathKind = "received",
        decoder: DecoderKind = "trained",
    ) -> None:
        super().__init__()
        self.frozen = ("encoder", "downsampler", "upsampler", *(("decoder",) if decoder == "frozen" else ()))
        self.path, self.decoded = path, decoder == "trained"
        self.encoder, self.decoder, self.unet, self.downsampler, self.upsampler = vae.encoder, vae.decoder, unet, downsampler, upsampler
        self.schedule, self.rates, self.conditions, self.renoise = schedule, rates, conditions, renoise
        self.block, self.border = block, border
        self.perceptual, self.pixel_weight, self.decoder_noise = perceptual, pixel_weight, decoder_noise

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        crossing_key, path_key, noise_key = key.split(3)
        with torch.no_grad():
            z = self.encoder(to_blocks(images, self.block, self.border)).to(images)
            gaussian, noise_var = cross_channel(self.downsampler, self.upsampler, z, self.rates, crossing_key, self.conditions)
            hints = torch.cat(estimate_elements(gaussian, noise_var), 1)
            x, t = path_point(gaussian, noise_var, z, self.schedule, self.renoise, path_key)
            if self.path == "noise":
                x = add_noise(z, t, self.schedule, path_key.fold_in(0))
        v = self.unet(x, t.to(x), *((hints,) if self.unet.config.hints else ())).sample.to(z)
        a = self.schedule.alpha_bar(t)
        path = F.mse_loss(v, velocity(x, z, a))
        if not self.decoded:
            return {"loss": path}
        said = denoised(x, v, a)
        plain = z[::4] + self.decoder_noise * normal(z[::4].shape, noise_key, device=z.device)
        decoded = from_blocks(self.decoder(torch.cat([said, plain])).to(z), images.shape[2], images.shape[3], self.block)
        target = torch.cat([images, images[::4]])
        error = F.mse_loss(decoded, target)
        seen = lpips(decoded.clamp(0, 1), target).mean()
        return {"loss": path + self.perceptual * seen + self.pixel_weight * error, "path": path, "lpips": seen, "mse": error}

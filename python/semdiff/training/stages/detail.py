# SPDX-License-Identifier: Apache-2.0
"""The decoders for samples, which learn how these should look. All that comes before them stays as it is.

Latents are sampled as the receiver samples them, and what they decode to is judged by LPIPS (AlexNet) beside the squared error. For
Fashion-MNIST that is stage 6, for photographs the last: there a decoder of details adds to the mean decoder's picture, and VGG judges
too.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderTiny, UNet2DModel
from torch import Tensor
from torch.nn import functional as F

from semdiff.diffusion.sampler import sample
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.link.starting_state import starting_state
from semdiff.metrics import lpips
from semdiff.models.networks import Denoiser, DetailDecoder, Downsampler, MeanDecoder, SampleDecoder, Upsampler
from semdiff.models.pixel_blocks import from_blocks
from semdiff.rng import Key, uniform
from semdiff.training.engine import Stage
from semdiff.training.stages.generation import ReceivingStage
from semdiff.training.stages.resampling import cross_channel

SHIFT = 8  # pixels, a block
WINDOW = 96  # pixels


def judge(decoded: Tensor, images: Tensor, pixel_weight: float) -> dict[str, Tensor]:
    """LPIPS (AlexNet) plus `pixel_weight` times the squared error, of (B, c, H, W) in [0, 1]."""
    error, seen = F.mse_loss(decoded, images), lpips(decoded.clamp(0, 1), images).mean()
    return {"loss": seen + pixel_weight * error, "lpips": seen, "mse": error}


def judge_photographs(decoded: Tensor, images: Tensor, pixel_weight: float, key: Key) -> dict[str, Tensor]:
    """The same by two networks that look differently: AlexNet at a `glimpse`, VGG, which sees every pixel and takes long, through a
    `window`."""
    glimpse_key, window_key = key.split(2)
    error, clamped = F.mse_loss(decoded, images), decoded.clamp(0, 1)
    seen = lpips(*glimpse(clamped, images, glimpse_key)).mean()
    deep = lpips(*window(clamped, images, window_key), "vgg").mean()
    return {"loss": seen + deep + pixel_weight * error, "lpips": seen, "vgg": deep, "mse": error}


def window(decoded: Tensor, images: Tensor, key: Key) -> tuple[Tensor, Tensor]:
    """Of every other picture of both, (B, c, H, W), the same square of WINDOW pixels, or what there is, where the key says."""
    height, width = (min(WINDOW, n) for n in images.shape[2:])
    first, *place = uniform(3, key).tolist()
    rows = slice(0 if first < 0.5 or len(images) == 1 else 1, None, 2)
    return _part(decoded[rows], height, width, *place), _part(images[rows], height, width, *place)


def _part(x: Tensor, height: int, width: int, down: float, right: float) -> Tensor:
    """Of that height and width; down and right in [0, 1): where, of all places."""
    top, left = int(down * (x.shape[2] - height + 1)), int(right * (x.shape[3] - width + 1))
    return x[:, :, top : top + height, left : left + width]


def glimpse(decoded: Tensor, images: Tensor, key: Key) -> tuple[Tensor, Tensor]:
    """The same part of both, (B, c, H, W), shifted, turned over and every other time at twice or half its size, as the key draws.

    AlexNet looks at every fourth pixel through windows of eleven. A decoder that knows where it looks, and how large things are, learns
    patterns that it does not see and people do; one that does not know has to make pictures (E-LPIPS, arXiv 1906.03973).
    """
    zoom, down, right, flip, turn = uniform(5, key).tolist()
    enlarged, reduced = zoom < 0.25, zoom > 0.75
    height, width = (n // 2 if enlarged else n - SHIFT for n in images.shape[2:])

    def look(x: Tensor) -> Tensor:
        part = _part(x, height, width, down, right)
        part = part.flip(3) if flip < 0.5 else part
        part = part.transpose(2, 3) if turn < 0.5 else part
        if enlarged:
            return F.interpolate(part, scale_factor=2, mode="bilinear")
        return F.avg_pool2d(part, 2) if reduced else part

    return look(decoded), look(images)


class DetailStage(Stage):
    """forward(key, latents (B, C, h, w), images (B, c, H, W) in [0, 1]): LPIPS of the decoded samples plus `pixel_weight` squared error."""

    frozen = ("unet", "downsampler", "upsampler")

    def __init__(
        self,
        unet: UNet2DModel,
        downsampler: Downsampler,
        upsampler: Upsampler,
        sample_decoder: SampleDecoder,
        schedule: NoiseSchedule,
        rates: tuple[int, ...],
        renoise: float = 1.0,
        steps: int = 4,
        pixel_weight: float = 1.0,
    ) -> None:
        super().__init__()
        self.unet, self.downsampler, self.upsampler, self.sample_decoder = unet, downsampler, upsampler, sample_decoder
        self.schedule, self.rates, self.renoise, self.steps, self.pixel_weight = schedule, rates, renoise, steps, pixel_weight

    def forward(self, key: Key, z: Tensor, images: Tensor) -> dict[str, Tensor]:
        crossing_key, start_key, sample_key = key.split(3)
        with torch.no_grad():
            crossing = cross_channel(self.downsampler, self.upsampler, z, self.rates, crossing_key)
            state = starting_state(*crossing, self.schedule, "calibrated", self.renoise, start_key)
            drawn = sample(lambda x, t: self.unet(x, t).sample.to(x), state, self.schedule, self.steps, prediction="v", key=sample_key)
        return judge(from_blocks(self.sample_decoder(drawn.to(z)).to(z), images.shape[2], images.shape[3]), images, self.pixel_weight)


class PhotoDetailStage(ReceivingStage):
    """forward(key, images (B, 3, H, W) in [0, 1]): the same for a `DetailDecoder` beside the `MeanDecoder`.

    steps: what each batch takes one of, so that the decoder knows the samples of few evaluations and of more.
    """

    frozen = ("encoder", "unet", "downsampler", "upsampler", "mean_decoder")

    def __init__(
        self,
        vae: AutoencoderTiny,
        unet: Denoiser,
        downsampler: Downsampler,
        upsampler: Upsampler,
        mean_decoder: MeanDecoder,
        detail_decoder: DetailDecoder,
        *behind: Any,
        steps: tuple[int, ...] = (1, 2, 4),
        pixel_weight: float = 8.0,
        **options: Any,
    ) -> None:
        super().__init__(vae, unet, downsampler, upsampler, *behind, **options)
        self.mean_decoder, self.detail_decoder, self.steps, self.pixel_weight = mean_decoder, detail_decoder, steps, pixel_weight

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        crossing_key, start_key, sample_key, steps_key, judge_key = key.split(5)
        steps = self.steps[int(uniform(1, steps_key) * len(self.steps)) % len(self.steps)]
        z, crossing, told, hints = self.receive(crossing_key, images)
        with torch.no_grad():
            state = starting_state(*crossing, self.schedule, "calibrated", self.renoise, start_key)
            denoise = lambda x, t: self.unet(x, t, *hints).sample.to(x)  # noqa: E731
            drawn = sample(denoise, state, self.schedule, steps, prediction="v", key=sample_key)
            mean = self.mean_decoder(*told).to(z)
        blocks = self.detail_decoder(drawn.to(z), *told, mean).to(z)
        return judge_photographs(from_blocks(blocks, images.shape[2], images.shape[3], self.block), images, self.pixel_weight, judge_key)

# SPDX-License-Identifier: Apache-2.0
"""Train the decoders of samples on how images should look. All networks before them stay as they are.

Latents are sampled as the receiver samples them, and the loss of their decoded images is LPIPS (AlexNet) beside the squared error. For
Fashion-MNIST that is stage 6, for photographs the last: there a decoder of details adds to the mean decoder's picture, and LPIPS by VGG is
added.
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

SHIFT = 8  # pixels, a block: parts shifted by less keep their size: parts shifted by less keep their size
WINDOW = 96  # pixels. Chosen by hand: VGG takes long. Chosen by hand: VGG takes long


def perceptual_loss(decoded: Tensor, images: Tensor, pixel_weight: float) -> dict[str, Tensor]:
    """Compute LPIPS (AlexNet) plus `pixel_weight` times the squared error.

    Args:
        decoded, images: (B, c, H, W) in [0, 1].
        pixel_weight: of the squared error.
    """
    error, seen = F.mse_loss(decoded, images), lpips(decoded.clamp(0, 1), images).mean()
    return {"loss": seen + pixel_weight * error, "lpips": seen, "mse": error}


def photograph_loss(decoded: Tensor, images: Tensor, pixel_weight: float, key: Key) -> dict[str, Tensor]:
    """Compute the same with two networks: AlexNet at a `glimpse`, and VGG, which sees every pixel and takes long, in a `window`.

    Args:
        decoded, images: (B, c, H, W) in [0, 1].
        pixel_weight: of the squared error.
        key: of glimpse and window.
    """
    glimpse_key, window_key = key.split(2)
    error, clamped = F.mse_loss(decoded, images), decoded.clamp(0, 1)
    seen = lpips(*glimpse(clamped, images, glimpse_key)).mean()
    deep = lpips(*window(clamped, images, window_key), "vgg").mean()
    return {"loss": seen + deep + pixel_weight * error, "lpips": seen, "vgg": deep, "mse": error}


def window(decoded: Tensor, images: Tensor, key: Key) -> tuple[Tensor, Tensor]:
    """Crop the same square of WINDOW pixels of every other picture.

    Args:
        decoded, images: (B, c, H, W).
        key: of the place.
    """
    height, width = (min(WINDOW, n) for n in images.shape[2:])
    first, *place = uniform(3, key).tolist()
    rows = slice(0 if first < 0.5 or len(images) == 1 else 1, None, 2)
    return _part(decoded[rows], height, width, *place), _part(images[rows], height, width, *place)


def _part(x: Tensor, height: int, width: int, down: float, right: float) -> Tensor:
    """Of that height and width; down and right in [0, 1): where, of all places."""
    top, left = int(down * (x.shape[2] - height + 1)), int(right * (x.shape[3] - width + 1))
    return x[:, :, top : top + height, left : left + width]


def glimpse(decoded: Tensor, images: Tensor, key: Key) -> tuple[Tensor, Tensor]:
    """Crop the same part of all pictures, mirrored, transposed, and at twice or half its size in half of the cases.

    AlexNet looks at every fourth pixel through windows of eleven. A decoder that knows where it looks, and how large things are, learns
    patterns that it does not see and people do (E-LPIPS, arXiv 1906.03973).

    Args:
        decoded, images: (B, c, H, W).
        key: of place, size and orientation.
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
    """Train a sample decoder by LPIPS of decoded samples plus `pixel_weight` times the squared error.

    Args:
        unet, downsampler, upsampler: of the link, not trained.
        sample_decoder: what is trained.
        schedule: of the denoiser.
        rates: numbers of symbol channels.
        renoise, steps: of the sampler.
        pixel_weight: of the squared error.
    """

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
        """Compute the losses of latents z (B, C, h, w) and their images (B, c, H, W) in [0, 1]; key draws all random numbers."""
        crossing_key, start_key, sample_key = key.split(3)
        with torch.no_grad():
            crossing = cross_channel(self.downsampler, self.upsampler, z, self.rates, crossing_key)
            state = starting_state(*crossing, self.schedule, "calibrated", self.renoise, start_key)
            drawn = sample(lambda x, t: self.unet(x, t).sample.to(x), state, self.schedule, self.steps, prediction="v", key=sample_key)
        return perceptual_loss(
            from_blocks(self.sample_decoder(drawn.to(z)).to(z), images.shape[2], images.shape[3]), images, self.pixel_weight
        )


class PhotoDetailStage(ReceivingStage):
    """Train a `DetailDecoder` beside the `MeanDecoder`, likewise.

    Args:
        vae, unet, downsampler, upsampler, mean_decoder: of the link, not trained.
        detail_decoder: what is trained.
        behind, options: of `ReceivingStage`.
        steps: of the sampler; each batch takes one of them, so that the decoder knows samples of few evaluations and of more.
        pixel_weight: of the squared error.
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
        """Compute the losses of images (B, 3, H, W) in [0, 1]; key draws all random numbers."""
        crossing_key, start_key, sample_key, steps_key, loss_key = key.split(5)
        steps = self.steps[int(uniform(1, steps_key) * len(self.steps)) % len(self.steps)]
        z, crossing, estimated, hints = self.receive(crossing_key, images)
        with torch.no_grad():
            state = starting_state(*crossing, self.schedule, "calibrated", self.renoise, start_key)
            denoise = lambda x, t: self.unet(x, t, *hints).sample.to(x)  # noqa: E731
            drawn = sample(denoise, state, self.schedule, steps, prediction="v", key=sample_key)
            mean = self.mean_decoder(*estimated).to(z)
        blocks = self.detail_decoder(drawn.to(z), *estimated, mean).to(z)
        return photograph_loss(from_blocks(blocks, images.shape[2], images.shape[3], self.block), images, self.pixel_weight, loss_key)

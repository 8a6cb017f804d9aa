# SPDX-License-Identifier: Apache-2.0
"""Train a link that works on pixels: transmitter and up-sampler through the channel, then the denoiser behind them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.diffusion.loss import upsampler_loss
from semdiff.diffusion.schedule import NoiseSchedule, alpha_bar_of
from semdiff.diffusion.vae import GaussianSample
from semdiff.link.pixel_starting_state import PixelReception, mean_estimate, perceptual_state, without_padding
from semdiff.metrics import lpips
from semdiff.models.jscc_layers import JSCCDecoder, Transmitter
from semdiff.models.pixels import PixelDenoiser, PixelScale, PixelUpsampler
from semdiff.models.residual_jscc import ResidualDecoder, ResidualTransmitter
from semdiff.models.residual_upsampler import ResidualUpsampler
from semdiff.phy.channel import snr_db_of
from semdiff.rng import Key, uniform
from semdiff.training.engine import Stage
from semdiff.training.random_channel import DEFAULT_CONDITIONS, Conditions, over_the_air
from semdiff.training.stages.diffusion import denoised, velocity
from semdiff.training.stages.jscc import balanced
from semdiff.transmission.symbols import ReceivedFeatures

TYPICAL_ERROR = 0.08  # a squared error of normalised pixels, see `balanced`
VARIANCE_WEIGHT = 0.05  # of the fused loss, which teaches the variance, beside the squared error around 0.1
LPIPS_EVERY = 3  # LPIPS takes as long as all networks together, so one image in three is measured by it
LARGEST_WEIGHT = 5.0  # of the flow's squared error near the image, relative to the path's beginning


class Front(nn.Module):
    """Compute everything in front of the denoiser: transmitter, channel, up-sampler and perceptual decoder.

    Args:
        transmitter, upsampler, decoder: the networks.
        scale: of the pixels.
        rates: numbers of symbol channels.
        conditions: of the channel.
    """

    def __init__(
        self,
        transmitter: Transmitter | ResidualTransmitter,
        upsampler: PixelUpsampler | ResidualUpsampler,
        decoder: JSCCDecoder | ResidualDecoder,
        scale: PixelScale,
        rates: tuple[int, ...],
        conditions: Conditions = DEFAULT_CONDITIONS,
    ) -> None:
        super().__init__()
        self.transmitter, self.upsampler, self.decoder = transmitter, upsampler, decoder
        self.scale, self.rates, self.conditions = scale, rates, conditions

    def forward(self, images: Tensor, key: Key) -> PixelReception:
        """Send images (B, C, H, W) in [0, 1] over a channel, to a reception; key draws all random numbers."""
        gaussian, arrived, snr_and_rate = self.receive(images, key)
        size = (images.shape[2], images.shape[3])
        perceptual = self.scale.normalize(self.decoder(arrived.features, *snr_and_rate, size).to(images))
        return PixelReception(gaussian, perceptual, arrived.noise_var, snr_and_rate[1])

    def receive(self, images: Tensor, key: Key) -> tuple[GaussianSample, ReceivedFeatures, tuple[Tensor, Tensor]]:
        """Send images over a channel, to the up-sampler's Gaussian.

        Args:
            images: (B, C, H, W) in [0, 1].
            key: of all random numbers.

        Returns:
            The Gaussian, the received features, and their SNR in dB with the rate.
        """
        *keys, draw_key = key.split(4)
        total = self.transmitter.config.symbol_channels
        encode = lambda believed, rate: self.transmitter(images, believed, rate)  # noqa: E731
        arrived, rate = over_the_air(encode, images, total, self.rates, keys, self.conditions)
        snr_and_rate = snr_db_of(arrived.noise_var).to(images), rate
        gaussian = self.upsampler(arrived.features, *snr_and_rate, draw_key, arrived.noise_map.to(images))
        return without_padding(gaussian, (images.shape[2], images.shape[3])), arrived, snr_and_rate


def shifted(images: Tensor, other: Tensor, key: Key) -> tuple[Tensor, Tensor]:
    """Move both batches by the same 0 to 7 pixels down and right, the gap filled by the edge, and mirror them every other time.

    AlexNet's first convolution looks at every fourth pixel of an enlarged image. A network that knows which ones learns patterns that fall
    between (E-LPIPS, arXiv 1906.03973).

    Args:
        images, other: (B, C, H, W).
        key: of the draw.
    """
    down, right, mirror = uniform(3, key).tolist()
    top, left = int(down * 8) % 8, int(right * 8) % 8

    def move(x: Tensor) -> Tensor:
        x = F.pad(x, (left, 0, top, 0), mode="replicate")[..., : x.shape[2], : x.shape[3]]
        return x.flip(3) if mirror < 0.5 else x

    return move(images), move(other)


def gaussian_terms(gaussian: GaussianSample, x: Tensor, schedule: NoiseSchedule, key: Key, exponent: float = 1.0) -> dict[str, Tensor]:
    """Train the mean by its squared error from the normalised images, and the variance by the fused loss of `semdiff.upsampler_loss`.

    The fused loss leaves the mean alone: where the variance is small it would count a pixel hundreds of times.

    Args:
        gaussian: the up-sampler's, of x_t at t = 0.
        x: normalised images.
        schedule: gives alpha_bar_0.
        key: of the fused loss.
        exponent: of each image's squared error, see `balanced`.
    """
    mean = mean_estimate(gaussian, schedule)[0]
    error = F.mse_loss(mean, x)
    loss = error if exponent == 1.0 else balanced(mean, x, exponent, TYPICAL_ERROR)
    fused = upsampler_loss(gaussian.mean.detach(), gaussian.logvar, x, schedule.alphas_cumprod[0], 0.0, 1.0, key)
    return {"loss": loss + VARIANCE_WEIGHT * (fused.total - fused.reconstruction), "error": error, "match": fused.match}


class UpsamplerStage(Stage):
    """Train the up-sampler behind a finished transmitter, by `gaussian_terms`.

    Args:
        front: the networks.
        schedule: of the denoiser.
        exponent: of each image's squared error, see `balanced`.
    """

    frozen = ("front.transmitter", "front.decoder")

    def __init__(self, front: Front, schedule: NoiseSchedule, exponent: float = 1.0) -> None:
        super().__init__()
        self.front, self.schedule, self.exponent = front, schedule, exponent

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the losses of images (B, C, H, W) in [0, 1]; key draws all random numbers."""
        channel_key, loss_key = key.split(2)
        gaussian = self.front.receive(images, channel_key)[0]
        x = self.front.scale.normalize(images)
        return gaussian_terms(gaussian, x, self.schedule, loss_key, self.exponent)


class FlowStage(Stage):
    """Train the denoiser by the squared error of v along the path from the receiver's first state to the image.

    Args:
        front: the networks in front of it, not trained.
        denoiser: what is trained.
        schedule: of its times.
        renoise: of the path's beginning.
        lpips_weight: of LPIPS of x_0 as predicted in the first two thirds of the path; 0 leaves it out.
    """

    frozen = ("front",)

    def __init__(
        self, front: Front, denoiser: PixelDenoiser, schedule: NoiseSchedule, renoise: float = 0.25, lpips_weight: float = 0.0
    ) -> None:
        super().__init__()
        self.front, self.denoiser, self.scale, self.schedule = front, denoiser, front.scale, schedule
        self.renoise, self.lpips_weight = renoise, lpips_weight

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        """Compute the losses of images (B, C, H, W) in [0, 1]; key draws all random numbers."""
        channel_key, start_key, place_key, first_key, shift_key = key.split(5)
        with torch.no_grad():
            reception = self.front(images, channel_key)
            start, t = perceptual_state(reception, self.scale, self.schedule, self.renoise, start_key)
        x = self.scale.normalize(images)
        first_var = self.schedule.noise_var(t)
        # A share of the noise that is left, in deviations: uniform, and one in seven at the very start, where sampling begins.
        left = uniform(len(images), place_key).clamp_min(0.03)
        left = torch.where(uniform(len(images), first_key) < 1 / 7, torch.ones_like(left), left).double()
        noise_var = left.square() * first_var
        a = alpha_bar_of(noise_var)
        at_start = start * (1 + first_var).sqrt().to(x)[:, None, None, None]
        state = a.sqrt().to(x)[:, None, None, None] * (x + left.to(x)[:, None, None, None] * (at_start - x))
        v = self.denoiser(state, noise_var.log().to(x), reception.snr_db.to(x), reception.rate.to(x)).to(x)
        worst = LARGEST_WEIGHT * (1 + first_var) / first_var  # of (x_0 - x)^2; that of v is (1 + noise_var) / noise_var
        weight = torch.minimum(worst * noise_var / (1 + noise_var), torch.ones_like(worst)).to(x)[:, None, None, None]
        flow = (weight * (v - velocity(state, x, a)).square()).mean()
        if not self.lpips_weight:
            return {"loss": flow}
        early = (left > 1 / 3).nonzero()[::LPIPS_EVERY, 0]
        found = self.scale.images(denoised(state[early], v[early], a[early])).clamp(0, 1)
        seen = lpips(*shifted(found, images[early], shift_key)).mean()
        return {"loss": flow + self.lpips_weight * seen, "flow": flow, "lpips": seen}

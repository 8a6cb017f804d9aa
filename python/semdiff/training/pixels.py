# SPDX-License-Identifier: Apache-2.0
"""The two stages of a link that works on pixels: transmitter and up-sampler through the channel, then the denoiser behind them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.link.jscc_networks import JSCCDecoder, Transmitter
from semdiff.link.pixel_reception import PixelReception, mean_estimate, perceptual_state, without_padding
from semdiff.link.pixels import PixelDenoiser, PixelScale, PixelUpsampler
from semdiff.loss import upsampler_loss
from semdiff.metrics import lpips
from semdiff.rng import Key
from semdiff.schedule import NoiseSchedule
from semdiff.training.diffusion import denoised, uniform, velocity
from semdiff.training.engine import Stage
from semdiff.training.resampling import USUAL, Conditions, over_the_air

LPIPS_WEIGHT = 0.1  # beside a squared error of images in [0, 1] around 0.01, where LPIPS is around 0.2: as for ADJSCC+LPIPS
FUSED_WEIGHT = 0.05  # beside the squared error: enough for an honest variance, little enough to leave the mean to its squared error
JUDGED = 3  # LPIPS takes as long as all networks together, so one image in three is judged by it
LARGEST_WEIGHT = 5.0  # of the flow's squared error near the image, relative to the path's beginning


class Front(nn.Module):
    """Everything in front of the denoiser: forward(images (B, C, H, W) in [0, 1], key) goes over a channel under `conditions`, to what the
    receiver knows."""

    def __init__(
        self,
        transmitter: Transmitter,
        upsampler: PixelUpsampler,
        decoder: JSCCDecoder,
        scale: PixelScale,
        rates: tuple[int, ...],
        conditions: Conditions = USUAL,
    ) -> None:
        super().__init__()
        self.transmitter, self.upsampler, self.decoder = transmitter, upsampler, decoder
        self.scale, self.rates, self.conditions = scale, rates, conditions

    def forward(self, images: Tensor, key: Key) -> PixelReception:
        *keys, draw_key = key.split(4)
        total, size = self.transmitter.config.symbol_channels, (images.shape[2], images.shape[3])
        encode = lambda believed, rate: self.transmitter(images, believed, rate)  # noqa: E731
        arrived, rate = over_the_air(encode, images, total, self.rates, keys, self.conditions)
        told = arrived.features, (-10 * arrived.noise_var.log10()).to(images), rate
        gaussian = without_padding(self.upsampler(*told, draw_key, arrived.noise_map.to(images)), size)
        perceptual = self.scale.normalize(self.decoder(*told, size).to(images))
        return PixelReception(gaussian, perceptual, arrived.noise_var, rate)


def shifted(images: Tensor, other: Tensor, key: Key) -> tuple[Tensor, Tensor]:
    """Both moved by the same 0 to 7 pixels down and right, drawn by the key, the gap filled by the edge, and mirrored every other time.

    AlexNet's first convolution looks at every fourth pixel of an enlarged image. A network that knows which ones learns patterns that fall
    between (E-LPIPS, arXiv 1906.03973).
    """
    down, right, mirror = uniform(3, key).tolist()
    top, left = int(down * 8) % 8, int(right * 8) % 8

    def move(x: Tensor) -> Tensor:
        x = F.pad(x, (left, 0, top, 0), mode="replicate")[..., : x.shape[2], : x.shape[3]]
        return x.flip(3) if mirror < 0.5 else x

    return move(images), move(other)


class TransmissionStage(Stage):
    """forward(key, images (B, C, H, W) in [0, 1]): everything in front of the denoiser, end to end through the channel.

    The mean is taught by its squared error, the variance by the fused loss of `semdiff.upsampler_loss`, and the perceptual estimate by its
    own squared error and LPIPS (AlexNet) of shifted images. The transmitter hears all of them.
    """

    def __init__(self, front: Front) -> None:
        super().__init__()
        self.front, self.scale = front, front.scale

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
        channel_key, loss_key, shift_key = key.split(3)
        reception = self.front(images, channel_key)
        x = self.scale.normalize(images)
        _, mean, logvar = reception.gaussian
        fused = upsampler_loss(mean, logvar, x, 1 / (1 + reception.noise_var), 0.0, 1.0, loss_key)
        error = F.mse_loss(mean_estimate(reception)[0], x)
        perceptual_error = F.mse_loss(reception.perceptual, x)
        seen = self.scale.images(reception.perceptual[::JUDGED]).clamp(0, 1)
        perceptual = lpips(*shifted(seen, images[::JUDGED], shift_key)).mean()
        return {
            "loss": error + perceptual_error + LPIPS_WEIGHT / self.scale.std**2 * perceptual + FUSED_WEIGHT * fused.total,
            "error": error,
            "perceptual_error": perceptual_error,
            "lpips": perceptual,
            "match": fused.match,
        }


class FlowStage(Stage):
    """forward(key, images (B, C, H, W) in [0, 1]): squared error of v along the path from the receiver's first state to the image.

    judged: whether x_0 as it is predicted in the first two thirds of the path is judged by LPIPS as well.
    """

    frozen = ("front",)

    def __init__(
        self, front: Front, denoiser: PixelDenoiser, schedule: NoiseSchedule, renoise: float = 0.25, lpips_weight: float = 0.0
    ) -> None:
        super().__init__()
        self.front, self.denoiser, self.scale, self.schedule = front, denoiser, front.scale, schedule
        self.renoise, self.lpips_weight = renoise, lpips_weight

    def forward(self, key: Key, images: Tensor) -> dict[str, Tensor]:
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
        a = 1 / (1 + noise_var)
        at_start = start * (1 + first_var).sqrt().to(x)[:, None, None, None]
        state = a.sqrt().to(x)[:, None, None, None] * (x + left.to(x)[:, None, None, None] * (at_start - x))
        v = self.denoiser(state, noise_var.log().to(x), reception.snr_db.to(x), reception.rate.to(x)).to(x)
        worst = LARGEST_WEIGHT * (1 + first_var) / first_var  # of (x_0 - x)^2; that of v is (1 + noise_var) / noise_var
        weight = torch.minimum(worst * noise_var / (1 + noise_var), torch.ones_like(worst)).to(x)[:, None, None, None]
        flow = (weight * (v - velocity(state, x, a)).square()).mean()
        if not self.lpips_weight:
            return {"loss": flow}
        early = (left > 1 / 3).nonzero()[::JUDGED, 0]
        found = self.scale.images(denoised(state[early], v[early], a[early])).clamp(0, 1)
        seen = lpips(*shifted(found, images[early], shift_key)).mean()
        return {"loss": flow + self.lpips_weight * seen, "flow": flow, "lpips": seen}

# SPDX-License-Identifier: Apache-2.0
"""What else does an operator's work: eager PyTorch written by hand with as few passes and buffers as it allows, and other libraries.

diffusers' schedulers make the steps of `ddim_step` and `dpmpp_2m_step`, with one time for the whole batch, where ours has one for each
sample. Sionna 2 is PyTorch, in single precision here. Kaira needs a torchvision for the torch that is installed, which there is none of for
builds without CUDA beside this one, so its channels are not here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler
from torch import Tensor
from torch.nn import functional as F

Run = Callable[[], object]
CLOCK: dict[str, Any] = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def awgn(x: Tensor, std: Tensor) -> Tensor:
    return torch.randn_like(x).mul_(std).add_(x)


def rayleigh_mmse(s: Tensor, n0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    h = torch.view_as_complex(torch.randn_like(s).mul_(0.5**0.5))
    y = torch.view_as_complex(torch.randn_like(s).mul_((n0 / 2).sqrt_().unsqueeze(-1))).addcmul_(h, torch.view_as_complex(s))
    power = torch.view_as_real(h).square().sum(-1)
    weight = (power + n0).reciprocal_()
    gain = power.mul_(weight)
    return y.mul_(h.conj_physical_()).mul_(weight), weight.mul_(n0).mul_(gain), gain


def match(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.randn_like(x).mul_(b).addcmul_(x, a)


def normalize_power(x: Tensor) -> tuple[Tensor, Tensor]:
    scale = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True).div_(x[0].numel() ** 0.5)
    return x * scale.reciprocal(), scale


def reparameterize(mu: Tensor, logvar: Tensor) -> Tensor:
    return torch.randn_like(mu).mul_((logvar * 0.5).exp_()).add_(mu)


def gaussian_upsample(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean, raw = F.pixel_shuffle(features, 2).chunk(2, 1)
    logvar = (raw * 0.1).tanh_().mul_(10)
    return torch.randn_like(mean).mul_((logvar * 0.5).exp_()).add_(mean), mean, logvar


@torch.no_grad()
def loss_forward(mu: Tensor, logvar: Tensor, z: Tensor, alpha_bar: Tensor) -> Tensor:
    a, t2 = alpha_bar.sqrt(), 1 - alpha_bar
    clean = z * a
    reconstruction = torch.randn_like(z).mul_(t2.sqrt()).add_(clean).sub_(mu).square_().mean()
    variance = logvar.exp()
    prior = torch.mul(mu, mu).add_(variance).sub_(logvar).sub_(1).mean()
    match = clean.sub_(mu).square_().add_(t2).div_(variance).add_(logvar).sub_(t2.log()).sub_(1).mean()
    return reconstruction + 0.05 * prior + 0.05 * match


def ddim_step(x: Tensor, eps: Tensor, a: Tensor, b: Tensor) -> Tensor:
    ratio = (b / a).sqrt_()
    return torch.mul(x, ratio).addcmul_(eps, (1 - b).sqrt_().sub_(ratio * (1 - a).sqrt_()))


def dpmpp_2m_step(x: Tensor, eps: Tensor, previous: Tensor, p: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    lp, la, lb = (0.5 * torch.logit(v) for v in (p, a, b))
    h = lb - la
    half = 0.5 * h / (la - lp)
    x0 = (x * a.rsqrt()).addcmul_(eps, -((1 - a) / a).sqrt_())
    weight = -b.sqrt() * torch.expm1(-h)
    return (x * ((1 - b) / (1 - a)).sqrt_()).addcmul_(x0, weight * (1 + half)).addcmul_(previous, -weight * half), x0


IN_PLACE: dict[str, Callable[..., object]] = {
    "awgn": awgn,
    "rayleigh + mmse, per complex symbol": rayleigh_mmse,
    "match (scale and top up)": match,
    "normalize_power": normalize_power,
    "reparameterize": reparameterize,
    "gaussian_upsample": gaussian_upsample,
    "upsampler_loss forward": loss_forward,
    "ddim_step": ddim_step,
    "dpmpp_2m_step": dpmpp_2m_step,
}


def _sionna_awgn(x: Tensor, std: Tensor) -> Run:
    from sionna.phy.channel import AWGN

    channel, symbols, no = AWGN(precision="single", device="cpu"), torch.view_as_complex(x), 2 * std.square()[..., 0]
    return lambda: channel(symbols, no)


def _sionna_fading(s: Tensor, n0: Tensor) -> Run:
    """Their gains and noise; the equaliser is the formula."""
    from sionna.phy.channel import FlatFadingChannel

    channel = FlatFadingChannel(1, 1, return_channel=True, precision="single", device="cpu")
    symbols, no = torch.view_as_complex(s).reshape(-1, 1), float(n0.flatten()[0])

    def run() -> object:
        y, h = channel(symbols, no)
        h = h[..., 0]
        power = h.abs().square()
        weight = 1 / (power + no)
        return weight * h.conj() * y, power * weight * weight * no, power * weight

    return run


def _ddim(x: Tensor, eps: Tensor, *_: Tensor) -> Run:
    scheduler = DDIMScheduler(**CLOCK, clip_sample=False)
    scheduler.set_timesteps(10)
    return lambda: scheduler.step(eps, 301, x)


def _dpmpp(x: Tensor, eps: Tensor, previous: Tensor, *_: Tensor) -> Run:
    scheduler = DPMSolverMultistepScheduler(**CLOCK, algorithm_type="dpmsolver++", solver_order=2)
    scheduler.set_timesteps(10)
    third = scheduler.timesteps[2]

    def run() -> object:
        scheduler._step_index, scheduler.lower_order_nums = 2, 2  # always the same step in the middle
        scheduler.model_outputs = [previous, previous]
        return scheduler.step(eps, third, x)

    return run


LIBRARIES: dict[str, tuple[str, Callable[..., Run]]] = {
    "awgn": ("Sionna", _sionna_awgn),
    "rayleigh + mmse, per complex symbol": ("Sionna", _sionna_fading),
    "ddim_step": ("diffusers", _ddim),
    "dpmpp_2m_step": ("diffusers", _dpmpp),
}

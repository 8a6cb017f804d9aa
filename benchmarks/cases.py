# SPDX-License-Identifier: Apache-2.0
"""What is timed: each operator beside its eager PyTorch form, written as a careful user would; torch.compile takes the eager form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import semdiff

Run = Callable[[], object]


@dataclass
class Case:
    name: str
    make: Callable[[int], tuple[Run, Callable[..., object], tuple[object, ...]]]
    """For n elements: our call, and the eager function with its arguments."""
    bytes: int
    """What an element must move at least, read and written, where tensors do not stay in the cache."""
    normals: int = 1
    """How many normal numbers an element needs."""


KEY = semdiff.Key(1)


def _batch(n: int) -> tuple[int, ...]:
    """n elements as a batch of latents, 4 channels each."""
    side = 16 if n >= 16384 else 8
    return (n // (4 * side * side), 4, side, side)


def normal(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    return lambda: semdiff.normal((n,), KEY), lambda size: torch.randn(size), (n,)


def awgn(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    s = semdiff.normal((n,), KEY).reshape(_batch(n))
    x = torch.view_as_complex(s.reshape(s.shape[0], -1, 2))
    std = torch.full((x.shape[0],), 0.2, dtype=torch.float64)
    column = std.float().reshape(-1, 1, 1)
    # The baseline gets the real view for nothing: Inductor has no complex randn.
    return (
        lambda: torch.ops.semdiff.diffuse.default(x, None, std, KEY.tensor),
        lambda real, std: real + std * torch.randn_like(real),
        (torch.view_as_real(x), column),
    )


def rayleigh_mmse(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    """n complex symbols through fast Rayleigh fading and the MMSE equaliser; its noise variance and gain for each symbol."""
    reals = semdiff.normal((2 * n,), KEY).reshape(*_batch(n), 2)
    s = torch.view_as_complex(reals)
    n0 = torch.full((s.shape[0],), 0.1, dtype=torch.float64)

    # In real parts: Inductor has no complex randn, and eager is faster so.
    def eager(s: Tensor, n0: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, noise = torch.randn_like(s) * 0.5**0.5, torch.randn_like(s) * (n0 / 2).sqrt().unsqueeze(-1)
        (sr, si), (hr, hi), (nr, ni) = s.unbind(-1), h.unbind(-1), noise.unbind(-1)
        yr, yi = hr * sr - hi * si + nr, hr * si + hi * sr + ni
        power = hr.square() + hi.square()
        weight = 1 / (power + n0)
        gain = power * weight
        return torch.stack([(hr * yr + hi * yi) * weight, (hr * yi - hi * yr) * weight], -1), gain * (n0 * weight), gain

    return (
        lambda: torch.ops.semdiff.fading_equalized.default(s, 0.0, 1.0, n0, 1, "mmse", KEY.tensor),
        eager,
        (reals, n0.float().reshape(-1, 1, 1, 1)),
    )


def match(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    x = semdiff.normal((n,), KEY).reshape(_batch(n))
    a = torch.full((x.shape[0],), 0.7, dtype=torch.float64)
    b = torch.full((x.shape[0],), 0.2, dtype=torch.float64)
    a4, b4 = (v.float().reshape(-1, 1, 1, 1) for v in (a, b))
    return (
        lambda: torch.ops.semdiff.diffuse.default(x, a, b, KEY.tensor),
        lambda x, a, b: a * x + b * torch.randn_like(x),
        (x, a4, b4),
    )


def normalize_power(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    x = semdiff.normal((n,), KEY).reshape(_batch(n))

    def eager(x: Tensor) -> tuple[Tensor, Tensor]:
        scale = x.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
        return x / scale, scale

    return lambda: semdiff.normalize_power(x), eager, (x,)


def _pair(n: int) -> tuple[Tensor, Tensor, Tensor]:
    shape = _batch(n)
    x, y, z = (semdiff.normal((n,), k).reshape(shape) for k in KEY.split(3))
    return x, y * 0.1 - 1, z


def reparameterize(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    mu, logvar, _ = _pair(n)
    return (
        lambda: semdiff.reparameterize(mu, logvar, KEY),
        lambda mu, logvar: mu + (0.5 * logvar).exp() * torch.randn_like(mu),
        (mu, logvar),
    )


def gaussian_upsample(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    b, c, h, w = _batch(n)
    features = semdiff.normal((2 * n,), KEY).reshape(b, 2 * c * 4, h // 2, w // 2)

    def eager(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, raw = torch.nn.functional.pixel_shuffle(features, 2).chunk(2, 1)
        logvar = 10 * torch.tanh(raw / 10)
        return mean + (0.5 * logvar).exp() * torch.randn_like(mean), mean, logvar

    return lambda: semdiff.gaussian_upsample(features, 2, KEY), eager, (features,)


def _loss_terms(mu: Tensor, logvar: Tensor, z: Tensor, alpha_bar: Tensor) -> Tensor:
    a, t2 = alpha_bar.sqrt(), 1 - alpha_bar
    x_t = a * z + t2.sqrt() * torch.randn_like(z)
    variance = logvar.exp()
    prior = 0.5 * (mu.square() + variance - 1 - logvar)
    match = 0.5 * (logvar - t2.log() + (t2 + (a * z - mu).square()) / variance - 1)
    return (mu - x_t).square().mean() + 0.1 * prior.mean() + 0.1 * match.mean()


def loss_forward(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    mu, logvar, z = _pair(n)
    a = torch.full((mu.shape[0],), 0.7, dtype=torch.float64)
    return lambda: semdiff.upsampler_loss(mu, logvar, z, a, 0.1, 0.1, KEY), _loss_terms, (mu, logvar, z, a.float().reshape(-1, 1, 1, 1))


def loss_training(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    """Forward and backward. The compiled baseline compiles the loss; its backward is compiled with it."""
    mu, logvar, z = _pair(n)
    mu.requires_grad_()
    logvar.requires_grad_()
    a = torch.full((mu.shape[0],), 0.7, dtype=torch.float64)

    def ours() -> object:
        return torch.autograd.grad(semdiff.upsampler_loss(mu, logvar, z, a, 0.1, 0.1, KEY).total, (mu, logvar))

    return ours, _loss_terms, (mu, logvar, z, a.float().reshape(-1, 1, 1, 1))


def svd_2x2(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    """n matrices, at most 262,144: the baseline needs microseconds for each. torch.compile calls the same solver."""
    parts = semdiff.normal((min(n, 262144), 2, 2, 2), KEY)
    h = torch.view_as_complex(parts)
    return lambda: torch.ops.semdiff.svd_2x2.default(h), lambda parts: torch.linalg.svd(torch.view_as_complex(parts)), (parts,)


SCHEDULE = semdiff.NoiseSchedule.scaled_linear()


def ddim_step(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    x, eps, _ = _pair(n)
    t = torch.full((x.shape[0],), 300.0, dtype=torch.float64)
    s = torch.full((x.shape[0],), 200.0, dtype=torch.float64)
    a, b = (SCHEDULE.alpha_bar(v).float().reshape(-1, 1, 1, 1) for v in (t, s))

    def eager(x: Tensor, eps: Tensor, a: Tensor, b: Tensor) -> Tensor:
        x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        return b.sqrt() * x0 + (1 - b).sqrt() * eps

    return lambda: semdiff.ddim_step(x, eps, t, s, SCHEDULE), eager, (x, eps, a, b)


def dpmpp_2m_step(n: int) -> tuple[Run, Callable[..., object], tuple[object, ...]]:
    x, eps, previous = _pair(n)
    times = [torch.full((x.shape[0],), v, dtype=torch.float64) for v in (400.0, 300.0, 200.0)]
    p, a, b = (SCHEDULE.alpha_bar(v).float().reshape(-1, 1, 1, 1) for v in times)

    def eager(x: Tensor, eps: Tensor, previous: Tensor, p: Tensor, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        lp, la, lb = (0.5 * (v / (1 - v)).log() for v in (p, a, b))
        h = lb - la
        r = (la - lp) / h
        x0 = (x - (1 - a).sqrt() * eps) / a.sqrt()
        d = (1 + 0.5 / r) * x0 - (0.5 / r) * previous
        return (1 - b).sqrt() / (1 - a).sqrt() * x - b.sqrt() * torch.expm1(-h) * d, x0

    return lambda: semdiff.dpmpp_2m_step(x, eps, previous, times[0], times[1], times[2], SCHEDULE), eager, (x, eps, previous, p, a, b)


CASES = [
    Case("normal", normal, 4),
    Case("awgn", awgn, 8),
    Case("rayleigh + mmse, per complex symbol", rayleigh_mmse, 24, 4),
    Case("match (scale and top up)", match, 8),
    Case("normalize_power", normalize_power, 12, 0),
    Case("svd_2x2", svd_2x2, 104, 0),
    Case("reparameterize", reparameterize, 12),
    Case("gaussian_upsample", gaussian_upsample, 20),
    Case("upsampler_loss forward", loss_forward, 12),
    Case("upsampler_loss forward+backward", loss_training, 20),
    Case("ddim_step", ddim_step, 12, 0),
    Case("dpmpp_2m_step", dpmpp_2m_step, 20, 0),
]

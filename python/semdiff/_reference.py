# SPDX-License-Identifier: Apache-2.0
"""Every operator in plain torch, with its equation: what the tests and notebooks hold the C++ core against.

Differentiable by torch's autograd, so it is the oracle of the gradients too. It is slow, and nothing in the package imports it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_LOW = 0xFFFFFFFF


def philox(counter: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 (Salmon et al., SC 2011) of the counters (counter, 0), int64: four words, each int64 in [0, 2^32).

    A round: (c0, c1, c2, c3) -> (hi(M1 c2) ^ c1 ^ k0, lo(M1 c2), hi(M0 c0) ^ c3 ^ k1, lo(M0 c0)); then k0 += W0, k1 += W1.
    """
    c0, c1, c2, c3 = counter & _LOW, (counter >> 32) & _LOW, torch.zeros_like(counter), torch.zeros_like(counter)
    k0, k1 = seed & _LOW, seed >> 32
    for _ in range(10):
        p0, p1 = c0 * 0xD2511F53, c2 * 0xCD9E8D57  # int64 wraps to the right 64 bits
        c0, c1, c2, c3 = (p1 >> 32 & _LOW) ^ c1 ^ k0, p1 & _LOW, (p0 >> 32 & _LOW) ^ c3 ^ k1, p0 & _LOW
        k0, k1 = (k0 + 0x9E3779B9) & _LOW, (k1 + 0xBB67AE85) & _LOW
    return c0, c1, c2, c3


def normal(size: tuple[int, ...], seed: int, offset: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Box-Muller: with u = (w0 + 1/2) / 2^32 and a = 2 pi w1 / 2^32, sqrt(-2 ln u) (cos a, sin a); w2, w3 give the next two."""
    count = math.prod(size)
    start = offset - (1 << 64) if offset >= 1 << 63 else offset
    w0, w1, w2, w3 = philox(torch.arange((count + 3) // 4) + start, seed)
    radius, angle = torch.stack([w0, w2], -1), torch.stack([w1, w3], -1).double() * (2 * math.pi / 2**32)
    r = (-2 * ((radius.double() + 0.5) / 2**32).log()).sqrt()
    return torch.stack([r * angle.cos(), r * angle.sin()], -1).flatten()[:count].reshape(size).to(dtype)


def _rows(c: Tensor, x: Tensor) -> Tensor:
    """Coefficients whose shape begins x's, shaped to multiply x."""
    return c.reshape(c.shape + (1,) * (x.dim() - c.dim()))


def diffuse(x: Tensor, signal: Tensor | None, noise: Tensor, n: Tensor) -> Tensor:
    """y = signal x + noise n. The channel: signal 1, noise sqrt(N0 / 2). Forward diffusion: sqrt(alpha_bar), sqrt(1 - alpha_bar)."""
    return (x if signal is None else _rows(signal, x) * x) + _rows(noise, x) * n


def fading(s: Tensor, los: float, scatter: float, noise: Tensor, coherence: int, z: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """y = h s + noise n, h = los + scatter z / sqrt 2, |z|^2 of mean 2: z one complex draw for each `coherence` symbols of a sample."""
    flat = s.flatten(1)
    run = coherence or flat.shape[1]
    gains = los + scatter * z.reshape(len(s), -1) / math.sqrt(2)
    h = gains.repeat_interleave(run, 1)[:, : flat.shape[1]].reshape(s.shape)
    whole = run == flat.shape[1]
    return h * s + _rows(noise, s) * n, gains.reshape(_rows(noise.expand(len(s)), s).shape) if whole else h


def equalize(y: Tensor, h: Tensor, noise_var: Tensor, method: str) -> tuple[Tensor, Tensor, Tensor]:
    """P = |h|^2. zf: y/h, N0/P, 1.   mmse: conj(h) y/(P + N0), P N0/(P + N0)^2, P/(P + N0).   matched: conj(h) y, P N0, P."""
    p = (h * h.conj()).real
    weight, noise, gain = {
        "zf": (1 / p, noise_var / p, torch.ones_like(p + noise_var)),
        "mmse_unbiased": (1 / p, noise_var / p, torch.ones_like(p + noise_var)),
        "mmse": (1 / (p + noise_var), p * noise_var / (p + noise_var).square(), p / (p + noise_var)),
        "matched": (torch.ones_like(p), p * noise_var, p + 0 * noise_var),
    }[method]
    shape = y.shape if noise.shape[1:].numel() > 1 else y.shape[:1] + (1,) * (y.dim() - 1)
    return weight * h.conj() * y, noise.expand(shape), gain.expand(shape)


def fading_equalized(
    s: Tensor, los: float, scatter: float, noise_var: Tensor, coherence: int, method: str, z: Tensor, n: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """equalize(fading), with noise sqrt(N0 / 2) in each real dimension."""
    return equalize(*fading(s, los, scatter, (noise_var / 2).sqrt(), coherence, z, n), _rows(noise_var, s), method)


def normalize_power(s: Tensor) -> tuple[Tensor, Tensor]:
    """s' = s / r, r = sqrt(mean |s|^2) of each sample."""
    scale = (s * s.conj()).real.flatten(1).mean(1).sqrt() if s.is_complex() else s.square().flatten(1).mean(1).sqrt()
    return s / _rows(scale, s), scale


def measured_snr_db(s: Tensor, y: Tensor) -> Tensor:
    """10 log10(sum |s|^2 / sum |y - s|^2)."""
    return 10 * (s.abs().double().square().flatten(1).sum(1) / (y - s).abs().double().square().flatten(1).sum(1)).log10()


def svd_2x2(h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """H = U diag(s) V^H, the phases that are free chosen so that V^H's first column is real and not negative."""
    u, s, vh = torch.linalg.svd(h)
    phase = torch.where(vh[..., 0] == 0, 1, torch.sgn(vh[..., 0]))
    return u * phase.unsqueeze(-2), s, vh / phase.unsqueeze(-1)


def pack(z: Tensor) -> Tensor:
    """(a, b) -> (a + ib) / sqrt 2."""
    flat = torch.nn.functional.pad(z.flatten(1), (0, z[0].numel() % 2))
    return torch.complex(flat[:, 0::2], flat[:, 1::2]) / math.sqrt(2)


def unpack(s: Tensor, shape: tuple[int, ...]) -> Tensor:
    """a + ib -> sqrt 2 (a, b)."""
    return (math.sqrt(2) * torch.stack([s.real, s.imag], -1)).flatten(1)[:, : math.prod(shape[1:])].reshape(shape)


def alpha_bar(table: Tensor, t: Tensor) -> Tensor:
    """ln(alpha_bar / (1 - alpha_bar)) is linear between the table's steps; t = -1 is clean."""
    low = t.floor().clamp(0, len(table) - 1)
    part, a = t - low, table.logit()
    between = torch.sigmoid((1 - part) * a[low.long()] + part * a[(low.long() + 1).clamp_max(len(table) - 1)])
    return torch.where(t == -1, 1.0, torch.where(part == 0, table[low.long()], between))


def timestep(table: Tensor, noise_var: Tensor, rounding: str = "none") -> Tensor:
    """The t with ln(alpha_bar / (1 - alpha_bar)) = -ln(noise_var): the steps passed and the part of the one it is in; then rounded."""
    a, target = table.logit(), -noise_var.log()
    after = (a > target.unsqueeze(-1)).sum(-1).clamp(1, len(table) - 1)
    t = (after - 1 + (a[after - 1] - target) / (a[after - 1] - a[after])).clamp(0, len(table) - 1)
    t = torch.where((t - t.round()).abs() < 1e-9, t.round(), t)
    return {"none": t, "ceil": t.ceil(), "nearest": t.round()}[rounding]


def predicted_x0(x: Tensor, output: Tensor, a: Tensor, prediction: str, clip: float | None) -> Tensor:
    """eps: (x - sqrt(1 - a) eps) / sqrt(a).   v: sqrt(a) x - sqrt(1 - a) v."""
    x0 = {"eps": (x - (1 - a).sqrt() * output) / a.sqrt(), "x0": output, "v": a.sqrt() * x - (1 - a).sqrt() * output}[prediction]
    return x0 if clip is None else x0.clamp(-clip, clip)


def ddim_step(x: Tensor, output: Tensor, a: Tensor, b: Tensor, eta: float, prediction: str, clip: float | None, n: Tensor | None) -> Tensor:
    """x_s = sqrt(b) x0 + sqrt(1 - b - sigma^2) eps + sigma n, sigma = eta sqrt((1 - b)/(1 - a)) sqrt(1 - a/b); a, b: alpha_bar at t, s."""
    a, b = _rows(a, x), _rows(b, x)
    x0 = predicted_x0(x, output, a, prediction, clip)
    eps, sigma = (x - a.sqrt() * x0) / (1 - a).sqrt(), eta * ((1 - b) / (1 - a) * (1 - a / b)).sqrt()
    return b.sqrt() * x0 + (1 - b - sigma**2).clamp_min(0).sqrt() * eps + (0 if n is None else sigma * n)


def dpmpp_2m_step(
    x: Tensor, output: Tensor, previous: Tensor | None, p: Tensor | None, a: Tensor, b: Tensor, prediction: str, clip: float | None
) -> tuple[Tensor, Tensor]:
    """With l = ln sqrt(alpha_bar / (1 - alpha_bar)), h = l_s - l_t, r = (l_t - l_p) / h, D = (1 + 1/2r) x0 - (1/2r) previous:
    x_s = sqrt((1 - b)/(1 - a)) x - sqrt(b) (e^-h - 1) D. Without a previous x0, D = x0."""
    la, lb, shape = a.logit() / 2, b.logit() / 2, x
    x0 = predicted_x0(x, output, _rows(a, x), prediction, clip)
    d = x0
    if previous is not None and p is not None:
        half_over_r = _rows((lb - la) / (2 * (la - p.logit() / 2)), shape)
        d = x0 + half_over_r * (x0 - previous)
    return _rows(((1 - b) / (1 - a)).sqrt(), x) * x - _rows(b.sqrt() * torch.expm1(la - lb), x) * d, x0


def reparameterize(mu: Tensor, logvar: Tensor, n: Tensor) -> Tensor:
    """mu + sigma n, sigma = exp(logvar / 2)."""
    return mu + (logvar / 2).exp() * n


def gaussian_upsample(features: Tensor, scale: int, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """pixel_shuffle; halves of the channels are the mean and r; logvar = 10 tanh(r / 10); sample = mean + exp(logvar / 2) n."""
    mean, raw = torch.nn.functional.pixel_shuffle(features, scale).chunk(2, 1)
    logvar = 10 * torch.tanh(raw / 10)
    return reparameterize(mean, logvar, n), mean, logvar


def upsampler_loss(
    mu: Tensor, logvar: Tensor, z: Tensor, alpha_bar: Tensor, lambda_prior: float, lambda_match: float, n: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_t = sqrt(a) z + T n, T^2 = 1 - a, e = exp(logvar); means of (mu - x_t)^2, KL(N(mu, e) || N(0, 1)) = (mu^2 + e - 1 - logvar) / 2
    and KL(N(sqrt(a) z, T^2) || N(mu, e)) = (logvar - ln T^2 + (T^2 + (mu - sqrt(a) z)^2) / e - 1) / 2."""
    target, t2, e = _rows(alpha_bar.sqrt(), z) * z, _rows(1 - alpha_bar, z), logvar.clamp(-80, 80).exp()
    reconstruction = (mu - target - t2.sqrt() * n).square().mean()
    prior = ((mu.square() + e - 1 - logvar) / 2).mean()
    match = ((logvar - t2.log() + (t2 + (mu - target).square()) / e - 1) / 2).mean()
    return reconstruction + lambda_prior * prior + lambda_match * match, reconstruction, prior, match

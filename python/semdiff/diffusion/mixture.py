# SPDX-License-Identifier: Apache-2.0
"""A prior for which everything is known: its denoiser, its MMSE and its posterior are formulas, so a receiver can be checked against them.

For z of component k, N(m_k, v_k), and x = c z + sqrt(w) n, Bayes' rule for Gaussians gives

    x ~ N(c m_k, c^2 v_k + w)      E[z | x, k] = m_k + v_k c (x - c m_k) / (c^2 v_k + w)      Var[z | x, k] = v_k w / (c^2 v_k + w)

and p(k | x) is the softmax of ln(weight_k) + ln N(x; c m_k, c^2 v_k + w). The channel is c = 1, w = noise_var; diffusion is
c = sqrt(alpha_bar), w = 1 - alpha_bar.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from semdiff._util.arguments import to_tensor
from semdiff.diffusion.sampler import Denoiser, Prediction
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.rng import Key, KeyLike, normal


class MMSE(NamedTuple):
    """Squared error per element, and the standard error of that number (0 where it is a formula): float64, the shape of noise_var."""

    value: Tensor
    standard_error: Tensor


class _Components(NamedTuple):
    """What is known of z once x is: per component, all float64."""

    log_weights: Tensor  # (B, K), ln p(k | x)
    evidence: Tensor  # (B,), ln p(x)
    residual: Tensor  # (B, K, D), (x - c m_k) / (c^2 v_k + w)
    mean: Tensor  # (B, K, D), E[z | x, k]
    variance: Tensor  # (B, K, D), Var[z | x, k]


class GaussianMixture:
    """A mixture of K Gaussians with independent elements in D dimensions.

    means (K, D); variances (K,), one for all elements of a component, or (K, D), positive; weights (K,), positive, scaled to a sum of 1;
    None makes them equal. All are kept in float64 and all is computed in float64; results have the dtype of what is passed in. Data are
    (B, ...) with D elements a sample, of any shape. ValueError or TypeError, naming the argument, for what does not fit.
    """

    means: Tensor  # (K, D), float64
    variances: Tensor  # (K, D), float64
    weights: Tensor  # (K,), float64, sum 1

    def __init__(self, means: Any, variances: Any, weights: Any = None) -> None:
        self.means = _real(means, "means")
        if self.means.dim() != 2 or self.means.numel() == 0:
            raise ValueError(f"means: expected shape (K, D), got {tuple(self.means.shape)}")
        k, d = self.means.shape
        v = _real(variances, "variances")
        if v.shape not in ((k,), (k, d)):
            raise ValueError(f"variances: expected shape ({k},) or ({k}, {d}), got {tuple(v.shape)}")
        if not bool((v > 0).all()):
            raise ValueError("variances: expected positive numbers")
        self.variances = (v.unsqueeze(-1) if v.dim() == 1 else v).expand(k, d).contiguous()
        p = torch.ones(k, dtype=torch.float64, device="cpu") if weights is None else _real(weights, "weights")
        if p.shape != (k,):
            raise ValueError(f"weights: expected shape ({k},), got {tuple(p.shape)}")
        if not bool((p > 0).all()):
            raise ValueError("weights: expected positive numbers")
        self.weights = p / p.sum()

    @property
    def mean(self) -> Tensor:
        """E[z], shape (D,)."""
        return self.weights @ self.means

    @property
    def variance(self) -> Tensor:
        """Var[z] of each element, shape (D,): that within the components and that between them."""
        return self.weights @ (self.variances + (self.means - self.mean).square())

    def standardized(self) -> GaussianMixture:
        """The same shape moved to mean 0 and scaled, by one factor, to a variance of 1 on average over the elements."""
        scale = self.variance.mean()
        return GaussianMixture((self.means - self.mean) / scale.sqrt(), self.variances / scale, self.weights)

    def diffused(self, alpha_bar: float) -> GaussianMixture:
        """The law of x_t = sqrt(alpha_bar) z + sqrt(1 - alpha_bar) n. alpha_bar in (0, 1]."""
        if not 0 < alpha_bar <= 1:
            raise ValueError(f"alpha_bar: expected a number in (0, 1], got {alpha_bar}")
        return GaussianMixture(math.sqrt(alpha_bar) * self.means, alpha_bar * self.variances + (1 - alpha_bar), self.weights)

    def sample(self, n: int, key: KeyLike = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """n draws, shape (n, D). The first of them are those of a smaller n."""
        if n < 0:
            raise ValueError(f"n: expected a number >= 0, got {n}")
        which, noise = Key.of(key).split(2)
        k = _choose(self.weights.log().expand(n, -1), which)
        return (self.means[k] + self.variances[k].sqrt() * normal(self.means[k].shape, noise, torch.float64)).to(dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """ln p(x), shape (B,), float64. Differentiable: its gradient is the score."""
        one = torch.ones((), dtype=torch.float64, device="cpu")
        return self._given(self._flat(x, "x"), one, torch.zeros_like(one)).evidence.to(x.device)

    def posterior_mean(self, y: Tensor, noise_var: float | Tensor) -> Tensor:
        """E[z | y] for y = z + n, n ~ N(0, noise_var), in the shape of y: the least squared error.

        noise_var >= 0: (), (B,), or one for each element (as many dimensions as y, broadcastable to it), as fast fading has.
        """
        g = self._received(y, noise_var)
        return _mix(g, g.mean).reshape(y.shape).to(y)

    def posterior_variance(self, y: Tensor, noise_var: float | Tensor) -> Tensor:
        """Var[z | y] of each element, in the shape of y; its mean over y and elements is the MMSE. noise_var as in posterior_mean."""
        g = self._received(y, noise_var)
        mean = _mix(g, g.mean)
        return _mix(g, g.variance + (g.mean - mean.unsqueeze(1)).square()).reshape(y.shape).to(y)

    def posterior_sample(self, y: Tensor, noise_var: float | Tensor, key: KeyLike = None) -> Tensor:
        """One draw from p(z | y) for each y, in the shape of y: perfect realism, at exactly twice the MMSE. noise_var as above."""
        g = self._received(y, noise_var)
        which, noise = Key.of(key).split(2)
        rows = torch.arange(g.mean.shape[0], device="cpu")
        k = _choose(g.log_weights, which)
        draw = g.mean[rows, k] + g.variance[rows, k].sqrt() * normal(g.mean[:, 0].shape, noise, torch.float64)
        return draw.reshape(y.shape).to(y)

    def mmse(self, noise_var: float | Tensor, draws: int = 16384, key: KeyLike = None) -> MMSE:
        """The least mean squared error per element with which z can be told from z + n, n ~ N(0, noise_var). noise_var: any shape, >= 0.

        One component: the formula. One dimension: the integral of p(y) Var[z | y], by the trapezoidal rule, which is as good as exact
        for it. Else (or if the widest component is 10^3 times the narrowest) the mean of the exact Var[z | y] over `draws` received y,
        with its standard error; key None is Key(0) here, so that the number is the same every time.
        """
        levels, base = _noise(noise_var), Key(0) if key is None else Key.of(key)
        pairs = [self._mmse(level, draws, base) for level in levels.flatten()]
        value, error = torch.tensor(pairs, dtype=torch.float64, device="cpu").reshape(-1, 2).unbind(-1)
        return MMSE(value.reshape(levels.shape), error.reshape(levels.shape))

    def _mmse(self, w: Tensor, draws: int, key: Key) -> tuple[float, float]:
        k, d = self.means.shape
        if float(w) == 0:
            return 0.0, 0.0
        if k == 1:
            return float((self.variances * w / (self.variances + w)).mean()), 0.0
        # Steps of 1/16 of the narrowest component of p(y), out to 12 deviations of the widest: errors below rounding.
        spread = (self.variances + w).sqrt()
        low, high = float((self.means - 12 * spread).min()), float((self.means + 12 * spread).max())
        points = 2 + int((high - low) * 16 / float(spread.min()))
        if d == 1 and points < 1 << 19:
            y = torch.linspace(low, high, points, dtype=torch.float64, device="cpu").unsqueeze(-1)
            density = self._given(y, torch.ones((), dtype=torch.float64, device="cpu"), w).evidence.exp()
            return float(torch.trapezoid(density * self.posterior_variance(y, w).squeeze(-1), y.squeeze(-1))), 0.0
        if draws < 2:
            raise ValueError(f"draws: expected a number >= 2, got {draws}")
        from_prior, from_channel = key.split(2)
        z = self.sample(draws, from_prior, torch.float64)
        y = z + w.sqrt() * normal(z.shape, from_channel, torch.float64)
        # In pieces, because K * D numbers are needed for each draw.
        rows = max(1, (1 << 22) // (k * d))
        each = torch.cat([self.posterior_variance(part, w).mean(-1) for part in y.split(rows)])
        return float(each.mean()), float(each.std() / math.sqrt(draws))

    def denoiser(self, schedule: NoiseSchedule, prediction: Prediction = "eps") -> Denoiser:
        """The exact denoiser(x, t) for this prior: x (B, ...), t (B,) or (), real times of the schedule (-1 for clean data, not with eps).

        prediction: what it returns, "eps", "x0" or "v" (see semdiff.diffusion.sampler), in x's shape and dtype. Differentiable in x.
        """
        if prediction not in ("eps", "x0", "v"):
            raise ValueError(f"prediction: expected eps, x0 or v, got {prediction!r}")

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            flat = self._flat(x, "x")
            a = _per_sample(schedule.alpha_bar(t), flat, "t").unsqueeze(-1)
            g = self._given(flat, a.sqrt(), 1 - a)
            # E[n | x] from the residual, not from x - sqrt(alpha_bar) E[z | x], which cancels where little noise is left.
            eps = (1 - a).sqrt() * _mix(g, g.residual)
            if prediction == "eps":
                out = eps
            else:
                x0 = _mix(g, g.mean)
                out = x0 if prediction == "x0" else a.sqrt() * eps - (1 - a).sqrt() * x0
            return out.reshape(x.shape).to(x)

        return denoise

    def _flat(self, x: Tensor, name: str) -> Tensor:
        d = self.means.shape[1]
        if not isinstance(x, Tensor) or not x.is_floating_point():
            raise TypeError(f"{name}: expected a floating-point tensor, got {x.dtype if isinstance(x, Tensor) else type(x).__name__}")
        if x.dim() < 2 or math.prod(x.shape[1:]) != d:
            raise ValueError(f"{name}: expected shape (B, ...) with {d} elements a sample, got {tuple(x.shape)}")
        if x.is_meta:
            raise ValueError(f"{name}: expected a tensor with values, got one on meta")
        return x.reshape(x.shape[0], d).to("cpu", torch.float64)

    def _received(self, y: Tensor, noise_var: float | Tensor) -> _Components:
        flat = self._flat(y, "y")
        w = _noise(noise_var)
        if w.shape in ((), (y.shape[0],)):
            w = w.expand(y.shape[0]).unsqueeze(-1)
        elif w.dim() == y.dim() and all(a in (1, b) for a, b in zip(w.shape, y.shape, strict=True)):
            w = w.expand(y.shape).reshape(flat.shape)
        else:
            expected = f"() or ({y.shape[0]},), or one that broadcasts to {tuple(y.shape)}"
            raise ValueError(f"noise_var: expected shape {expected}, got {tuple(w.shape)}")
        return self._given(flat, torch.ones_like(w), w)

    def _given(self, x: Tensor, c: Tensor, w: Tensor) -> _Components:
        """The formulas at the top of this file. x (B, D); c, w: (B, 1), (B, D) or ()."""
        c, w = (v.unsqueeze(1) if v.dim() else v for v in (c, w))
        spread = c * c * self.variances + w  # (B, K, D) or (1, K, D)
        difference = x.unsqueeze(1) - c * self.means
        residual = difference / spread
        # ln N summed over D, joined by logsumexp: no probability is ever formed that could underflow.
        joint = self.weights.log() - 0.5 * (difference * residual + spread.log() + math.log(2 * math.pi)).sum(-1)
        evidence = joint.logsumexp(-1)
        mean = self.means + self.variances * c * residual
        variance = (self.variances * w / spread).expand(mean.shape)
        return _Components(joint - evidence.unsqueeze(-1), evidence, residual, mean, variance)

    def __repr__(self) -> str:
        k, d = self.means.shape
        return f"GaussianMixture(K={k}, D={d})"


def _real(value: Any, name: str) -> Tensor:
    try:
        tensor = torch.as_tensor(value, device="cpu").detach().to(torch.float64, copy=True)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name}: expected numbers, got {type(value).__name__}") from None
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name}: expected finite numbers")
    return tensor


def _noise(noise_var: float | Tensor) -> Tensor:
    w = to_tensor(noise_var, "noise_var").detach()
    if w.is_meta:
        raise ValueError("noise_var: expected a tensor with values, got one on meta")
    w = w.to("cpu", torch.float64)
    if not bool(((w >= 0) & w.isfinite()).all()):
        raise ValueError(f"noise_var: expected finite numbers >= 0, got {w.tolist()}")
    return w


def _per_sample(value: Tensor, x: Tensor, name: str) -> Tensor:
    if value.shape not in ((), (x.shape[0],)):
        raise ValueError(f"{name}: expected shape () or ({x.shape[0]},), got {tuple(value.shape)}")
    return value.expand(x.shape[0])


def _mix(g: _Components, values: Tensor) -> Tensor:
    """The mean over the components, weighted by p(k | x): (B, K, D) to (B, D)."""
    mixed: Tensor = g.log_weights.exp().unsqueeze(1) @ values
    return mixed.squeeze(1)


def _choose(log_weights: Tensor, key: Key) -> Tensor:
    """One component for each row, by inverting the distribution function at a uniform number, Phi(normal)."""
    uniform: Tensor = torch.special.ndtr(normal(log_weights.shape[:1], key, torch.float64))
    steps: Tensor = log_weights.exp().cumsum(-1)
    return (steps < uniform.unsqueeze(-1)).sum(-1).clamp_max(log_weights.shape[1] - 1)

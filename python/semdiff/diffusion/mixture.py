# SPDX-License-Identifier: Apache-2.0
"""A prior for which everything is known: its denoiser, its MMSE and its posterior are formulas, so a receiver can be checked against them.

The formulas are at the top of semdiff.diffusion.components.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from semdiff._util.arguments import to_tensor
from semdiff._util.named_tuples import with_field_docs
from semdiff.diffusion.components import Components, choose, condition, mix
from semdiff.diffusion.sampler import Denoiser, Prediction
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.rng import Key, KeyLike, normal


@with_field_docs
class MMSE(NamedTuple):
    """Hold a least mean squared error, float64, in the shape of noise_var.

    Attributes:
        value: The error of each element.
        standard_error: Of that number; 0 where it is a formula.
    """

    value: Tensor
    standard_error: Tensor


class GaussianMixture:
    """Know everything of a prior: a mixture of K Gaussians with independent elements in D dimensions.

    All is computed in float64 on the CPU; results have the dtype and device of what is passed in. Data are (B, ...) with D elements a
    sample, of any shape. The formulas are at the top of semdiff.diffusion.components.

    Args:
        means: Numbers, (K, D).
        variances: Positive, (K,), one for all elements of a component, or (K, D).
        weights: Positive, (K,), scaled to a sum of 1; None makes them equal.

    Raises:
        TypeError: An argument holds other things than numbers.
        ValueError: An argument of another shape, not finite or not positive.

    Example:
        >>> import semdiff
        >>> prior = GaussianMixture([[1.0, 0.0], [-1.0, 0.0]], [0.1, 0.1])
        >>> prior, prior.variance
        (GaussianMixture(K=2, D=2), tensor([1.1000, 0.1000], dtype=torch.float64))
        >>> z = prior.sample(1000, semdiff.Key(0))
        >>> y = z + 0.5 * semdiff.normal(z.shape, semdiff.Key(1))
        >>> error = (prior.posterior_mean(y, 0.25) - z).square().mean()
        >>> (error - prior.mmse(0.25).value).abs() < 0.02
        tensor(True)
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
        """E[z], float64, (D,)."""
        return self.weights @ self.means

    @property
    def variance(self) -> Tensor:
        """Var[z] of each element, float64, (D,): that within the components and that between them."""
        return self.weights @ (self.variances + (self.means - self.mean).square())

    def standardized(self) -> GaussianMixture:
        """Move the mixture to mean 0 and scale it, by one factor, to a variance of 1 on average over the elements.

        Returns:
            The new mixture.

        Example:
            >>> float(GaussianMixture([[0.0, 4.0]], [9.0]).standardized().variance.mean())
            1.0
        """
        scale = self.variance.mean()
        return GaussianMixture((self.means - self.mean) / scale.sqrt(), self.variances / scale, self.weights)

    def diffused(self, alpha_bar: float) -> GaussianMixture:
        """Return the law of x_t = sqrt(alpha_bar) z + sqrt(1 - alpha_bar) n, a mixture again.

        Args:
            alpha_bar: A number in (0, 1].

        Returns:
            The new mixture.

        Raises:
            ValueError: alpha_bar is out of range.

        Example:
            >>> GaussianMixture([[2.0]], [3.0]).diffused(0.25).variance
            tensor([1.5000], dtype=torch.float64)
        """
        if not 0 < alpha_bar <= 1:
            raise ValueError(f"alpha_bar: expected a number in (0, 1], got {alpha_bar}")
        return GaussianMixture(math.sqrt(alpha_bar) * self.means, alpha_bar * self.variances + (1 - alpha_bar), self.weights)

    def sample(self, n: int, key: KeyLike = None, dtype: torch.dtype = torch.float32) -> Tensor:
        """Draw from the prior.

        Args:
            n: How many, >= 0. The first draws are those of a smaller n.
            key: Of the draws.
            dtype: Of the result, floating-point.

        Returns:
            The draws, (n, D).

        Raises:
            ValueError: n is negative.

        Example:
            >>> import semdiff
            >>> GaussianMixture([[0.0, 1.0]], [1.0]).sample(3, semdiff.Key(0)).shape
            torch.Size([3, 2])
        """
        if n < 0:
            raise ValueError(f"n: expected a number >= 0, got {n}")
        which, noise = Key.of(key).split(2)
        k = choose(self.weights.log().expand(n, -1), which)
        return (self.means[k] + self.variances[k].sqrt() * normal(self.means[k].shape, noise, torch.float64)).to(dtype)

    def log_prob(self, x: Tensor) -> Tensor:
        """Evaluate ln p(x).

        Args:
            x: Data, (B, ...), floating-point.

        Returns:
            ln p(x), float64, (B,). Differentiable: its gradient is the score.

        Raises:
            TypeError: x is no floating-point tensor.
            ValueError: x has not D elements a sample.

        Example:
            >>> import torch
            >>> GaussianMixture([[0.0]], [1.0]).log_prob(torch.zeros(1, 1))  # -ln sqrt(2 pi)
            tensor([-0.9189], dtype=torch.float64)
        """
        one = torch.ones((), dtype=torch.float64, device="cpu")
        return self._condition(self._flat(x, "x"), one, torch.zeros_like(one)).evidence.to(x.device)

    def posterior_mean(self, y: Tensor, noise_var: float | Tensor) -> Tensor:
        """Compute E[z | y] for y = z + n, n ~ N(0, noise_var): the estimate of least squared error.

        Args:
            y: What was received, (B, ...), floating-point.
            noise_var: >= 0: a number, (B,), or one for each element (as many dimensions as y, broadcastable to it), as fast fading has.

        Returns:
            The mean, in the shape and dtype of y. Differentiable in y.

        Raises:
            TypeError: An argument of another type.
            ValueError: An argument of another shape, or a noise_var that is negative or not finite.

        Example:
            >>> import torch
            >>> GaussianMixture([[0.0]], [1.0]).posterior_mean(torch.ones(1, 1), 1.0)
            tensor([[0.5000]])
        """
        g = self._received(y, noise_var)
        return mix(g, g.mean).reshape(y.shape).to(y)

    def posterior_variance(self, y: Tensor, noise_var: float | Tensor) -> Tensor:
        """Compute Var[z | y] of each element; its mean over y and elements is the MMSE.

        Args:
            y: As in `posterior_mean`.
            noise_var: As in `posterior_mean`.

        Returns:
            The variance, in the shape and dtype of y.

        Raises:
            TypeError: As `posterior_mean`.
            ValueError: As `posterior_mean`.

        Example:
            >>> import torch
            >>> GaussianMixture([[0.0]], [1.0]).posterior_variance(torch.ones(1, 1), 1.0)
            tensor([[0.5000]])
        """
        g = self._received(y, noise_var)
        mean = mix(g, g.mean)
        return mix(g, g.variance + (g.mean - mean.unsqueeze(1)).square()).reshape(y.shape).to(y)

    def posterior_sample(self, y: Tensor, noise_var: float | Tensor, key: KeyLike = None) -> Tensor:
        """Draw once from p(z | y) for each y: perfect realism, at exactly twice the MMSE.

        Args:
            y: As in `posterior_mean`.
            noise_var: As in `posterior_mean`.
            key: Of the draw.

        Returns:
            The draws, in the shape and dtype of y.

        Raises:
            TypeError: As `posterior_mean`.
            ValueError: As `posterior_mean`.

        Example:
            >>> import torch, semdiff
            >>> GaussianMixture([[0.0] * 4], [1.0]).posterior_sample(torch.ones(3, 2, 2), 1.0, semdiff.Key(0)).shape
            torch.Size([3, 2, 2])
        """
        g = self._received(y, noise_var)
        which, noise = Key.of(key).split(2)
        rows = torch.arange(g.mean.shape[0], device="cpu")
        k = choose(g.log_weights, which)
        draw = g.mean[rows, k] + g.variance[rows, k].sqrt() * normal(g.mean[:, 0].shape, noise, torch.float64)
        return draw.reshape(y.shape).to(y)

    def mmse(self, noise_var: float | Tensor, draws: int = 16384, key: KeyLike = None) -> MMSE:
        """Compute the least mean squared error of each element with which z can be told from z + n, n ~ N(0, noise_var).

        One component: the formula. One dimension: the integral of p(y) Var[z | y], by the trapezoidal rule, which is as good as exact
        for it. Else (or if the widest component is 10^3 times the narrowest) the mean of the exact Var[z | y] over `draws` received y.

        Args:
            noise_var: >= 0: a number or a floating-point tensor of any shape.
            draws: Of y, >= 2, where the error is an average.
            key: Of these draws; None is Key(0) here, so that the number is the same every time.

        Returns:
            `MMSE` (value, standard_error), float64, in the shape of noise_var.

        Raises:
            TypeError: noise_var is no number.
            ValueError: noise_var is negative or not finite, or too few draws.

        Example:
            >>> GaussianMixture([[0.0]], [1.0]).mmse(1.0).value
            tensor(0.5000, dtype=torch.float64)
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
            density = self._condition(y, torch.ones((), dtype=torch.float64, device="cpu"), w).evidence.exp()
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
        """Make the exact denoiser for this prior.

        Args:
            schedule: The `NoiseSchedule` of the times that it is told.
            prediction: What it returns: "eps", "x0" or "v" (see semdiff.diffusion.steps).

        Returns:
            denoiser(x, t): x (B, ...), t (B,) or (), real times of the schedule (-1 for clean data, not with "eps"). Its output is of x's
            shape and dtype, and differentiable in x.

        Raises:
            ValueError: Another prediction.

        Example:
            >>> import torch, semdiff
            >>> denoiser = GaussianMixture([[0.0] * 4], [1.0]).denoiser(semdiff.NoiseSchedule.linear(), "x0")
            >>> denoiser(torch.ones(2, 4), torch.tensor([10.0, 900.0])).shape
            torch.Size([2, 4])
        """
        if prediction not in ("eps", "x0", "v"):
            raise ValueError(f"prediction: expected eps, x0 or v, got {prediction!r}")

        def denoise(x: Tensor, t: Tensor) -> Tensor:
            flat = self._flat(x, "x")
            a = _per_sample(schedule.alpha_bar(t), flat, "t").unsqueeze(-1)
            g = self._condition(flat, a.sqrt(), 1 - a)
            # E[n | x] from the residual, not from x - sqrt(alpha_bar) E[z | x], which cancels where little noise is left.
            eps = (1 - a).sqrt() * mix(g, g.residual)
            if prediction == "eps":
                out = eps
            else:
                x0 = mix(g, g.mean)
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

    def _received(self, y: Tensor, noise_var: float | Tensor) -> Components:
        flat = self._flat(y, "y")
        w = _noise(noise_var)
        if w.shape in ((), (y.shape[0],)):
            w = w.expand(y.shape[0]).unsqueeze(-1)
        elif w.dim() == y.dim() and all(a in (1, b) for a, b in zip(w.shape, y.shape, strict=True)):
            w = w.expand(y.shape).reshape(flat.shape)
        else:
            expected = f"() or ({y.shape[0]},), or one that broadcasts to {tuple(y.shape)}"
            raise ValueError(f"noise_var: expected shape {expected}, got {tuple(w.shape)}")
        return self._condition(flat, torch.ones_like(w), w)

    def _condition(self, x: Tensor, c: Tensor, w: Tensor) -> Components:
        return condition(self.means, self.variances, self.weights, x, c, w)

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

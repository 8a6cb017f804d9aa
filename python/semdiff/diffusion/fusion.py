# SPDX-License-Identifier: Apache-2.0
"""A state whose elements have times of their own (fast fading), for a denoiser that knows one time for a sample.

The state says y_i = z_i + n_i, n_i ~ N(0, v_i). A denoiser that is given x and told the noise w returns D, and, to second order, a belief
N(D, eta) about each element in which x_i has the weight 1/w. What y_i is worth is 1/v_i, so its weight is put right after the fact:

    z_i = (D_i / eta + y_i / v_i - x_i / w) / (1 / eta + 1 / v_i - 1 / w)

the exact conditional mean for independent Gaussian z, and no change where v_i = w. The prior's own message, N(D, eta) without x_i, is the
extrinsic one of turbo decoding and of approximate message passing (Ma and Ping, "Orthogonal AMP", 2017); Gaussian data consistency as in
posterior sampling. eta costs no evaluation: for x = z + n and D = E[z | x] errors are orthogonal, so E(x - D)^2 = w - eta.

An element that goes from its own noise v to another level w goes as for that message as prior, N(m, P); V = (P + w) (v - w) / (P + v),

    x_w = m + sqrt((P + w - eta^2 V) / (P + v)) (y - m) + eta sqrt(V) n

the exact probability flow for eta = 0, an exact draw from p(x_w | y) for eta = 1 (that eta is the solver's).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from semdiff._util.child_keys import MOVING, WAITING
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.rng import Key, normal


class Belief(NamedTuple):
    """Hold what is known of z at one time, in the state's working dtype."""

    x0: Tensor  # the fused estimate, in the state's own dtype, for the solver
    prior_mean: Tensor  # the extrinsic message N(prior_mean, prior_var) of the others about each element
    prior_var: Tensor  # (B, 1, ...)


class Elements:
    """Hold what each element has measured: y = z + n and Var n, from a state x_t with t in the shape of x."""

    def __init__(self, x: Tensor, t: Tensor, schedule: NoiseSchedule, key: Key | None = None, eta: float = 0.0) -> None:
        if t.shape != x.shape:
            raise ValueError(f"state.t: expected shape ({x.shape[0]},) or that of state.x, {tuple(x.shape)}, got {tuple(t.shape)}")
        self.schedule, self.key, self.eta, self.dtype = schedule, key, eta, x.dtype
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        # An element without noise, or of noise alone (a zero terminal SNR), as one that is nearly so: no number is infinite.
        a = schedule.alpha_bar(t).clamp(1e-12, 1 - 1e-12)
        self._worth = a.flatten(1).mean(1)  # G of semdiff.diffusion.matching: 1 / (1 + v) is alpha_bar
        self._a = a.to(x.device, wide)
        self.noise_var = ((1 - a) / a).to(x.device, wide)
        self.y = x.to(wide) / self._a.sqrt()
        self._waiting = normal(x.shape, key.fold_in(WAITING), wide, x.device) if key else torch.zeros_like(self.y)
        self._moving = normal(x.shape, key.fold_in(MOVING), wide, x.device) if key and eta > 0 else torch.zeros_like(self.y)

    def start(self) -> tuple[Tensor, Tensor]:
        """Return x_t and t (B,) for the denoiser: the second-order match (spread="mean") of the sample as a whole."""
        t = self.schedule.timestep((1 - self._worth) / self._worth)
        x = self.y * self._a / self._rows(self._worth.sqrt())
        return x.to(self.dtype), t

    def fuse(self, x: Tensor, x0: Tensor, t: Tensor, first: bool, clip: float | None) -> Belief:
        """Put the weights of the measurements right in the denoiser's x0 for x_t.

        At first for every element; later for those that wait only: x_t has all that the others' measurements can tell.
        """
        a = self._rows(self.schedule.alpha_bar(t))
        w, z = (1 - a) / a, x0.to(self.y.dtype)
        told = x.to(self.y.dtype) / a.sqrt()
        # Bounded by the prior alone, eta = w / (1 + w), and below by 1 % of w, where the difference w - E(x - D)^2 drowns.
        eta = w - self._rows((told - z).square().flatten(1).mean(1))
        eta = torch.minimum(torch.maximum(eta, 0.01 * w), w / (1 + w))
        fused = (z / eta + self.y / self.noise_var - told / w) / (1 / eta + 1 / self.noise_var - 1 / w)
        if clip is not None:
            fused = fused.clamp(-clip, clip)
        if not first:
            fused = torch.where(self.noise_var < w, fused, z)
        prior_var = 1 / (1 / eta - 1 / w)
        return Belief(fused.to(self.dtype), prior_var * (z / eta - told / w), prior_var)

    def gather(self, x: Tensor, belief: Belief, t: Tensor) -> Tensor:
        """Return the x_t that the first step starts from: elements noisier than t are brought to it. (`place` sees to the others.)"""
        a = self._rows(self.schedule.alpha_bar(t))
        w = (1 - a) / a
        return torch.where(self.noise_var > w, (a.sqrt() * self._moved(belief, w)).to(self.dtype), x)

    def place(self, moved: Tensor, belief: Belief, t: Tensor, s: Tensor) -> Tensor:
        """Return x_s of all elements, from what a solver moved from t to s.

        One that is still better measured than s waits: it is its measurement, topped up to s by the same draw at every step. One that is
        reached between t and s goes from its own time. The others are `moved`.
        """
        a = self._rows(self.schedule.alpha_bar(s))
        w, v = (1 - a) / a, self.noise_var
        waiting = self.y + (w - v).clamp_min(0).sqrt() * self._waiting
        unmoved = (a.sqrt() * torch.where(v > w, self._moved(belief, w), waiting)).to(self.dtype)
        # Those that are at t but for rounding are the solver's.
        return torch.where(v < (1 - 1e-6) * self._rows(self.schedule.noise_var(t)), unmoved, moved)

    def _moved(self, belief: Belief, w: Tensor) -> Tensor:
        """Take each element from its noise to w, which is less (elsewhere what comes out is not used)."""
        v, m, p = self.noise_var, belief.prior_mean, belief.prior_var
        fresh = self.eta**2 * (p + w) * (v - w).clamp_min(0) / (p + v)
        return m + ((p + w - fresh).clamp_min(0) / (p + v)).sqrt() * (self.y - m) + fresh.sqrt() * self._moving

    def _rows(self, values: Tensor) -> Tensor:
        return values.to(self.y.device, self.y.dtype).reshape(-1, *(1,) * (self.y.dim() - 1))

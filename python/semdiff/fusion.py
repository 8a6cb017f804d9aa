# SPDX-License-Identifier: Apache-2.0
"""A state whose elements have times of their own (fast fading), for a denoiser that knows one time for a sample.

The state says y_i = z_i + n_i, n_i ~ N(0, v_i). A denoiser that is given x and told the noise w returns D, and, to second order, a belief
N(D, eta) about each element in which x_i has the weight 1/w. What y_i is worth is 1/v_i, so its weight is put right after the fact:

    z_i = (D_i / eta + y_i / v_i - x_i / w) / (1 / eta + 1 / v_i - 1 / w)

the exact conditional mean for independent Gaussian z, and no change where v_i = w. The prior's own message, N(D, eta) without x_i, is the
extrinsic one of turbo decoding and of approximate message passing (Ma and Ping, "Orthogonal AMP", 2017); Gaussian data consistency as in
posterior sampling. eta costs no evaluation: for x = z + n and D = E[z | x] errors are orthogonal, so E(x - D)^2 = w - eta.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semdiff.rng import Key, normal
from semdiff.schedule import NoiseSchedule

_WAITING = 1 << 32  # the child key for the noise that waiting elements wear: never the number of a step


class Elements:
    """What each element has measured: y = z + n and Var n, from a state x_t with t in the shape of x."""

    def __init__(self, x: Tensor, t: Tensor, schedule: NoiseSchedule, key: Key | None = None) -> None:
        if t.shape != x.shape:
            raise ValueError(f"state.t: expected shape ({x.shape[0]},) or that of state.x, {tuple(x.shape)}, got {tuple(t.shape)}")
        self.schedule = schedule
        self.dtype = x.dtype
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        a = schedule.alpha_bar(t)
        self.noise_var = ((1 - a) / a).to(x.device, wide)
        self.y = x.to(wide) / a.to(x.device, wide).sqrt()
        self._worth = a.flatten(1).mean(1)  # G of semdiff.matching: 1 / (1 + v) is alpha_bar
        self._a = a.to(x.device, wide)
        self._noise = normal(x.shape, key.fold_in(_WAITING), wide, x.device) if key is not None else None

    def start(self) -> tuple[Tensor, Tensor]:
        """x_t and t (B,) for the denoiser: the second-order match (spread="mean") of the sample as a whole."""
        t = self.schedule.timestep((1 - self._worth) / self._worth)
        x = self.y * self._a / self._rows(self._worth.sqrt())
        return x.to(self.dtype), t

    def fuse(self, x: Tensor, x0: Tensor, t: Tensor, first: bool, clip: float | None) -> Tensor:
        """The denoiser's x0 for x_t with the weights of the measurements put right.

        At first for every element; later for those that wait only: x_t has all that the others' measurements can tell.
        """
        a = self._rows(self.schedule.alpha_bar(t))
        w, z = (1 - a) / a, x0.to(self.y.dtype)
        told = x.to(self.y.dtype) / a.sqrt()
        # Bounded by the prior alone, eta = w / (1 + w), and below by 1 % of w, where the difference w - E(x - D)^2 drowns.
        eta = w - self._rows((told - z).square().flatten(1).mean(1))
        eta = torch.minimum(torch.maximum(eta, 0.01 * w), w / (1 + w))
        precision, information = 1 / self.noise_var - 1 / w, self.y / self.noise_var - told / w
        fused = (z / eta + information) / (1 / eta + precision)
        if clip is not None:
            fused = fused.clamp(-clip, clip)
        return (fused if first else torch.where(self.noise_var < w, fused, z)).to(self.dtype)

    def place(self, moved: Tensor, x0: Tensor, t: Tensor, s: Tensor, first: bool, eta: float, key: Key | None) -> Tensor:
        """x_s of all elements, from what a solver moved from t to s.

        One that is still better measured than s waits: it is its measurement, topped up to s by the same draw at every step. One that is
        reached between t and s (and at first every noisier one) is moved from its own time by DDIM. The others are `moved`.
        """
        a, v = self._rows(self.schedule.alpha_bar(s)), self.noise_var
        w = (1 - a) / a
        fresh = eta * (w * (1 - w / v).clamp_min(0)).sqrt()
        unmoved = x0.to(v.dtype) + (w - fresh * fresh).clamp_min(0).sqrt() * (self.y - x0) / v.sqrt()
        if key is not None:
            unmoved = unmoved + fresh * normal(v.shape, key, v.dtype, v.device)
        if self._noise is not None:
            unmoved = torch.where(v > w, unmoved, self.y + (w - v).clamp_min(0).sqrt() * self._noise)
        unmoved = (a.sqrt() * unmoved).to(self.dtype)
        return unmoved if first else torch.where(v < self._rows(self.schedule.noise_var(t)), unmoved, moved)

    def _rows(self, values: Tensor) -> Tensor:
        return values.to(self.y.device, self.y.dtype).reshape(-1, *(1,) * (self.y.dim() - 1))

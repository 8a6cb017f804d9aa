# SPDX-License-Identifier: Apache-2.0
"""The diffusion clock: how much signal is left at each time, and which time has a given amount of noise."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import check_tensor, to_count, to_number, to_tensor, to_times

Rounding = Literal["none", "ceil", "nearest"]

# Fields of a scheduler's configuration, with the value under which alphas_cumprod is not what its network was trained on.
_FOREIGN = (("use_flow_sigmas", True), ("prediction_type", "flow_prediction"), ("timestep_type", "continuous"))


class NoiseSchedule:
    """alpha_bar[0..T-1] of a variance-preserving diffusion, q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, 1 - alpha_bar_t).

    Time t is a real number in [0, T-1]: an integer indexes the table, a fraction interpolates ln SNR = ln(alpha_bar / (1 - alpha_bar))
    linearly. t = -1 means clean data, alpha_bar = 1.

    The first step may be clean data and the last one noise alone, alpha_bar = 0 (a zero terminal SNR): beside those, where ln SNR is
    infinite, a fraction interpolates alpha_bar itself. No channel's noise reaches alpha_bar = 0.
    """

    alphas_cumprod: Tensor  # float64, shape (T,), on the CPU, strictly falling, in [0, 1]
    mixed: Tensor  # its numbers in (0, 1): the steps that are neither clean data nor noise alone

    def __init__(self, alphas_cumprod: Tensor) -> None:
        check_tensor(alphas_cumprod, "alphas_cumprod")
        if alphas_cumprod.is_meta or alphas_cumprod.is_complex():
            raise ValueError(f"alphas_cumprod: expected real numbers, got {alphas_cumprod.dtype} on {alphas_cumprod.device}")
        table = alphas_cumprod.detach().to("cpu", torch.float64).contiguous().clone()
        if table.dim() != 1 or table.numel() < 1:
            raise ValueError(f"alphas_cumprod: expected shape (T,) with T >= 1, got {tuple(table.shape)}")
        if not bool(((table >= 0) & (table <= 1)).all()):
            raise ValueError("alphas_cumprod: expected numbers in [0, 1]")
        if not bool((table.diff() < 0).all()):
            raise ValueError("alphas_cumprod: expected strictly falling numbers")
        mixed = table[(table > 0) & (table < 1)]
        if mixed.numel() == 0:
            raise ValueError(f"alphas_cumprod: expected a number between 0 and 1, got {table.tolist()}")
        self.alphas_cumprod, self.mixed = table, mixed

    @classmethod
    def scaled_linear(cls, T: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> NoiseSchedule:
        """sqrt(beta) linear in t: the schedule of latent diffusion (Rombach et al., 2022). T in [1, 10^6]."""
        return cls(_table("scaled_linear", T, beta_start, beta_end))

    @classmethod
    def linear(cls, T: int = 1000, beta_start: float = 0.0001, beta_end: float = 0.02) -> NoiseSchedule:
        """beta linear in t (Ho, Jain, Abbeel, 2020). T in [1, 10^6]."""
        return cls(_table("linear", T, beta_start, beta_end))

    @classmethod
    def cosine(cls, T: int = 1000) -> NoiseSchedule:
        """alpha_bar a squared cosine (Nichol and Dhariwal, 2021), beta capped at 0.999. T in [1, 10^6]."""
        return cls(_table("cosine", T, 0.0, 0.0))

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Any) -> NoiseSchedule:
        """Any table of alpha_bar: shape (T,), strictly falling, in [0, 1]."""
        return cls(_tensor(alphas_cumprod))

    @classmethod
    def from_diffusers(cls, scheduler: Any) -> NoiseSchedule:
        """The schedule of a diffusers scheduler, that of its training: what only chooses times for sampling is not looked at.

        TypeError if it has no alphas_cumprod. ValueError if its configuration says that the network's noise levels or times are not those
        of that table: flow matching (use_flow_sigmas, flow_prediction) and continuous times (timestep_type).
        """
        table = getattr(scheduler, "alphas_cumprod", None)
        if table is None:
            raise TypeError(f"scheduler: expected one with alphas_cumprod, got {type(scheduler).__name__}")
        config = dict(getattr(scheduler, "config", {}))
        for field, foreign in _FOREIGN:
            if config.get(field) == foreign:
                raise ValueError(
                    f"scheduler: expected a network that is told steps of alphas_cumprod, got {type(scheduler).__name__} with "
                    f"{field} = {foreign!r}, whose noise levels or times are others"
                )
        table = _tensor(table)
        if config.get("rescale_betas_zero_snr"):
            # Training had 0 there. Solvers that divide by alpha put 2^-24 in its place, which may even lie above the step before.
            table = table.detach().clone()
            table[-1] = 0
        return cls(table)

    @property
    def T(self) -> int:
        return self.alphas_cumprod.numel()

    def alpha_bar(self, t: float | Tensor) -> Tensor:
        """alpha_bar at each t, float64, the shape of t. ValueError for t outside [0, T-1] and not -1."""
        return ops.alpha_bar.default(self.alphas_cumprod, to_times(t, "t"))  # type: ignore[no-any-return]

    def noise_var(self, t: float | Tensor) -> Tensor:
        """The noise variance per element of x_t / sqrt(alpha_bar_t): (1 - alpha_bar) / alpha_bar, the channel's side of the match.

        Infinite where alpha_bar is 0.
        """
        a = self.alpha_bar(t)
        return (1 - a) / a

    def timestep(self, noise_var: float | Tensor, rounding: Rounding = "none") -> Tensor:
        """The time whose alpha_bar is 1 / (1 + noise_var), for data of unit variance: float64, the shape of noise_var.

        rounding: "none" gives a real time, "ceil" the first step at least as noisy, "nearest" the nearest step. Saturates at 0 and T-1.
        ValueError for a negative, infinite or NaN noise variance.
        """
        if rounding not in get_args(Rounding):
            raise ValueError(f"rounding: expected none, ceil or nearest, got {rounding!r}")
        return ops.timestep.default(self.alphas_cumprod, to_tensor(noise_var, "noise_var").detach(), rounding)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        table = self.alphas_cumprod
        return f"NoiseSchedule(T={self.T}, alpha_bar={table[0].item():.6g}..{table[-1].item():.6g})"


def check_schedule(schedule: Any) -> None:
    """TypeError unless it is a NoiseSchedule."""
    if not isinstance(schedule, NoiseSchedule):
        raise TypeError(f"schedule: expected a NoiseSchedule, got {type(schedule).__name__}")


def _table(kind: str, steps: Any, beta_start: Any, beta_end: Any) -> Tensor:
    betas = (to_number(beta, name, "a number") for beta, name in ((beta_start, "beta_start"), (beta_end, "beta_end")))
    return ops.alphas_cumprod.default(kind, to_count(steps, "T", 1, 10**6), *betas)  # type: ignore[no-any-return]


def _tensor(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values
    try:
        # as_tensor moves a tensor to the default device unless one is named.
        return torch.as_tensor(values, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"alphas_cumprod: expected numbers, got {type(values).__name__}") from None

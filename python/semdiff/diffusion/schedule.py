# SPDX-License-Identifier: Apache-2.0
"""Tell how much signal is left at each time of a diffusion, and which time has a given amount of noise."""

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
    """Tell how much signal a variance-preserving diffusion leaves at each time: q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, 1 - alpha_bar_t).

    Time t is a real number in [0, T-1]: an integer indexes the table, a fraction interpolates ln SNR = ln(alpha_bar / (1 - alpha_bar))
    linearly. t = -1 means clean data, alpha_bar = 1.

    The first step may be clean data and the last one noise alone, alpha_bar = 0 (a zero terminal SNR): beside those, where ln SNR is
    infinite, a fraction interpolates alpha_bar itself. No channel's noise reaches alpha_bar = 0.

    Times are read on the host: the table and what the methods return are on the CPU, and a t on an accelerator is waited for.

    Args:
        alphas_cumprod: The table alpha_bar[0..T-1]: real, (T,), strictly falling, in [0, 1]. Copied to the CPU as float64.

    Raises:
        TypeError: alphas_cumprod is no tensor (`from_alphas_cumprod` takes other sequences).
        ValueError: Numbers that do not fall strictly, or none between 0 and 1.

    Example:
        >>> import semdiff
        >>> schedule = semdiff.NoiseSchedule.scaled_linear()
        >>> schedule
        NoiseSchedule(T=1000, alpha_bar=0.99915..0.0046601)
        >>> t = schedule.timestep(0.1)  # the time of noise of variance 0.1: 10 dB
        >>> t.round(decimals=2), schedule.noise_var(t).round(decimals=6)
        (tensor(87.8000, dtype=torch.float64), tensor(0.1000, dtype=torch.float64))
    """

    alphas_cumprod: Tensor  # float64, shape (T,), on the CPU, strictly falling, in [0, 1]
    ends: tuple[float, float]  # the last and the first of its numbers in (0, 1): of steps that are neither clean data nor noise alone
    clearest: Tensor  # ln SNR of the first of them

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
        self.alphas_cumprod, self.ends, self.clearest = table, (mixed[-1].item(), mixed[0].item()), mixed[0].logit()

    @classmethod
    def scaled_linear(cls, T: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012) -> NoiseSchedule:
        """Make the schedule of latent diffusion, sqrt(beta) linear in t (Rombach et al., 2022).

        Args:
            T: Steps, 1 to 10^6.
            beta_start: Of the first step, 0 < beta_start <= beta_end.
            beta_end: Of the last step, below 1.

        Returns:
            The schedule.

        Raises:
            TypeError: An argument is no number.
            ValueError: An argument is out of its range.

        Example:
            >>> NoiseSchedule.scaled_linear().T
            1000
        """
        return cls(_table("scaled_linear", T, beta_start, beta_end))

    @classmethod
    def linear(cls, T: int = 1000, beta_start: float = 0.0001, beta_end: float = 0.02) -> NoiseSchedule:
        """Make the schedule of DDPM, beta linear in t (Ho, Jain, Abbeel, 2020).

        Args:
            T: Steps, 1 to 10^6.
            beta_start: Of the first step, 0 < beta_start <= beta_end.
            beta_end: Of the last step, below 1.

        Returns:
            The schedule.

        Raises:
            TypeError: An argument is no number.
            ValueError: An argument is out of its range.

        Example:
            >>> NoiseSchedule.linear(500).T
            500
        """
        return cls(_table("linear", T, beta_start, beta_end))

    @classmethod
    def cosine(cls, T: int = 1000) -> NoiseSchedule:
        """Make the schedule whose alpha_bar is a squared cosine, beta capped at 0.999 (Nichol and Dhariwal, 2021).

        Args:
            T: Steps, 1 to 10^6.

        Returns:
            The schedule.

        Raises:
            TypeError: T is no integer.
            ValueError: T is out of its range.

        Example:
            >>> NoiseSchedule.cosine(100).T
            100
        """
        return cls(_table("cosine", T, 0.0, 0.0))

    @classmethod
    def from_alphas_cumprod(cls, alphas_cumprod: Any) -> NoiseSchedule:
        """Make a schedule from any table of alpha_bar.

        Args:
            alphas_cumprod: A tensor, an array or a sequence of numbers, (T,), strictly falling, in [0, 1]. torch reads a sequence in its
                default dtype, float32.

        Returns:
            The schedule.

        Raises:
            TypeError: alphas_cumprod holds other things than numbers.
            ValueError: Numbers that do not fall strictly, or none between 0 and 1.

        Example:
            >>> NoiseSchedule.from_alphas_cumprod([0.9, 0.5, 0.1]).T
            3
        """
        return cls(_tensor(alphas_cumprod))

    @classmethod
    def from_diffusers(cls, scheduler: Any) -> NoiseSchedule:
        """Take the schedule of a diffusers scheduler, that of its training: what only chooses times for sampling is not looked at.

        Args:
            scheduler: Any of diffusers' schedulers with alphas_cumprod, such as pipe.scheduler.

        Returns:
            The schedule.

        Raises:
            TypeError: scheduler has no alphas_cumprod.
            ValueError: Its configuration says that the network's noise levels or times are not those of that table: flow matching
                (use_flow_sigmas, flow_prediction) and continuous times (timestep_type).

        Example:
            >>> from types import SimpleNamespace
            >>> NoiseSchedule.from_diffusers(SimpleNamespace(alphas_cumprod=[0.9, 0.5, 0.1])).T
            3
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
        """The number of steps."""
        return self.alphas_cumprod.numel()

    def alpha_bar(self, t: float | Tensor) -> Tensor:
        """Look up or interpolate alpha_bar.

        Args:
            t: Times in [0, T-1], or -1: a number or a tensor of any shape, floating-point or of integers.

        Returns:
            alpha_bar at each t, float64, in the shape of t, on the CPU.

        Raises:
            TypeError: t is no number and no tensor of numbers.
            ValueError: A time is out of range.

        Example:
            >>> NoiseSchedule.from_alphas_cumprod([0.9, 0.5, 0.1]).alpha_bar(1)
            tensor(0.5000, dtype=torch.float64)
        """
        return ops.alpha_bar.default(self.alphas_cumprod, to_times(t, "t"))  # type: ignore[no-any-return]

    def noise_var(self, t: float | Tensor) -> Tensor:
        """Return the noise variance of each element of x_t / sqrt(alpha_bar_t): (1 - alpha_bar) / alpha_bar, the channel's side.

        Args:
            t: As in `alpha_bar`.

        Returns:
            The variance, float64, in the shape of t, on the CPU; infinite where alpha_bar is 0.

        Raises:
            TypeError: t is no number and no tensor of numbers.
            ValueError: A time is out of range.

        Example:
            >>> NoiseSchedule.from_alphas_cumprod([0.9, 0.5, 0.1]).noise_var(1)
            tensor(1., dtype=torch.float64)
        """
        a = self.alpha_bar(t)
        return (1 - a) / a

    def timestep(self, noise_var: float | Tensor, rounding: Rounding = "none") -> Tensor:
        """Find the time whose alpha_bar is 1 / (1 + noise_var), for data of unit variance: the inverse of `noise_var`.

        Args:
            noise_var: Of each real element, >= 0: a number or a floating-point tensor of any shape. Not differentiable.
            rounding: "none" gives a real time, "ceil" the first step at least as noisy, "nearest" the nearest step.

        Returns:
            The time, float64, in the shape of noise_var, on the CPU; 0 below the first step's noise and T-1 above the last one's.

        Raises:
            TypeError: noise_var is no number and no floating-point tensor.
            ValueError: A negative, infinite or NaN noise variance, or an unknown rounding.

        Example:
            >>> schedule = NoiseSchedule.from_alphas_cumprod([0.9, 0.5, 0.1])
            >>> schedule.timestep(1.0), schedule.timestep(1.5, "ceil")
            (tensor(1., dtype=torch.float64), tensor(2., dtype=torch.float64))
        """
        if rounding not in get_args(Rounding):
            raise ValueError(f"rounding: expected none, ceil or nearest, got {rounding!r}")
        return ops.timestep.default(self.alphas_cumprod, to_tensor(noise_var, "noise_var").detach(), rounding)  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        table = self.alphas_cumprod
        return f"NoiseSchedule(T={self.T}, alpha_bar={table[0].item():.6g}..{table[-1].item():.6g})"


def alpha_bar_of(noise_var: Tensor) -> Tensor:
    """Return the alpha_bar of data of unit variance with that noise: 1 / (1 + noise_var)."""
    return 1 / (1 + noise_var)


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

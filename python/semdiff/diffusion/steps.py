# SPDX-License-Identifier: Apache-2.0
"""Single steps of the forward and of the reverse process: pure functions, each sample with times of its own.

`prediction` says what a denoiser's output is: the noise "eps", the clean data "x0", or "v" = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0
(Salimans and Ho, 2022).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import REAL, check_prediction, check_tensor, to_number, to_times
from semdiff.diffusion.schedule import NoiseSchedule, check_schedule
from semdiff.rng import KeyLike, key_tensor

Prediction = Literal["eps", "x0", "v"]


def add_noise(x0: Tensor, t: float | Tensor, schedule: NoiseSchedule, key: KeyLike = None) -> Tensor:
    """Draw from the forward process: x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) n (Ho, Jain, Abbeel, 2020, eq. 4).

    Args:
        x0: Clean data, (B, ...), floating-point, complex64 or complex128.
        t: Times in [0, T-1], or -1 for clean data: a number or (B,).
        schedule: The `NoiseSchedule`.
        key: Of n, which is `normal(x0.shape, key)`.

    Returns:
        x_t, of the shape and dtype of x0. Differentiable in x0.

    Raises:
        TypeError: x0 or t of another type.
        ValueError: t of another shape or out of its range.

    Example:
        >>> import torch, semdiff
        >>> schedule = semdiff.NoiseSchedule.linear()
        >>> semdiff.add_noise(torch.zeros(2, 4), torch.tensor([10.0, 900.0]), schedule, semdiff.Key(0)).shape
        torch.Size([2, 4])
    """
    check_tensor(x0, "x0")
    check_schedule(schedule)
    if x0.dtype not in (*REAL, torch.complex64, torch.complex128):
        raise TypeError(f"x0: expected a floating-point, complex64 or complex128 tensor, got {x0.dtype}")
    a = schedule.alpha_bar(t)
    if a.dim() and not _begins(a, x0):
        raise ValueError(f"t: expected shape () or ({x0.shape[0] if x0.dim() else 1},), got {tuple(a.shape)}")
    return ops.diffuse.default(x0, a.sqrt(), (1 - a).sqrt(), key_tensor(key))  # type: ignore[no-any-return]


def ddim_step(
    x: Tensor,
    output: Tensor,
    t: float | Tensor,
    s: float | Tensor,
    schedule: NoiseSchedule,
    eta: float = 0.0,
    prediction: Prediction = "eps",
    clip: float | None = None,
    key: KeyLike = None,
) -> Tensor:
    """Take one step of DDIM: x_s from x_t and the denoiser's output at t (Song, Meng, Ermon, 2020, eq. 12).

    Args:
        x: x_t, (B, ...), floating-point.
        output: The denoiser's output for x and t, in the shape of x; a narrower dtype, as autocast gives it, is widened.
        t: The time of x, in [0, T-1]: a number or (B,).
        s: The time to go to, <= t; -1 is clean data: a number or (B,).
        schedule: The `NoiseSchedule`.
        eta: The share of fresh noise, in [0, 1]: 0 draws none, 1 is `ddpm_step`.
        prediction: What the output is: "eps", "x0" or "v".
        clip: A bound > 0 on the magnitude of the predicted x_0, from which the direction is then taken, or None.
        key: Of the fresh noise.

    Returns:
        x_s, of the shape and dtype of x. Differentiable in x and output.

    Raises:
        TypeError: An argument of another type.
        ValueError: An argument of another shape or out of its range, or s after t.

    Example:
        >>> import torch, semdiff
        >>> schedule = semdiff.NoiseSchedule.linear()
        >>> x = torch.ones(2, 4)
        >>> semdiff.ddim_step(x, torch.zeros_like(x), 500.0, -1.0, schedule, prediction="x0")  # clean data is the prediction
        tensor([[0., 0., 0., 0.],
                [0., 0., 0., 0.]])
    """
    check_tensor(x, "x")
    check_schedule(schedule)
    check_prediction(prediction)
    t, s = _alike(to_times(t, "t"), to_times(s, "s"))
    eta, clip = to_number(eta, "eta", "a number"), to_bound(clip)
    return ops.ddim_step.default(  # type: ignore[no-any-return]
        x, widened(output, x), t, s, schedule.alphas_cumprod, eta, prediction, clip, key_tensor(key) if eta > 0 else None
    )


def ddpm_step(
    x: Tensor,
    output: Tensor,
    t: float | Tensor,
    s: float | Tensor,
    schedule: NoiseSchedule,
    prediction: Prediction = "eps",
    clip: float | None = None,
    key: KeyLike = None,
) -> Tensor:
    """Take one step of DDPM: draw from q(x_s | x_t, x_0) with the predicted x_0 (Ho, Jain, Abbeel, 2020, eq. 7). DDIM with eta = 1.

    Args:
        x: As in `ddim_step`.
        output: As in `ddim_step`.
        t: As in `ddim_step`.
        s: As in `ddim_step`.
        schedule: As in `ddim_step`.
        prediction: As in `ddim_step`.
        clip: As in `ddim_step`.
        key: Of the draw.

    Returns:
        x_s, of the shape and dtype of x. Differentiable in x and output.

    Raises:
        TypeError: As `ddim_step`.
        ValueError: As `ddim_step`.

    Example:
        >>> import torch, semdiff
        >>> x = torch.ones(2, 4)
        >>> semdiff.ddpm_step(x, x, 500.0, 400.0, semdiff.NoiseSchedule.linear(), key=semdiff.Key(0)).shape
        torch.Size([2, 4])
    """
    return ddim_step(x, output, t, s, schedule, 1.0, prediction, clip, key)


def dpmpp_2m_step(
    x: Tensor,
    output: Tensor,
    previous_x0: Tensor | None,
    t_previous: float | Tensor | None,
    t: float | Tensor,
    s: float | Tensor,
    schedule: NoiseSchedule,
    prediction: Prediction = "eps",
    clip: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Take one step of DPM-Solver++(2M) (Lu et al., 2022, algorithm 2).

    The first step has previous_x0 = t_previous = None and is of first order, as is the step to clean data (s = -1).

    Args:
        x: As in `ddim_step`.
        output: As in `ddim_step`.
        previous_x0: The x0 that the call before returned, or None.
        t_previous: The t of the call before, or None.
        t: As in `ddim_step`.
        s: As in `ddim_step`.
        schedule: As in `ddim_step`.
        prediction: As in `ddim_step`.
        clip: As in `ddim_step`.

    Returns:
        (x_s, x0), each of the shape and dtype of x; x0 goes into the next call. Differentiable in x, output and previous_x0.

    Raises:
        TypeError: As `ddim_step`.
        ValueError: As `ddim_step`, and for a t_previous that is not before t.

    Example:
        >>> import torch, semdiff
        >>> schedule = semdiff.NoiseSchedule.linear()
        >>> denoiser = lambda x, t: torch.zeros_like(x)
        >>> x = torch.ones(2, 4)
        >>> x, x0 = semdiff.dpmpp_2m_step(x, denoiser(x, 500.0), None, None, 500.0, 300.0, schedule)
        >>> x, x0 = semdiff.dpmpp_2m_step(x, denoiser(x, 300.0), x0, 500.0, 300.0, -1.0, schedule)
        >>> torch.equal(x, x0)
        True
    """
    check_tensor(x, "x")
    check_schedule(schedule)
    if previous_x0 is not None:
        check_tensor(previous_x0, "previous_x0")
    check_prediction(prediction)
    t, s = _alike(to_times(t, "t"), to_times(s, "s"))
    if t_previous is not None:
        t_previous = _alike(to_times(t_previous, "t_previous"), t, "t_previous", "t")[0]
    clip = to_bound(clip)
    return ops.dpmpp_2m_step.default(  # type: ignore[no-any-return]
        x, widened(output, x), previous_x0, t_previous, t, s, schedule.alphas_cumprod, prediction, clip
    )


def _begins(values: Tensor, x: Tensor) -> bool:
    """Whether the shape, without trailing ones, begins x's."""
    shape = list(values.shape)
    while shape and shape[-1] == 1:
        shape.pop()
    return tuple(shape) == tuple(x.shape[: len(shape)])


def _alike(first: Tensor, second: Tensor, first_name: str = "t", second_name: str = "s") -> tuple[Tensor, Tensor]:
    """Return times in one shape."""
    if first.shape != second.shape:
        try:
            first, second = torch.broadcast_tensors(first, second)
        except RuntimeError:
            shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
            raise ValueError(f"{first_name}, {second_name}: expected a number or shape (B,) each, got {shapes}") from None
    return first, second


def widened(output: Tensor, x: Tensor) -> Tensor:
    """Return the denoiser's output in x's dtype, where that has all its digits: under autocast it comes in bfloat16. Other dtypes stay,
    and the operators refuse them."""
    check_tensor(output, "output")
    if output.dtype == x.dtype or output.dtype not in REAL or x.dtype not in REAL or output.device != x.device:
        return output
    return output.to(x.dtype) if torch.promote_types(output.dtype, x.dtype) == x.dtype else output


def to_bound(clip: float | None) -> float | None:
    """Return a bound as a number. TypeError unless it is a number or None."""
    return None if clip is None else to_number(clip, "clip", "a positive bound or None")

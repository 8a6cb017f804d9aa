# SPDX-License-Identifier: Apache-2.0
"""The reverse process: from a state to clean data, by solver steps (semdiff.diffusion.steps) between chosen times.

A denoiser is any callable denoiser(x, t) -> output with x (B, ...) and t (B,); `prediction` says what its output is: the noise "eps", the
clean data "x0", or "v" = sqrt(alpha_bar) eps - sqrt(1 - alpha_bar) x0.

A state with a time for each element (`match` of fast fading) goes the same way: semdiff.diffusion.fusion gives the denoiser one
time for a sample, puts the weights of better and worse measured elements right in what it predicts, and lets each element join at its own
noise level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from semdiff._ops import ops
from semdiff._util.arguments import REAL, as_tensor, check_beside, check_prediction, check_tensor, to_count, to_number
from semdiff._util.signatures import check_call
from semdiff.diffusion.fusion import Elements
from semdiff.diffusion.matching import DiffusionState
from semdiff.diffusion.schedule import NoiseSchedule, check_schedule
from semdiff.diffusion.steps import Prediction as Prediction
from semdiff.diffusion.steps import ddim_step, dpmpp_2m_step, to_bound, widened
from semdiff.rng import Key, KeyLike

Denoiser: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Solver = Literal["dpmpp_2m", "ddim", "ddpm", "heun"]


def posterior_mean(
    denoiser: Denoiser, state: DiffusionState, schedule: NoiseSchedule, prediction: Prediction = "eps", clip: float | None = None
) -> Tensor:
    """Estimate x_0 by its mean E[x_0 | x_t], in one evaluation of the denoiser: the least squared error, and the smoothest picture.

    With a time for each element: the denoiser's estimate at the sample's mean noise, fused with each measurement by its precision
    (semdiff.diffusion.fusion).

    Args:
        denoiser: A callable denoiser(x, t) -> output, x (B, ...) and t (B,).
        state: Where to begin: a `DiffusionState`, as `match` returns it.
        schedule: The denoiser's `NoiseSchedule`.
        prediction: What the denoiser's output is: "eps", "x0" or "v".
        clip: A bound > 0 on the magnitude of the estimate, or None.

    Returns:
        The estimate of x_0, in the shape and dtype of state.x. Differentiable.

    Raises:
        TypeError: denoiser is not callable, or another argument of another type.
        ValueError: An argument of another shape or out of its range.

    Example:
        >>> import semdiff
        >>> from semdiff.oracle import GaussianMixture
        >>> schedule = semdiff.NoiseSchedule.linear()
        >>> prior = GaussianMixture([[0.0] * 4], [1.0])
        >>> y = semdiff.normal((2, 4), semdiff.Key(0))
        >>> mean = semdiff.posterior_mean(prior.denoiser(schedule), semdiff.match(y, 1.0, schedule), schedule)
        >>> (mean - y / 2).abs().max() < 1e-6  # of a standard normal prior and noise of variance 1
        tensor(True)
    """
    x, t = _state(denoiser, state, schedule)
    if t.dim() > 1:
        elements = Elements(x, t, schedule)
        x, t = elements.start()
        return elements.fuse(x, _predict_x0(denoiser, x, t, schedule, prediction, clip), t, True, clip).x0
    return ddim_step(x, _ask(denoiser, x, _for_network(t, x)), t, torch.full_like(t, -1.0), schedule, 0.0, prediction, clip)


def time_grid(t: Tensor, steps: int, schedule: NoiseSchedule) -> Tensor:
    """Choose a solver's times from t to clean data, uniform in ln SNR (Lu et al., 2022).

    The last evaluation stands one interval before the schedule's first step, so none is spent where nearly no noise is left.

    Args:
        t: Where to begin, in [0, T-1]: a tensor (B,).
        steps: Evaluations, 1 to T.
        schedule: The `NoiseSchedule`.

    Returns:
        The times, float64, (steps + 1, B), on the CPU: the first row is t, the last one -1.

    Raises:
        TypeError: An argument of another type.
        ValueError: An argument of another shape or out of its range.

    Example:
        >>> import torch, semdiff
        >>> semdiff.time_grid(torch.tensor([900.0, 100.0]), 3, semdiff.NoiseSchedule.linear()).round().int()
        tensor([[900, 100],
                [494,  28],
                [ 52,   6],
                [ -1,  -1]], dtype=torch.int32)
    """
    check_tensor(t, "t")
    check_schedule(schedule)
    steps = to_count(steps, "steps")
    if not 1 <= steps <= schedule.T:
        raise ValueError(f"steps: expected a number in [1, {schedule.T}], got {steps}")
    if t.dim() != 1:
        raise ValueError(f"t: expected shape (B,), got {tuple(t.shape)}")
    start = schedule.alpha_bar(t)
    if not torch.compiler.is_compiling() and bool((t < 0).any()):
        raise ValueError(f"t: expected times in [0, {schedule.T - 1}], got {t.tolist()}")
    # Clean data and noise alone, at the ends of some schedules, have no ln SNR: the grid is that of the steps beside them.
    start, end = start.clamp(*schedule.ends).logit(), schedule.clearest
    share = torch.arange(steps, dtype=torch.float64, device="cpu").unsqueeze(-1) / steps
    times = schedule.timestep(torch.exp(-(start + (end - start) * share)))
    t = t.to(times)
    times = torch.minimum(times, t)  # one that is nearly clean comes no later
    clean = torch.full((1, t.shape[0]), -1.0, dtype=torch.float64, device="cpu")
    return torch.cat([t.unsqueeze(0), times[1:], clean])  # the first as it is, not by way of logarithms and back


def sample(
    denoiser: Denoiser,
    state: DiffusionState,
    schedule: NoiseSchedule,
    steps: int = 8,
    solver: Solver = "dpmpp_2m",
    eta: float = 0.0,
    *,
    prediction: Prediction = "eps",
    clip: float | None = None,
    key: KeyLike = None,
    grid: Tensor | None = None,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """Draw x_0 from the posterior of a state, by solver steps: each sample from its own time, or each element.

    Args:
        denoiser: A callable denoiser(x, t) -> output, x (B, ...) and t (B,).
        state: Where to begin: a `DiffusionState`, as `match` returns it.
        schedule: The denoiser's `NoiseSchedule`.
        steps: 1 to T; one step is `posterior_mean`.
        solver: "dpmpp_2m", DPM-Solver++(2M), one evaluation a step; "ddim", with eta; "ddpm", which draws noise with key; "heun", second
            order, two evaluations a step but the last.
        eta: The share of fresh noise of "ddim", in [0, 1].
        prediction: What the denoiser's output is: "eps", "x0" or "v".
        clip: A bound > 0 on the magnitude of each predicted x_0, or None.
        key: Of the fresh noise of "ddim" and "ddpm", and of what tops up elements that have times of their own.
        grid: Other times, (steps + 1, B), falling, instead of `time_grid`; steps then counts nothing.
        callback: callback(i, x, t) sees each x before its step.

    Returns:
        x_0, in the shape and dtype of state.x. Differentiable.

    Raises:
        TypeError: denoiser is not callable, or another argument of another type.
        ValueError: An argument of another shape or out of its range.

    Example:
        >>> import semdiff
        >>> from semdiff.oracle import GaussianMixture
        >>> schedule = semdiff.NoiseSchedule.linear()
        >>> prior = GaussianMixture([[1.0], [-1.0]], [0.01, 0.01])  # near 1 or near -1
        >>> state = semdiff.match(semdiff.normal((1000, 1), semdiff.Key(0)), 1.0, schedule)
        >>> drawn = semdiff.sample(prior.denoiser(schedule), state, schedule, steps=20)
        >>> (drawn.abs() - 1).abs().mean() < 0.1
        tensor(True)
    """
    x, t = _state(denoiser, state, schedule)
    check_prediction(prediction)
    if solver not in ("dpmpp_2m", "ddim", "ddpm", "heun"):
        raise ValueError(f"solver: expected dpmpp_2m, ddim, ddpm or heun, got {solver!r}")
    eta, clip = to_number(eta, "eta", "a number"), to_bound(clip)
    if solver == "ddpm":
        eta = 1.0
    elif eta != 0 and solver != "ddim":
        raise ValueError(f"eta: expected 0, because {solver} draws no noise (ddim does), got {eta}")
    elements = None
    if t.dim() > 1:
        elements = Elements(x, t, schedule, Key.of(key), eta)
        x, t = elements.start()
    if grid is None:
        grid = time_grid(t, steps, schedule)
    elif not isinstance(grid, Tensor) or grid.dtype not in REAL:
        raise TypeError(f"grid: expected a floating-point tensor, got {grid.dtype if isinstance(grid, Tensor) else type(grid).__name__}")
    elif grid.dim() != 2 or grid.shape[0] < 2 or grid.shape[1] != x.shape[0]:
        raise ValueError(f"grid: expected shape (steps + 1, {x.shape[0]}), got {tuple(grid.shape)}")
    else:
        check_beside(grid, "grid", x, "state.x")
    if elements is not None:
        return _sample_elements(denoiser, elements, x, grid, schedule, solver, prediction, clip, callback)
    base = Key.of(key) if eta > 0 and solver in ("ddim", "ddpm") else None
    previous_x0 = t_previous = None
    grid = grid.detach()
    times, told, table = grid.unbind(), _for_network(grid[:-1], x).unbind(), schedule.alphas_cumprod
    dpmpp_2m, ddim = ops.dpmpp_2m_step.default, ops.ddim_step.default
    for i, (now, after, t) in enumerate(zip(times[:-1], times[1:], told, strict=True)):
        if callback is not None:
            callback(i, x, now)
        output = widened(_ask(denoiser, x, t), x)
        # The steps as they are below their Python functions, which would look at the same grid again and again.
        if solver == "dpmpp_2m":
            x, previous_x0 = dpmpp_2m(x, output, previous_x0, t_previous, now, after, table, prediction, clip)
            t_previous = now
        elif solver == "heun":
            x = _heun_step(denoiser, x, output, now, after, schedule, prediction, clip)
        else:
            key = base.fold_in(i).tensor if base else None
            x = ddim(x, output, now, after, table, eta, prediction, clip, key)
    return x


def _sample_elements(
    denoiser: Denoiser,
    elements: Elements,
    x: Tensor,
    grid: Tensor,
    schedule: NoiseSchedule,
    solver: Solver,
    prediction: Prediction,
    clip: float | None,
    callback: Callable[[int, Tensor, Tensor], None] | None,
) -> Tensor:
    """Take the same solvers between the same times; each x_0 is fused with the measurements, and each x_s has its waiting elements."""
    previous_x0 = t_previous = None
    eta = elements.eta
    for i, (now, after) in enumerate(zip(grid[:-1].unbind(), grid[1:].unbind(), strict=True)):
        if callback is not None:
            callback(i, x, now)
        belief = elements.fuse(x, _predict_x0(denoiser, x, now, schedule, prediction, clip), now, i == 0, clip)
        if bool((after < 0).all()):
            return belief.x0
        if i == 0:
            x = elements.gather(x, belief, now)
        x0 = belief.x0
        if solver == "dpmpp_2m":
            moved, _ = dpmpp_2m_step(x, x0, previous_x0, t_previous, now, after, schedule, "x0")
            previous_x0, t_previous = x0, now
        else:
            child = elements.key.fold_in(i) if elements.key and eta > 0 else None
            moved = ddim_step(x, x0, now, after, schedule, eta, "x0", key=child)
        if solver == "heun":
            ahead = elements.place(moved, belief, now, after)
            x0_after = elements.fuse(ahead, _predict_x0(denoiser, ahead, after, schedule, prediction, clip), after, False, clip).x0
            moved = ddim_step(x, (x0 + x0_after) * 0.5, now, after, schedule, 0.0, "x0")
        x = elements.place(moved, belief, now, after)
    return x


def _predict_x0(denoiser: Denoiser, x: Tensor, t: Tensor, schedule: NoiseSchedule, prediction: Prediction, clip: float | None) -> Tensor:
    return ddim_step(x, _ask(denoiser, x, _for_network(t, x)), t, torch.full_like(t, -1.0), schedule, 0.0, prediction, clip)


def _heun_step(
    denoiser: Denoiser, x: Tensor, output: Tensor, t: Tensor, s: Tensor, schedule: NoiseSchedule, prediction: Prediction, clip: float | None
) -> Tensor:
    """Take a step whose x_0 is the mean of those predicted at its two ends (Heun's rule for DDIM's integral in x_0)."""
    first = ddim_step(x, output, t, s, schedule, 0.0, prediction, clip)
    if bool((s < 0).all()):
        return first
    x0 = ddim_step(x, output, t, torch.full_like(t, -1.0), schedule, 0.0, prediction, clip)
    x0_after = ddim_step(first, _ask(denoiser, first, _for_network(s, x)), s, torch.full_like(s, -1.0), schedule, 0.0, prediction, clip)
    return ddim_step(x, (x0 + x0_after) * 0.5, t, s, schedule, 0.0, "x0")


def check_denoiser(denoiser: Denoiser) -> None:
    """TypeError unless it can be called as denoiser(x, t)."""
    if not callable(denoiser):
        raise TypeError(f"denoiser: expected a callable denoiser(x, t), got {type(denoiser).__name__}")
    if not torch.compiler.is_compiling():
        check_call(denoiser.forward if isinstance(denoiser, nn.Module) else denoiser, "denoiser", "x, t")


def _ask(denoiser: Denoiser, x: Tensor, t: Tensor) -> Tensor:
    """Return the denoiser's output as a tensor. TypeError for anything else, such as the object that a network of diffusers returns."""
    output = denoiser(x, t)
    if isinstance(output, Tensor):
        return output
    taken = as_tensor(output)
    if not isinstance(taken, Tensor):
        made = "; lambda x, t: unet(x, t).sample is such a denoiser" if hasattr(output, "sample") else ""
        raise TypeError(f"denoiser: expected denoiser(x, t) to return a tensor, got {type(output).__name__}{made}")
    return taken.to(x)


def _state(denoiser: Denoiser, state: DiffusionState, schedule: NoiseSchedule) -> DiffusionState:
    """Return the state, held to what it must be."""
    check_denoiser(denoiser)
    check_schedule(schedule)
    if not isinstance(state, tuple) or len(state) != 2:
        raise TypeError(f"state: expected a DiffusionState (x, t), got {type(state).__name__}")
    x, t = state
    check_tensor(x, "state.x")
    check_tensor(t, "state.t")
    if x.dtype not in REAL:
        raise TypeError(f"state.x: expected a floating-point tensor, got {x.dtype}")
    if x.dim() < 1:
        raise ValueError("state.x: expected shape (B, ...), got ()")
    check_beside(t, "state.t", x, "state.x")
    return DiffusionState(x, t)


def _for_network(t: Tensor, x: Tensor) -> Tensor:
    # bfloat16 counts in fours at 1000: halves get float32 times.
    return t.to(x.device, torch.float64 if x.dtype == torch.float64 else torch.float32)

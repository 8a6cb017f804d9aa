# SPDX-License-Identifier: Apache-2.0
"""The reverse process: single solver steps (pure functions, per-sample times) and the loop that joins them.

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
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import REAL, check_beside, check_prediction, check_tensor, to_count, to_number, to_times
from semdiff.diffusion.fusion import Elements
from semdiff.diffusion.matching import DiffusionState
from semdiff.diffusion.schedule import NoiseSchedule, check_schedule
from semdiff.rng import Key, KeyLike, key_tensor

Denoiser: TypeAlias = Callable[[Tensor, Tensor], Tensor]
Prediction = Literal["eps", "x0", "v"]
Solver = Literal["dpmpp_2m", "ddim", "ddpm", "heun"]


def add_noise(x0: Tensor, t: float | Tensor, schedule: NoiseSchedule, key: KeyLike = None) -> Tensor:
    """x_t = sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) n, the forward process; n is `normal(x0.shape, key)`. t: () or (B,)."""
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
    """x_s from x_t and the denoiser's output at t (Song, Meng, Ermon, 2020, eq. 12). t >= s, each () or (B,); s = -1 is clean data.

    eta in [0, 1] scales the fresh noise. clip bounds the predicted x_0, and the direction is taken from the bounded one.
    """
    check_tensor(x, "x")
    check_schedule(schedule)
    check_prediction(prediction)
    t, s = _pair(t, s)
    eta, clip = to_number(eta, "eta", "a number"), _bound(clip)
    return ops.ddim_step.default(  # type: ignore[no-any-return]
        x, _widened(output, x), t, s, schedule.alphas_cumprod, eta, prediction, clip, key_tensor(key) if eta > 0 else None
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
    """A draw from the posterior q(x_s | x_t, x_0) with the predicted x_0 (Ho, Jain, Abbeel, 2020, eq. 7): DDIM with eta = 1."""
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
    """DPM-Solver++(2M) (Lu et al., 2022, algorithm 2): (x_s, x0), where x0 goes into the next call as previous_x0, with its time.

    The first step has previous_x0 = t_previous = None and is of first order, as is the step to clean data (s = -1).
    """
    check_tensor(x, "x")
    check_schedule(schedule)
    if previous_x0 is not None:
        check_tensor(previous_x0, "previous_x0")
    check_prediction(prediction)
    t, s = _pair(t, s)
    if t_previous is not None:
        t_previous, _ = _pair(t_previous, t, "t_previous", "t")
    clip = _bound(clip)
    return ops.dpmpp_2m_step.default(  # type: ignore[no-any-return]
        x, _widened(output, x), previous_x0, t_previous, t, s, schedule.alphas_cumprod, prediction, clip
    )


def posterior_mean(
    denoiser: Denoiser, state: DiffusionState, schedule: NoiseSchedule, prediction: Prediction = "eps", clip: float | None = None
) -> Tensor:
    """E[x_0 | x_t] in one evaluation: the least squared error that anyone can reach, and the smoothest picture.

    With a time for each element: the denoiser's estimate at the sample's mean noise, fused with each measurement by its precision.
    """
    x, t = _state(denoiser, state, schedule)
    if t.dim() > 1:
        elements = Elements(x, t, schedule)
        x, t = elements.start()
        return elements.fuse(x, _predict_x0(denoiser, x, t, schedule, prediction, clip), t, True, clip).x0
    return ddim_step(x, denoiser(x, _for_network(t, x)), t, torch.full_like(t, -1.0), schedule, 0.0, prediction, clip)


def time_grid(t: Tensor, steps: int, schedule: NoiseSchedule) -> Tensor:
    """Times from t (B,) to clean data, uniform in ln SNR: shape (steps + 1, B), float64, the last row -1.

    The last evaluation stands one interval before the schedule's first step, so none is spent where nearly no noise is left.
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
    finite = schedule.mixed
    start, end = start.clamp(finite[-1], finite[0]).logit(), finite[0].logit()
    share = torch.arange(steps, dtype=torch.float64, device="cpu").unsqueeze(-1) / steps
    times = schedule.timestep(torch.exp(-(start + (end - start) * share)))
    t = t.to(times)
    times = torch.minimum(times, t)  # one that is nearly clean comes no later
    times[0] = t  # not by way of logarithms and back
    return torch.cat([times, torch.full((1, t.shape[0]), -1.0, dtype=torch.float64, device="cpu")])


def sample(
    denoiser: Denoiser,
    state: DiffusionState,
    schedule: NoiseSchedule,
    steps: int = 8,
    solver: Solver = "dpmpp_2m",
    eta: float = 0.0,
    prediction: Prediction = "eps",
    clip: float | None = None,
    key: KeyLike = None,
    grid: Tensor | None = None,
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Tensor:
    """x_0 from the state by `steps` solver steps, each sample from its own time, or each element (then key draws what tops elements up).

    solver: "dpmpp_2m" (default, one evaluation a step), "ddim" (with eta), "ddpm" (draws noise with key), "heun" (second order, two
    evaluations a step but the last). steps in [1, T]; one step is `posterior_mean`. grid: other times, shape (steps + 1, B), falling,
    instead of `time_grid`. callback(i, x, t) sees each x before its step. ValueError for what is out of range.
    """
    x, t = _state(denoiser, state, schedule)
    check_prediction(prediction)
    if solver not in ("dpmpp_2m", "ddim", "ddpm", "heun"):
        raise ValueError(f"solver: expected dpmpp_2m, ddim, ddpm or heun, got {solver!r}")
    eta, clip = to_number(eta, "eta", "a number"), _bound(clip)
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
    for i, (now, after, t) in enumerate(zip(times[:-1], times[1:], told, strict=True)):
        if callback is not None:
            callback(i, x, now)
        output = _widened(denoiser(x, t), x)
        # The steps as they are below their Python functions, which would look at the same grid again and again.
        if solver == "dpmpp_2m":
            x, previous_x0 = ops.dpmpp_2m_step.default(x, output, previous_x0, t_previous, now, after, table, prediction, clip)
            t_previous = now
        elif solver == "heun":
            x = _heun_step(denoiser, x, output, now, after, schedule, prediction, clip)
        else:
            key = base.fold_in(i).tensor if base else None
            x = ops.ddim_step.default(x, output, now, after, table, eta, prediction, clip, key)
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
    """The same solvers between the same times; each x_0 is fused with the measurements, and each x_s has its waiting elements."""
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
    return ddim_step(x, denoiser(x, _for_network(t, x)), t, torch.full_like(t, -1.0), schedule, 0.0, prediction, clip)


def _heun_step(
    denoiser: Denoiser, x: Tensor, output: Tensor, t: Tensor, s: Tensor, schedule: NoiseSchedule, prediction: Prediction, clip: float | None
) -> Tensor:
    """A step whose x_0 is the mean of those predicted at its two ends (Heun's rule for DDIM's integral in x_0)."""
    first = ddim_step(x, output, t, s, schedule, 0.0, prediction, clip)
    if bool((s < 0).all()):
        return first
    x0 = ddim_step(x, output, t, torch.full_like(t, -1.0), schedule, 0.0, prediction, clip)
    x0_after = ddim_step(first, denoiser(first, _for_network(s, x)), s, torch.full_like(s, -1.0), schedule, 0.0, prediction, clip)
    return ddim_step(x, (x0 + x0_after) * 0.5, t, s, schedule, 0.0, "x0")


def _begins(values: Tensor, x: Tensor) -> bool:
    """Whether the shape, without trailing ones, begins x's."""
    shape = list(values.shape)
    while shape and shape[-1] == 1:
        shape.pop()
    return tuple(shape) == tuple(x.shape[: len(shape)])


def _pair(t: float | Tensor, s: float | Tensor, t_name: str = "t", s_name: str = "s") -> tuple[Tensor, Tensor]:
    """Both as floating-point tensors of one shape."""
    first, second = to_times(t, t_name), to_times(s, s_name)
    if first.shape != second.shape:
        try:
            first, second = torch.broadcast_tensors(first, second)
        except RuntimeError:
            shapes = f"{tuple(first.shape)} and {tuple(second.shape)}"
            raise ValueError(f"{t_name}, {s_name}: expected a number or shape (B,) each, got {shapes}") from None
    return first, second


def _state(denoiser: Denoiser, state: DiffusionState, schedule: NoiseSchedule) -> DiffusionState:
    """The state, held to what it must be."""
    if not callable(denoiser):
        raise TypeError(f"denoiser: expected a callable denoiser(x, t), got {type(denoiser).__name__}")
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


def _widened(output: Tensor, x: Tensor) -> Tensor:
    """The denoiser's output in x's dtype, where that has all its digits: under autocast it comes in bfloat16. Other dtypes stay, and the
    operators refuse them."""
    check_tensor(output, "output")
    if output.dtype == x.dtype or output.dtype not in REAL or x.dtype not in REAL or output.device != x.device:
        return output
    return output.to(x.dtype) if torch.promote_types(output.dtype, x.dtype) == x.dtype else output


def _bound(clip: float | None) -> float | None:
    return None if clip is None else to_number(clip, "clip", "a positive bound or None")


def _for_network(t: Tensor, x: Tensor) -> Tensor:
    # bfloat16 counts in fours at 1000: halves get float32 times.
    return t.to(x.device, torch.float64 if x.dtype == torch.float64 else torch.float32)

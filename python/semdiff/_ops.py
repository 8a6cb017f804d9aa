# SPDX-License-Identifier: Apache-2.0
"""The operators of the C++ core (torch.ops.semdiff.*): fake kernels for tracing, and backwards.

Schemas are in cpp/bindings/library.cpp, formulas in cpp/kernels/ and cpp/ops/. Nothing here computes.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semdiff import _C  # noqa: F401  importing it loads the operators

ops = torch.ops.semdiff


def _refuse(ctx: Any, op: str, **positions: int) -> None:
    """An argument that has no gradient must not get a silent zero."""
    for name, position in positions.items():
        if ctx.needs_input_grad[position]:
            raise ValueError(f"{name}: {op} has no gradient for it; expected a tensor that does not require one, detach it first")


def _refuse_double(op: str) -> None:
    if torch.is_grad_enabled():
        raise RuntimeError(f"{op} has no second derivative: call backward without create_graph")


# --- random numbers, keys and the schedule: nothing to differentiate -------------------------------------------------------------------


@torch.library.register_fake("semdiff::normal")
def _(size: list[int], key: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.empty(size, dtype=dtype, device=device)


@torch.library.register_fake("semdiff::key_split")
def _(key: Tensor, n: int) -> Tensor:
    return key.new_empty((n, 2))


@torch.library.register_fake("semdiff::key_fold_in")
def _(key: Tensor, index: int) -> Tensor:
    return key.new_empty((2,))


@torch.library.register_fake("semdiff::alphas_cumprod")
def _(kind: str, steps: int, beta_start: float, beta_end: float) -> Tensor:
    return torch.empty((steps,), dtype=torch.float64)


@torch.library.register_fake("semdiff::alpha_bar")
def _(alphas_cumprod: Tensor, t: Tensor) -> Tensor:
    return torch.empty(t.shape, dtype=torch.float64)


@torch.library.register_fake("semdiff::timestep")
def _(alphas_cumprod: Tensor, noise_var: Tensor, rounding: str) -> Tensor:
    return torch.empty(noise_var.shape, dtype=torch.float64)


def _explicitly_not_differentiable(op: str) -> None:
    def backward(ctx: Any, *grads: Tensor) -> None:
        raise ValueError(f"{op} is not differentiable: detach its arguments")

    torch.library.register_autograd(f"semdiff::{op}", backward)


for _op in ("alpha_bar", "timestep", "measured_snr_db"):
    _explicitly_not_differentiable(_op)


# --- channel ---------------------------------------------------------------------------------------------------------------------------


@torch.library.register_fake("semdiff::diffuse")
def _(x: Tensor, signal: Tensor | None, noise: Tensor, key: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _diffuse_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, signal, noise, key = inputs
    _, wants_signal, wants_noise, _ = ctx.needs_input_grad
    # x is kept only when a coefficient's gradient needs it.
    ctx.save_for_backward(x if wants_signal else None, signal, noise, key)
    ctx.shape, ctx.dtype, ctx.wants_noise = x.shape, x.dtype, wants_noise


def _row_inner(a: Tensor, b: Tensor, like: Tensor) -> Tensor:
    """The real inner product of a and b over the elements that share one coefficient."""
    product = (a * b.conj()).real if a.is_complex() else a * b
    return product.reshape(*like.shape, -1).sum(-1).reshape(like.shape).to(like.dtype)


def _diffuse_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, signal, noise, key = ctx.saved_tensors
    grad_x = grad_signal = grad_noise = None
    if ctx.needs_input_grad[0]:
        if signal is None:
            grad_x = grad
        else:
            scale = signal.reshape(signal.shape + (1,) * (grad.dim() - signal.dim())) if signal.dim() < grad.dim() else signal
            grad_x = grad * scale.to(grad.device, grad.real.dtype if grad.is_complex() else grad.dtype)
    if ctx.needs_input_grad[1]:
        grad_signal = _row_inner(grad, x, signal)
    if ctx.needs_input_grad[2]:
        zeros = torch.zeros(ctx.shape, dtype=ctx.dtype, device=grad.device)
        grad_noise = _row_inner(grad, ops.diffuse.default(zeros, None, torch.ones_like(noise), key), noise)
    return grad_x, grad_signal, grad_noise, None


torch.library.register_autograd("semdiff::diffuse", _diffuse_backward, setup_context=_diffuse_setup)


@torch.library.register_fake("semdiff::normalize_power")
def _(s: Tensor) -> tuple[Tensor, Tensor]:
    return s.new_empty(s.shape), s.new_empty((s.shape[0],), dtype=torch.float64 if s.dtype in (torch.float64, torch.complex128) else torch.float32)


@torch.library.register_fake("semdiff::normalize_power_backward")
def _(grad: Tensor, grad_scale: Tensor | None, normalized: Tensor, scale: Tensor) -> Tensor:
    return grad.new_empty(grad.shape)


def _normalize_power_setup(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output)


def _normalize_power_backward(ctx: Any, grad: Tensor, grad_scale: Tensor | None) -> Tensor:
    _refuse_double("normalize_power")
    normalized, scale = ctx.saved_tensors
    if grad is None:
        grad = torch.zeros_like(normalized)
    return ops.normalize_power_backward.default(grad, grad_scale, normalized, scale)  # type: ignore[no-any-return]


torch.library.register_autograd("semdiff::normalize_power", _normalize_power_backward, setup_context=_normalize_power_setup)


@torch.library.register_fake("semdiff::measured_snr_db")
def _(s: Tensor, y: Tensor) -> Tensor:
    return s.new_empty((s.shape[0],), dtype=torch.float64)


# --- sampler ---------------------------------------------------------------------------------------------------------------------------


@torch.library.register_fake("semdiff::ddim_step")
def _(x: Tensor, *_args: Any) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.register_fake("semdiff::ddim_step_backward")
def _(grad: Tensor, x: Tensor, *_args: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


def _ddim_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, out, t, s, alphas_cumprod, eta, prediction, clip, _key = inputs
    ctx.save_for_backward(x, out, t, s, alphas_cumprod)
    ctx.options = (eta, prediction, clip)


def _ddim_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    _refuse(ctx, "ddim_step", t=2, s=3, alphas_cumprod=4)
    _refuse_double("ddim_step")
    grad_x, grad_output = ops.ddim_step_backward.default(grad, *ctx.saved_tensors, *ctx.options)
    return grad_x, grad_output, None, None, None, None, None, None, None


torch.library.register_autograd("semdiff::ddim_step", _ddim_backward, setup_context=_ddim_setup)


@torch.library.register_fake("semdiff::dpmpp_2m_step")
def _(x: Tensor, *_args: Any) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape), x.new_empty(x.shape)


@torch.library.register_fake("semdiff::dpmpp_2m_step_backward")
def _(grad_x_s: Tensor | None, grad_x0: Tensor | None, x: Tensor, output: Tensor, previous_x0: Tensor | None, *_args: Any) -> tuple[Tensor, ...]:
    return x.new_empty(x.shape), x.new_empty(x.shape), x.new_empty((0,) if previous_x0 is None else x.shape)


def _dpmpp_2m_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, prediction, clip = inputs
    ctx.save_for_backward(*tensors)
    ctx.options = (prediction, clip)


def _dpmpp_2m_backward(ctx: Any, grad_x_s: Tensor | None, grad_x0: Tensor | None) -> tuple[Tensor | None, ...]:
    _refuse(ctx, "dpmpp_2m_step", t_previous=3, t=4, s=5, alphas_cumprod=6)
    _refuse_double("dpmpp_2m_step")
    grad_x, grad_output, grad_previous = ops.dpmpp_2m_step_backward.default(grad_x_s, grad_x0, *ctx.saved_tensors, *ctx.options)
    return grad_x, grad_output, grad_previous if ctx.saved_tensors[2] is not None else None, None, None, None, None, None, None


torch.library.register_autograd("semdiff::dpmpp_2m_step", _dpmpp_2m_backward, setup_context=_dpmpp_2m_setup)


# --- vae -------------------------------------------------------------------------------------------------------------------------------


@torch.library.register_fake("semdiff::reparameterize")
def _(mu: Tensor, logvar: Tensor, key: Tensor) -> Tensor:
    return mu.new_empty(mu.shape)


@torch.library.register_fake("semdiff::reparameterize_backward")
def _(grad: Tensor, sample: Tensor, mu: Tensor) -> Tensor:
    return grad.new_empty(grad.shape)


def _reparameterize_setup(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, inputs[0])


def _reparameterize_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    _refuse_double("reparameterize")
    grad_logvar = ops.reparameterize_backward.default(grad, *ctx.saved_tensors) if ctx.needs_input_grad[1] else None
    return grad, grad_logvar, None


torch.library.register_autograd("semdiff::reparameterize", _reparameterize_backward, setup_context=_reparameterize_setup)


@torch.library.register_fake("semdiff::gaussian_upsample")
def _(features: Tensor, scale: int, key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    b, c, h, w = features.shape
    shape = (b, c // (2 * scale * scale), h * scale, w * scale)
    return features.new_empty(shape), features.new_empty(shape), features.new_empty(shape)


@torch.library.register_fake("semdiff::gaussian_upsample_backward")
def _(
    grad_sample: Tensor, grad_mean: Tensor | None, grad_logvar: Tensor | None, sample: Tensor, mean: Tensor, logvar: Tensor, scale: int
) -> Tensor:
    b, c, h, w = sample.shape
    return sample.new_empty((b, 2 * c * scale * scale, h // scale, w // scale))


def _gaussian_upsample_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output)
    ctx.scale = inputs[1]


def _gaussian_upsample_backward(
    ctx: Any, grad_sample: Tensor | None, grad_mean: Tensor | None, grad_logvar: Tensor | None
) -> tuple[Tensor | None, ...]:
    _refuse_double("gaussian_upsample")
    if grad_sample is None:
        grad_sample = torch.zeros_like(ctx.saved_tensors[0])
    return ops.gaussian_upsample_backward.default(grad_sample, grad_mean, grad_logvar, *ctx.saved_tensors, ctx.scale), None, None


torch.library.register_autograd("semdiff::gaussian_upsample", _gaussian_upsample_backward, setup_context=_gaussian_upsample_setup)


# --- loss ------------------------------------------------------------------------------------------------------------------------------


def _scalars(mu: Tensor) -> tuple[Tensor, ...]:
    dtype = torch.float64 if mu.dtype == torch.float64 else torch.float32
    return tuple(mu.new_empty((), dtype=dtype) for _ in range(4))


@torch.library.register_fake("semdiff::upsampler_loss")
def _(mu: Tensor, *_args: Any) -> tuple[Tensor, ...]:
    return _scalars(mu)


@torch.library.register_fake("semdiff::upsampler_loss_with_gradients")
def _(mu: Tensor, *_args: Any) -> tuple[Tensor, ...]:
    return *_scalars(mu), mu.new_empty(mu.shape), mu.new_empty(mu.shape)


_explicitly_not_differentiable("upsampler_loss")  # loss.py calls it only where no gradient is wanted


def _loss_setup(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(output[4], output[5])
    # The terms are for reading: they carry no gradient, and asking for one is an error rather than a zero.
    ctx.mark_non_differentiable(*output[1:])


def _loss_backward(ctx: Any, grad: Tensor, *_grads: Tensor) -> tuple[Tensor | None, ...]:
    _refuse(ctx, "upsampler_loss", z=2, alpha_bar=3)
    _refuse_double("upsampler_loss")
    grad_mu, grad_logvar = ctx.saved_tensors
    # The gradients were made with the loss, in one pass. backward() on the loss itself arrives with exactly 1: no second pass then.
    if torch.compiler.is_compiling() or grad.device.type != "cpu" or isinstance(grad, torch._subclasses.FakeTensor) or grad.item() != 1.0:
        grad_mu, grad_logvar = grad_mu * grad, grad_logvar * grad
    return grad_mu, grad_logvar, None, None, None, None, None


torch.library.register_autograd("semdiff::upsampler_loss_with_gradients", _loss_backward, setup_context=_loss_setup)

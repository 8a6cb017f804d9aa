# SPDX-License-Identifier: Apache-2.0
"""The operators of the C++ core (torch.ops.semdiff.*) and their fake kernels, which give shapes and dtypes to torch.compile.

Schemas are in cpp/bindings/library.cpp, backwards in cpp/bindings/autograd.cpp, formulas in cpp/kernels/ and cpp/ops/.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from semdiff import _C  # noqa: F401  importing it loads the operators

ops = torch.ops.semdiff


# A meta tensor among ordinary ones sends the whole call here, where nothing is computed: these checks keep that from passing silently.


def _check_key(key: Tensor | None) -> None:
    if key is not None and key.device.type != "cpu":
        raise ValueError(f"key: expected a CPU tensor (it is read on the host), got one on {key.device}")


def _check_alike(x_name: str, x: Tensor, **others: Tensor | None) -> None:
    for name, other in others.items():
        if other is None:
            continue
        for what in ("shape", "dtype", "device"):
            if getattr(other, what) != getattr(x, what):
                kind = TypeError if what == "dtype" else ValueError
                raise kind(f"{name}: expected the {what} of {x_name}, {getattr(x, what)}, got {getattr(other, what)}")


def _check_real(x_name: str, x: Tensor, **coefficients: Tensor | None) -> None:
    for name, value in coefficients.items():
        if value is not None and value.is_meta and not x.is_meta:
            raise ValueError(f"{name}: expected a tensor with values beside {x_name} on {x.device}, got one on meta")


@torch.library.register_fake("semdiff::normal")
def _(size: list[int], key: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
    _check_key(key)
    return torch.empty(size, dtype=dtype, device=device)


@torch.library.register_fake("semdiff::key_split")
def _(key: Tensor, n: int) -> Tensor:
    _check_key(key)
    return key.new_empty((n, 2))


@torch.library.register_fake("semdiff::key_fold_in")
def _(key: Tensor, index: int) -> Tensor:
    _check_key(key)
    return key.new_empty((2,))


@torch.library.register_fake("semdiff::alphas_cumprod")
def _(kind: str, steps: int, beta_start: float, beta_end: float) -> Tensor:
    return torch.empty((steps,), dtype=torch.float64, device="cpu")


@torch.library.register_fake("semdiff::alpha_bar")
def _(alphas_cumprod: Tensor, t: Tensor) -> Tensor:
    _check_real("alphas_cumprod", alphas_cumprod, t=t)
    return alphas_cumprod.new_empty(t.shape, dtype=torch.float64)


@torch.library.register_fake("semdiff::timestep")
def _(alphas_cumprod: Tensor, noise_var: Tensor, rounding: str) -> Tensor:
    _check_real("alphas_cumprod", alphas_cumprod, noise_var=noise_var)
    return alphas_cumprod.new_empty(noise_var.shape, dtype=torch.float64)


@torch.library.register_fake("semdiff::diffuse")
def _(x: Tensor, signal: Tensor | None, noise: Tensor, key: Tensor) -> Tensor:
    _check_key(key)
    _check_real("x", x, signal=signal, noise=noise)
    return x.new_empty(x.shape)


@torch.library.register_fake("semdiff::normalize_power")
def _(s: Tensor) -> tuple[Tensor, Tensor]:
    real = torch.float64 if s.dtype in (torch.float64, torch.complex128) else torch.float32
    return s.new_empty(s.shape), s.new_empty((s.shape[0],), dtype=real)


@torch.library.register_fake("semdiff::normalize_power_backward")
def _(grad: Tensor, grad_scale: Tensor | None, normalized: Tensor, scale: Tensor) -> Tensor:
    _check_alike("normalized", normalized, grad=grad)
    _check_real("normalized", normalized, grad_scale=grad_scale, scale=scale)
    return grad.new_empty(grad.shape)


@torch.library.register_fake("semdiff::measured_snr_db")
def _(s: Tensor, y: Tensor) -> Tensor:
    _check_alike("s", s, y=y)
    return s.new_empty((s.shape[0],), dtype=torch.float64)


def _terms(y: Tensor, by_sample: bool) -> tuple[Tensor, Tensor, Tensor]:
    """What an equaliser gives: terms of one number a sample, in float64, or of one a symbol."""
    shape = (y.shape[0],) + (1,) * (y.dim() - 1) if by_sample else y.shape
    dtype = torch.float64 if by_sample else y.dtype.to_real()
    return y.new_empty(y.shape), y.new_empty(shape, dtype=dtype), y.new_empty(shape, dtype=dtype)


def _one_gain_a_sample(s: Tensor, coherence: int) -> bool:
    return coherence == 0 or coherence == max(math.prod(s.shape[1:]), 1)


@torch.library.register_fake("semdiff::fading")
def _(s: Tensor, los: float, scatter: float, noise: Tensor, coherence: int, key: Tensor) -> tuple[Tensor, Tensor]:
    _check_key(key)
    _check_real("s", s, noise=noise)
    by_sample = _one_gain_a_sample(s, coherence)
    return s.new_empty(s.shape), s.new_empty((s.shape[0],) + (1,) * (s.dim() - 1) if by_sample else s.shape)


@torch.library.register_fake("semdiff::fading_equalized")
def _(s: Tensor, los: float, scatter: float, noise_var: Tensor, coherence: int, method: str, key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _check_key(key)
    _check_real("s", s, noise_var=noise_var)
    return _terms(s, _one_gain_a_sample(s, coherence))


@torch.library.register_fake("semdiff::equalize")
def _(y: Tensor, h: Tensor, noise_var: Tensor, method: str) -> tuple[Tensor, Tensor, Tensor]:
    _check_real("y", y, h=h, noise_var=noise_var)
    by_sample = all(c.shape[-i] == 1 for c in (h, noise_var) for i in range(1, min(c.dim() + 1, y.dim())))
    return _terms(y, by_sample)


@torch.library.register_fake("semdiff::ddim_step")
def _(x: Tensor, output: Tensor, t: Tensor, s: Tensor, alphas_cumprod: Tensor, *options: Any) -> Tensor:
    _check_alike("x", x, output=output)
    _check_real("x", x, t=t, s=s, alphas_cumprod=alphas_cumprod)
    _check_key(options[-1])
    return x.new_empty(x.shape)


@torch.library.register_fake("semdiff::ddim_step_backward")
def _(grad: Tensor, x: Tensor, output: Tensor, t: Tensor, s: Tensor, alphas_cumprod: Tensor, *_options: Any) -> tuple[Tensor, Tensor]:
    _check_alike("x", x, grad=grad, output=output)
    _check_real("x", x, t=t, s=s, alphas_cumprod=alphas_cumprod)
    return x.new_empty(x.shape), x.new_empty(x.shape)


@torch.library.register_fake("semdiff::dpmpp_2m_step")
def _(
    x: Tensor,
    output: Tensor,
    previous_x0: Tensor | None,
    t_previous: Tensor | None,
    t: Tensor,
    s: Tensor,
    alphas_cumprod: Tensor,
    *_options: Any,
) -> tuple[Tensor, Tensor]:
    _check_alike("x", x, output=output, previous_x0=previous_x0)
    _check_real("x", x, t_previous=t_previous, t=t, s=s, alphas_cumprod=alphas_cumprod)
    return x.new_empty(x.shape), x.new_empty(x.shape)


@torch.library.register_fake("semdiff::dpmpp_2m_step_backward")
def _(
    grad_x_s: Tensor | None,
    grad_x0: Tensor | None,
    x: Tensor,
    output: Tensor,
    previous_x0: Tensor | None,
    t_previous: Tensor | None,
    t: Tensor,
    s: Tensor,
    alphas_cumprod: Tensor,
    *_options: Any,
) -> tuple[Tensor, ...]:
    _check_alike("x", x, grad_x_s=grad_x_s, grad_x0=grad_x0, output=output, previous_x0=previous_x0)
    _check_real("x", x, t_previous=t_previous, t=t, s=s, alphas_cumprod=alphas_cumprod)
    return x.new_empty(x.shape), x.new_empty(x.shape), x.new_empty((0,) if previous_x0 is None else x.shape)


@torch.library.register_fake("semdiff::svd_2x2")
def _(h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return h.new_empty(h.shape), h.new_empty(h.shape[:-1], dtype=h.dtype.to_real()), h.new_empty(h.shape)


@torch.library.register_fake("semdiff::reparameterize")
def _(mu: Tensor, logvar: Tensor, key: Tensor) -> Tensor:
    _check_alike("mu", mu, logvar=logvar)
    _check_key(key)
    return mu.new_empty(mu.shape)


@torch.library.register_fake("semdiff::reparameterize_backward")
def _(grad: Tensor, sample: Tensor, mu: Tensor) -> Tensor:
    _check_alike("grad", grad, sample=sample, mu=mu)
    return grad.new_empty(grad.shape)


@torch.library.register_fake("semdiff::gaussian_upsample")
def _(features: Tensor, scale: int, key: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    _check_key(key)
    if scale < 1:
        raise ValueError(f"scale: expected at least 1, got {scale}")
    if features.dim() != 4 or features.shape[1] < 1 or features.shape[1] % (2 * scale * scale):
        raise ValueError(f"features: expected shape (B, 2*C*scale^2, h, w) with scale = {scale}, got {tuple(features.shape)}")
    b, c, h, w = features.shape
    shape = (b, c // (2 * scale * scale), h * scale, w * scale)
    return features.new_empty(shape), features.new_empty(shape), features.new_empty(shape)


@torch.library.register_fake("semdiff::gaussian_upsample_backward")
def _(
    grad_sample: Tensor, grad_mean: Tensor | None, grad_logvar: Tensor | None, sample: Tensor, mean: Tensor, logvar: Tensor, scale: int
) -> Tensor:
    _check_alike("sample", sample, grad_sample=grad_sample, grad_mean=grad_mean, grad_logvar=grad_logvar, mean=mean, logvar=logvar)
    if scale < 1 or sample.dim() != 4 or sample.shape[2] % scale or sample.shape[3] % scale:
        raise ValueError(f"sample: expected shape (B, C, h*scale, w*scale) with scale = {scale}, got {tuple(sample.shape)}")
    b, c, h, w = sample.shape
    return sample.new_empty((b, 2 * c * scale * scale, h // scale, w // scale))


def _loss(
    mu: Tensor, logvar: Tensor, z: Tensor, alpha_bar: Tensor, lambda_prior: float, lambda_match: float, key: Tensor
) -> tuple[Tensor, ...]:
    _check_alike("mu", mu, logvar=logvar, z=z)
    _check_real("mu", mu, alpha_bar=alpha_bar)
    _check_key(key)
    dtype = torch.float64 if mu.dtype == torch.float64 else torch.float32
    return tuple(mu.new_empty((), dtype=dtype) for _ in range(4))


torch.library.register_fake("semdiff::upsampler_loss")(_loss)


@torch.library.register_fake("semdiff::upsampler_loss_with_gradients")
def _(mu: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return *_loss(mu, *rest), mu.new_empty(mu.shape), mu.new_empty(mu.shape)

# SPDX-License-Identifier: Apache-2.0
"""References in plain torch for hostile.py: of the backward operators the gradient of the forward's reference, or the formula; of others
what they say of inputs at which `_reference.py`'s formula divides by zero.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from semdiff import _reference as ref
from tests.python.op_table import noise_for

Gradients = tuple[Tensor | None, ...]


def _gradients(call: Callable[..., Any], inputs: list[Tensor | None], grads: list[Tensor | None]) -> Gradients:
    """Of call's outputs, with these gradients at them; inputs that are absent have none."""
    given = [None if i is None else i.detach().clone().requires_grad_() for i in inputs]
    with torch.enable_grad():
        out = call(*given)
        pairs = [(o, g) for o, g in zip(out if isinstance(out, tuple) else (out,), grads, strict=True) if g is not None]
        wanted = [g for g in given if g is not None]
        found = iter(torch.autograd.grad([o for o, _ in pairs], wanted, [g for _, g in pairs], allow_unused=True))
    filled = (None if g is None else next(found) for g in given)
    return tuple(f if f is not None or g is None else torch.zeros_like(g) for f, g in zip(filled, given, strict=True))


def ddim_step(
    grad: Tensor, x: Tensor, output: Tensor, t: Tensor, s: Tensor, table: Tensor, eta: float, prediction: str, clip: float | None
) -> Gradients:
    a, b = ref.alpha_bar(table, t), ref.alpha_bar(table, s)
    return _gradients(lambda x, o: ref.ddim_step(x, o, a, b, eta, prediction, clip, None), [x, output], [grad])


def dpmpp_2m_step(
    grad: Tensor | None, grad_x0: Tensor | None, x: Tensor, output: Tensor, previous: Tensor | None, p: Tensor | None, t: Tensor,
    s: Tensor, table: Tensor, prediction: str, clip: float | None,
) -> Gradients:  # fmt: skip
    p = None if bool((s == -1).all()) else p
    times = [None if v is None else ref.alpha_bar(table, v) for v in (p, t, s)]
    return _gradients(lambda x, o, q: ref.dpmpp_2m_step(x, o, q, *times, prediction, clip), [x, output, previous], [grad, grad_x0])


def reparameterize(grad: Tensor, sample: Tensor, mu: Tensor) -> Tensor:
    return grad * (sample - mu) / 2


def normalize_power(grad: Tensor, grad_scale: Tensor | None, normalized: Tensor, scale: Tensor) -> Tensor:
    """(g - s' <g, s'> / n) / r + g_r s' / n, <,> the real inner product; r = 0 counts as 1."""
    symbols = normalized[0].numel()
    r = ref._rows(torch.where(scale == 0, 1.0, scale), normalized)
    product = (grad * normalized.conj()).real if grad.is_complex() else grad * normalized
    inner = ref._rows(product.flatten(1).sum(1), grad)
    along = -inner / r + (0 if grad_scale is None else ref._rows(grad_scale, grad))
    return grad / r + normalized * along / symbols


def gaussian_upsample(
    grad: Tensor, grad_mean: Tensor | None, grad_logvar: Tensor | None, sample: Tensor, mean: Tensor, logvar: Tensor, scale: int
) -> Tensor:
    of_mean = grad if grad_mean is None else grad + grad_mean
    of_logvar = grad * (sample - mean) / 2 + (0 if grad_logvar is None else grad_logvar)
    return torch.nn.functional.pixel_unshuffle(torch.cat([of_mean, of_logvar * (1 - (logvar / 10).square())], 1), scale)


def dpmpp_2m_step_to_clean(x: Tensor, output: Tensor, previous: Any, p: Any, t: Tensor, s: Tensor, table: Tensor, *rest: Any) -> Any:
    """A step to clean data, s = -1, is of first order: ln SNR is infinite there."""
    before = None if bool((s == -1).all()) or p is None else ref.alpha_bar(table, p)
    return ref.dpmpp_2m_step(x, output, previous, before, ref.alpha_bar(table, t), ref.alpha_bar(table, s), *rest)


def diffuse(x: Tensor, signal: Tensor | None, noise: Tensor, key: Tensor) -> Tensor:
    """Trailing ones of the coefficients' shape mean nothing."""
    a, b = (None if c is None else c.reshape(()) if c.numel() == 1 else c for c in (signal, noise))
    return ref.diffuse(x, a, b, noise_for(x))


def equalize(y: Tensor, h: Tensor, noise_var: Tensor, method: str) -> tuple[Tensor, Tensor, Tensor]:
    """A gain of zero, in float32, has no inverse: weight 0 and infinite noise."""
    dead = (h * h.conj()).real < 1e-38
    if not dead.any() or method in ("mmse", "matched"):
        return ref.equalize(y, h, noise_var, method)
    x, noise, gain = ref.equalize(y, torch.where(dead, 1, h), noise_var, method)
    return torch.where(dead, 0, x), torch.where(dead, torch.inf, noise), gain


REFERENCES: dict[str, Callable[..., Any]] = {
    "diffuse": diffuse,
    "equalize": equalize,
    "dpmpp_2m_step": dpmpp_2m_step_to_clean,
    "ddim_step_backward": ddim_step,
    "dpmpp_2m_step_backward": dpmpp_2m_step,
    "reparameterize_backward": reparameterize,
    "normalize_power_backward": normalize_power,
    "gaussian_upsample_backward": gaussian_upsample,
}

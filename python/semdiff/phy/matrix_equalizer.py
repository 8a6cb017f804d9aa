# SPDX-License-Identifier: Apache-2.0
"""Linear receivers for several antennas: x = W y for y = H s + n, H known at the receiver, s of unit power.

Stream i of x is gain_i s_i + noise, with G = W H, gain_i = G_ii and noise_i = sum_{j != i} |G_ij|^2 + N0 ||W_i||^2: what the other streams
leave counts as noise. (Tse and Viswanath, "Fundamentals of wireless communication", chapter 8.)
"""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from semdiff._util.arguments import REAL
from semdiff._util.complex import power, product, times
from semdiff.phy.channel import Equalized, Received, check_received

EqualizerMethod: TypeAlias = Literal["zf", "mmse", "mmse_unbiased", "matched", "mrc"]
METHODS: tuple[str, ...] = get_args(EqualizerMethod)


def check_method(method: str) -> None:
    """ValueError unless it is one of METHODS."""
    if method not in METHODS:
        raise ValueError(f"method: expected {', '.join(METHODS[:-1])} or {METHODS[-1]}, got {method!r}")


def equalize_matrix(received: Received, method: EqualizerMethod = "zf") -> Equalized:
    """Separate the streams of y (B, uses, nr) with h (B, uses or 1, nr, nt): x (B, uses * nt) in the order in which the symbols went out.

    noise_var (one number a use, the same for all antennas) is N0; `noise_var` and `gain` of the result are float64, (B, uses * nt).
    Symbols that only padded the last use are the caller's to drop. Differentiable in y.

    zf: W = (H^H H)^-1 H^H, no interference, gain 1.   mmse: W = (H^H H + N0 I)^-1 H^H, the least squared error; biased:
    gain_i = 1 - N0 [(H^H H + N0 I)^-1]_ii, noise variance gain_i (1 - gain_i).   mmse_unbiased: mmse divided by its gain.
    matched: W = H^H, gain_i = ||h_i||^2.   mrc: matched divided by its gain; for one stream it is maximum-ratio combining, N0 / ||h||^2.

    TypeError unless y and h are complex. ValueError for another method or shape, for zf unless H has full column rank (nr >= nt) to
    rounding, for mmse if H has not and N0 is 0 (there is no inverse), and for mmse_unbiased and mrc where a stream is not heard at all.
    """
    check_method(method)
    y, h, n0 = _checked(received)
    wide, eps = h.to(torch.complex128), torch.finfo(h.dtype).eps
    if method == "zf":
        w = _zero_forcing(wide, eps)
    elif method in ("mmse", "mmse_unbiased"):
        w = _left_inverse(wide, n0)
        if not torch.compiler.is_compiling() and bool(((n0[..., 0] == 0) & _singular(wide, w, eps)).any()):
            raise ValueError(f"received.h: expected matrices of full column rank for {method} without noise, got a singular one")
    else:
        w = wide.mH
    g = product(w, wide)
    if method in ("mmse_unbiased", "mrc"):
        own = g.diagonal(dim1=-2, dim2=-1).real.unsqueeze(-1)
        if not torch.compiler.is_compiling() and not bool((own > 0).all()):
            raise ValueError(f"received.h: expected a non-zero column for each stream with {method}, got a zero one")
        w, g = w * own.reciprocal(), g * own.reciprocal()
    gain = g.diagonal(dim1=-2, dim2=-1).real
    others = 1 - torch.eye(gain.shape[-1], dtype=torch.float64, device=g.device)
    noise_var = (power(g) * others).sum(-1) + n0 * power(w).sum(-1)
    if method in ("zf", "mmse_unbiased", "mrc"):
        gain = torch.ones_like(gain)  # without the rounding
    batch, uses, streams = y.shape[0], y.shape[1], gain.shape[-1]
    x = product(w.to(y.dtype), y.unsqueeze(-1))
    noise_var, gain = (v.expand(batch, uses, streams).reshape(batch, uses * streams) for v in (noise_var, gain))
    return Equalized(x.reshape(batch, uses * streams), noise_var, gain)


def _left_inverse(h: Tensor, n0: Tensor) -> Tensor:
    """Return (H^H H + N0 I)^-1 H^H, without forming H^H H, which would square the condition number.

    2x2: (det* adj H + N0 H^H) / (|det|^2 + N0 ||H||^2 + N0^2).   Other sizes: [H; sqrt(N0) I] = [Q1; Q2] R and W = R^-1 Q1^H.
    """
    n0 = n0.unsqueeze(-1)
    nr, nt = h.shape[-2:]
    if nr == nt == 2:
        (a, b), (c, d) = (row.unbind(-1) for row in h.unbind(-2))
        det = (times(a, d) - times(b, c))[..., None, None]
        adjugate = torch.stack([torch.stack([d, -b], -1), torch.stack([-c, a], -1)], -2)
        energy = power(h).sum((-2, -1), keepdim=True)
        return (times(det.conj(), adjugate) + n0 * h.mH) * (power(det) + n0 * energy + n0.square()).reciprocal()
    below = n0.sqrt() * torch.eye(nt, dtype=h.dtype, device=h.device)
    shape = torch.broadcast_shapes(h.shape[:2], below.shape[:2])
    q, r = torch.linalg.qr(torch.cat([h.expand(*shape, nr, nt), below.expand(*shape, nt, nt)], -2))
    w: Tensor = torch.linalg.solve_triangular(r, q[..., :nr, :].mH, upper=True)
    return w


def _zero_forcing(h: Tensor, eps: float) -> Tensor:
    nr, nt = h.shape[-2:]
    if nr < nt:
        raise ValueError(f"received.h: expected at least as many receive as transmit antennas for zf, got nr = {nr}, nt = {nt}")
    w = _left_inverse(h, torch.zeros(1, 1, 1, dtype=torch.float64, device=h.device))
    if not torch.compiler.is_compiling() and bool(_singular(h, w, eps).any()):
        raise ValueError("received.h: expected matrices of full column rank for zf, got a singular one")
    return w


def _singular(h: Tensor, w: Tensor, eps: float) -> Tensor:
    """Whether the condition number is beyond what entries rounded to `eps` can tell: of h and its inverse w, (B or 1, uses or 1). What
    rounding makes of the inverse of a singular matrix, large numbers, infinity or NaN, depends on the processor."""
    condition = (power(h).sum((-2, -1)) * power(w).sum((-2, -1))).sqrt()
    return ~(condition < 0.25 / eps)


def _checked(received: Received) -> tuple[Tensor, Tensor, Tensor]:
    """Return y, h, and N0 as float64 (B or 1, uses or 1, 1)."""
    y, h, n0 = check_received(received)
    for name, value, dims, shape in (("y", y, 3, "(B, uses, nr)"), ("h", h, 4, "(B, uses or 1, nr, nt)")):
        if not value.is_complex():
            raise TypeError(f"received.{name}: expected a complex tensor, got {value.dtype}")
        if value.dim() != dims:
            raise ValueError(f"received.{name}: expected shape {shape}, got {tuple(value.shape)}")
    batch, uses, nr = y.shape
    if h.shape[0] != batch or h.shape[1] not in (1, uses) or h.shape[2] != nr or h.shape[3] < 1:
        raise ValueError(f"received.h: expected shape ({batch}, {uses} or 1, {nr}, nt), got {tuple(h.shape)}")
    for name, value in (("h", h), ("noise_var", n0)):
        if value.device != y.device:
            raise ValueError(f"received.{name}: expected the device of received.y, {y.device}, got {value.device}")
    if n0.dtype not in REAL:
        raise TypeError(f"received.noise_var: expected a floating-point tensor, got {n0.dtype}")
    if not (torch.compiler.is_compiling() or n0.is_meta) and not bool(((n0 >= 0) & n0.isfinite()).all()):
        raise ValueError("received.noise_var: expected finite numbers >= 0")
    n0 = n0.double().reshape((1,) * (3 - n0.dim()) + n0.shape)
    if n0.dim() != 3 or n0.shape[0] not in (1, batch) or n0.shape[1] not in (1, uses) or n0.shape[2] != 1:
        raise ValueError(f"received.noise_var: expected shape ({batch}, {uses} or 1, 1), got {tuple(received.noise_var.shape)}")
    return y, h, n0

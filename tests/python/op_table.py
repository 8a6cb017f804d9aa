# SPDX-License-Identifier: Apache-2.0
"""One row for each operator: its arguments, its reference, and which arguments have gradients. test_op_contract.py runs every row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import semdiff
from semdiff import _reference as ref

SMALL, BIG = (2, 4, 6, 10), (3, 4, 64, 100)  # BIG is 75 blocks of 1024: several tasks for two and for four threads
REAL = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
WIDE = (torch.float64, torch.float32)
SEED = 7
KEY = semdiff.Key(SEED).tensor
TABLE = semdiff.NoiseSchedule.scaled_linear().alphas_cumprod
COMPLEX = {torch.float64: torch.complex128, torch.float32: torch.complex64}
Args = tuple[Any, ...]


def draw(shape: Sequence[int], seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return ref.normal(tuple(shape), seed).to(dtype)


def complex_draw(shape: Sequence[int], seed: int, dtype: torch.dtype) -> Tensor:
    return torch.view_as_complex(ref.normal((*shape, 2), seed)).to(COMPLEX[dtype])


def noise_for(x: Tensor) -> Tensor:
    """The n that the operators draw for x with KEY, in float64."""
    return torch.view_as_complex(ref.normal((*x.shape, 2), SEED)) if x.is_complex() else ref.normal(tuple(x.shape), SEED)


def fading_draws(s: Tensor, coherence: int) -> tuple[Tensor, Tensor]:
    """The gains' and the noise's numbers that a fading channel draws for s with KEY: those of the key's two halves."""
    seeds = [k.tensor.tolist()[0] for k in semdiff.Key(SEED).split()]
    gains = -(-s[0].numel() // coherence) if coherence else 1
    sizes = [(len(s), gains, 2), (*s.shape, 2)]
    z, n = (torch.view_as_complex(ref.normal(size, seed)) for size, seed in zip(sizes, seeds, strict=True))
    return z, n


def per_sample(shape: Sequence[int], low: float, high: float) -> Tensor:
    """(B,) numbers between low and high, or none for an empty batch."""
    return torch.linspace(low, high, shape[0], dtype=torch.float64)


@dataclass(frozen=True)
class Op:
    name: str
    make: Callable[[Sequence[int], torch.dtype], Args]
    reference: Callable[..., Any] | None = None  # takes the arguments in float64; None where a gradient's reference covers it
    gradients: tuple[int, ...] = ()  # positions of the arguments that have one
    outputs: tuple[int, ...] | None = None  # positions of the outputs that carry one; None: all
    dtypes: tuple[torch.dtype, ...] = REAL
    shaped: bool = True  # make's shape is that of the data
    note: str = ""

    @property
    def call(self) -> Any:
        return getattr(torch.ops.semdiff, self.name).default

    def __str__(self) -> str:
        return f"{self.name}-{self.note}" if self.note else self.name


def _x(seed: int = 1) -> Callable[[Sequence[int], torch.dtype], Tensor]:
    return lambda shape, dtype: draw(shape, seed, dtype)


def _ddim(eta: float, prediction: str, clip: float | None, scalar: bool = False) -> Op:
    def make(shape: Sequence[int], dtype: torch.dtype) -> Args:
        t, s = per_sample(shape, 300.25, 700), per_sample(shape, 100, 620.5)
        if scalar:
            t, s = torch.tensor(500.0, dtype=torch.float64), torch.tensor(-1.0, dtype=torch.float64)
        return draw(shape, 1, dtype), draw(shape, 2, dtype), t, s, TABLE, eta, prediction, clip, KEY if eta else None

    def reference(
        x: Tensor, output: Tensor, t: Tensor, s: Tensor, table: Tensor, eta: float, prediction: str, clip: Any, key: Any
    ) -> Tensor:
        n = noise_for(x) if eta else None
        return ref.ddim_step(x, output, ref.alpha_bar(table, t), ref.alpha_bar(table, s), eta, prediction, clip, n)

    return Op("ddim_step", make, reference, (0, 1), note=f"{prediction}-{eta}-{clip}")


def _dpmpp(previous: bool, prediction: str, clip: float | None) -> Op:
    def make(shape: Sequence[int], dtype: torch.dtype) -> Args:
        times = [per_sample(shape, low, low + 150.5) for low in (600, 400, 200)]
        before = (draw(shape, 3, dtype), times[0]) if previous else (None, None)
        return draw(shape, 1, dtype), draw(shape, 2, dtype), *before, times[1], times[2], TABLE, prediction, clip

    def reference(x: Tensor, output: Tensor, before: Any, p: Any, t: Tensor, s: Tensor, table: Tensor, prediction: str, clip: Any) -> Any:
        return ref.dpmpp_2m_step(
            x, output, before, None if p is None else ref.alpha_bar(table, p), *(ref.alpha_bar(table, v) for v in (t, s)), prediction, clip
        )

    return Op("dpmpp_2m_step", make, reference, (0, 1, 2) if previous else (0, 1), note=f"{prediction}-{previous}-{clip}")


def _loss(name: str, gradients: tuple[int, ...]) -> Op:
    def make(shape: Sequence[int], dtype: torch.dtype) -> Args:
        return *(draw(shape, i, dtype) for i in (1, 2, 3)), per_sample(shape, 0.2, 0.9), 0.1, 0.2, KEY

    def reference(mu: Tensor, logvar: Tensor, z: Tensor, a: Tensor, prior: float, match: float, key: Any) -> Any:
        return ref.upsampler_loss(mu, logvar, z, a, prior, match, noise_for(mu))

    return Op(name, make, reference, gradients, (0,))


def _step_backward(name: str, make: Callable[[Sequence[int], torch.dtype], Args], grads: int) -> Op:
    def with_gradients(shape: Sequence[int], dtype: torch.dtype) -> Args:
        return *(draw(shape, 9 + i, dtype) for i in range(grads)), *make(shape, dtype)

    return Op(name, with_gradients)


def _fading(coherence: int) -> Op:
    return Op(
        "fading",
        lambda shape, dtype: (complex_draw(shape, 1, dtype), 0.3, 0.9, per_sample(shape, 0.2, 0.4), min(coherence, _symbols(shape)), KEY),
        lambda s, los, scatter, noise, run, key: ref.fading(s, los, scatter, noise, run, *fading_draws(s, run)),
        (0, 3),
        (0,),
        dtypes=WIDE,
        note=str(coherence),
    )


def _fading_equalized(coherence: int, method: str) -> Op:
    return Op(
        "fading_equalized",
        lambda shape, dtype: (
            complex_draw(shape, 1, dtype), 0.3, 0.9, per_sample(shape, 0.2, 0.4), min(coherence, _symbols(shape)), method, KEY,
        ),
        lambda s, los, scatter, n0, run, method, key: ref.fading_equalized(s, los, scatter, n0, run, method, *fading_draws(s, run)),
        (0,),
        (0,),
        dtypes=WIDE,
        note=f"{coherence}-{method}",
    )  # fmt: skip


def _symbols(shape: Sequence[int]) -> int:
    return math.prod(shape[1:])


def _equalize(method: str, gradients: tuple[int, ...], outputs: tuple[int, ...] | None, by_sample: bool = False) -> Op:
    def make(shape: Sequence[int], dtype: torch.dtype) -> Args:
        one = (shape[0],) + (1,) * (len(shape) - 1)
        h = complex_draw(one if by_sample else shape, 2, dtype)
        return complex_draw(shape, 1, dtype), h + h / h.abs(), per_sample(shape, 0.2, 0.4).reshape(one), method

    return Op("equalize", make, ref.equalize, gradients, outputs, WIDE, note=f"{method}-{len(gradients)}{'-by-sample' * by_sample}")


def _features(shape: Sequence[int]) -> tuple[int, ...]:
    b, c, h, w = shape
    return b, 2 * c * 4, h // 2, w // 2  # scale 2 brings it to `shape`


OPS = [
    Op("normal", lambda shape, dtype: (list(shape), KEY, dtype, torch.device("cpu")), lambda size, *_: ref.normal(tuple(size), SEED)),
    Op("key_split", lambda shape, dtype: (KEY, 5), dtypes=(torch.float32,), shaped=False),
    Op("key_fold_in", lambda shape, dtype: (KEY, 5), dtypes=(torch.float32,), shaped=False),
    Op("alphas_cumprod", lambda shape, dtype: ("linear", 10, 1e-4, 0.02), dtypes=(torch.float32,), shaped=False),
    Op("alpha_bar", lambda shape, dtype: (TABLE, (draw(shape, 1, dtype).abs() * 200).clamp_max(998)), lambda a, t: ref.alpha_bar(a, t)),
    Op("timestep", lambda shape, dtype: (TABLE, draw(shape, 1, dtype).abs() + 0.1, "none"), ref.timestep),
    Op("timestep", lambda shape, dtype: (TABLE, draw(shape, 1, dtype).abs() + 0.1, "ceil"), ref.timestep, note="ceil"),
    Op(
        "diffuse",
        lambda shape, dtype: (draw(shape, 1, dtype), per_sample(shape, 0.5, 0.9), per_sample(shape, 0.1, 0.4), KEY),
        lambda x, a, b, k: ref.diffuse(x, a, b, noise_for(x)),
        (0, 1, 2),
    ),
    Op(
        "diffuse",
        lambda shape, dtype: (complex_draw(shape, 1, dtype), None, draw(shape, 2, dtype).abs(), KEY),
        lambda x, a, b, k: ref.diffuse(x, a, b, noise_for(x)),
        (0, 2),
        dtypes=WIDE,
        note="complex-per-element",
    ),
    _fading(0),
    _fading(1),
    _fading(7),
    _fading_equalized(0, "mmse"),
    _fading_equalized(1, "mmse"),
    _fading_equalized(30, "matched"),
    _fading_equalized(1, "mmse_unbiased"),
    _equalize("zf", (0,), (0,)),
    _equalize("mmse", (0,), (0,)),
    _equalize("mmse", (1, 2), None),
    _equalize("mmse", (1, 2), None, by_sample=True),
    _equalize("mmse_unbiased", (1,), (0, 1)),  # its gain is 1
    _equalize("matched", (1, 2), None),
    Op("normalize_power", lambda shape, dtype: (draw(shape, 1, dtype) * 3,), ref.normalize_power, (0,)),
    Op("normalize_power", lambda shape, dtype: (complex_draw(shape, 1, dtype),), ref.normalize_power, (0,), dtypes=WIDE, note="complex"),
    Op(
        "normalize_power_backward",
        lambda shape, dtype: (draw(shape, 1, dtype), None, draw(shape, 2, dtype), per_sample(shape, 1, 2).float()),
    ),
    Op(
        "measured_snr_db",
        lambda shape, dtype: (draw(shape, 1, dtype), (draw(shape, 1) + 0.1 * draw(shape, 2)).to(dtype)),
        ref.measured_snr_db,
    ),
    Op(  # the first column is the larger one, so singular values are apart and vectors unique to rounding
        "svd_2x2",
        lambda shape, dtype: (complex_draw((*shape, 2, 2), 1, dtype) * torch.tensor([8, 0.5], dtype=dtype),),
        ref.svd_2x2,
        dtypes=WIDE,
    ),
    Op("pack", lambda shape, dtype: (draw(shape, 1, dtype),), ref.pack, (0,)),
    Op(
        "unpack",
        lambda shape, dtype: (complex_draw((shape[0], semdiff.pack(torch.zeros(shape)).shape[1]), 1, dtype), list(shape)),
        lambda s, shape: ref.unpack(s, tuple(shape)),
        (0,),
        dtypes=WIDE,
    ),
    _ddim(0.0, "eps", None),
    _ddim(0.5, "eps", 1.2),
    _ddim(1.0, "x0", None),
    _ddim(0.0, "v", 0.9),
    _ddim(0.0, "eps", None, scalar=True),
    _step_backward("ddim_step_backward", lambda *a: _ddim(0.5, "eps", 1.2).make(*a)[:-1], 1),
    _dpmpp(True, "eps", None),
    _dpmpp(True, "v", 0.9),
    _dpmpp(False, "x0", None),
    _step_backward("dpmpp_2m_step_backward", lambda *a: _dpmpp(True, "eps", 1.2).make(*a), 2),
    Op(
        "reparameterize",
        lambda shape, dtype: (draw(shape, 1, dtype), draw(shape, 2, dtype), KEY),
        lambda mu, logvar, k: ref.reparameterize(mu, logvar, noise_for(mu)),
        (0, 1),
    ),
    Op("reparameterize_backward", lambda shape, dtype: tuple(draw(shape, i, dtype) for i in (1, 2, 3))),
    Op(
        "gaussian_upsample",
        lambda shape, dtype: (draw(_features(shape), 1, dtype), 2, KEY),
        lambda f, scale, k: ref.gaussian_upsample(
            f, scale, ref.normal((f.shape[0], f.shape[1] // 8, f.shape[2] * 2, f.shape[3] * 2), SEED)
        ),
        (0,),
    ),
    Op("gaussian_upsample_backward", lambda shape, dtype: (*(draw(shape, i, dtype) for i in range(1, 7)), 2)),
    _loss("upsampler_loss", ()),
    _loss("upsampler_loss_with_gradients", (0, 1)),
]

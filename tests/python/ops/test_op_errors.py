# SPDX-License-Identifier: Apache-2.0
"""Bad arguments of operators: TypeError for a dtype, ValueError for a shape, a value or a device; each names the argument."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.python.op_table import KEY, SMALL, TABLE, Args, complex_draw, draw

X = draw(SMALL, 1, torch.float32)
ONE = torch.tensor(0.5, dtype=torch.float64)
T, S = torch.full((2,), 50.0, dtype=torch.float64), torch.full((2,), 20.0, dtype=torch.float64)
META_KEY = KEY.to("meta")


def _step(**changes: Any) -> Args:
    given: dict[str, Any] = {
        "x": X,
        "output": X,
        "t": T,
        "s": S,
        "table": TABLE,
        "eta": 0.0,
        "prediction": "eps",
        "clip": None,
        "key": None,
    }
    return tuple((given | changes).values())


def _multistep(**changes: Any) -> Args:
    given: dict[str, Any] = {
        "x": X, "output": X, "previous": None, "p": None, "t": T, "s": S, "table": TABLE, "prediction": "eps", "clip": None,
    }  # fmt: skip
    return tuple((given | changes).values())


WRONG: list[tuple[str, Args, type[Exception], str]] = [
    ("normal", ([2], X, torch.float32, torch.device("cpu")), TypeError, r"key: expected a uint64 tensor of shape \(2,\).*got Float"),
    ("normal", ([2], KEY[:1], torch.float32, torch.device("cpu")), ValueError, r"key: expected shape \(2,\), got \[1\]"),
    ("normal", ([2], META_KEY, torch.float32, torch.device("cpu")), ValueError, r"key: expected a CPU tensor .*got one on meta"),
    ("normal", ([2], KEY, torch.int32, torch.device("cpu")), TypeError, "dtype: expected a floating-point type, got Int"),
    ("normal", ([-2], KEY, torch.float32, torch.device("cpu")), ValueError, r"size: expected non-negative numbers, got \[-2\]"),
    ("key_split", (KEY, 0), ValueError, "n: expected at least 1, got 0"),
    ("key_fold_in", (KEY, -1), ValueError, "index: expected a non-negative number, got -1"),
    ("diffuse", (X.int(), None, ONE, KEY), TypeError, "x: expected a floating-point, complex64 or complex128 tensor, got Int"),
    ("diffuse", (X, None, ONE.int(), KEY), TypeError, "noise: expected a floating-point tensor, got Int"),
    (
        "diffuse",
        (X, None, torch.ones(3), KEY),
        ValueError,
        r"noise: expected shape \(\) or one that begins like x's \[2, 4, 6, 10\].*got \[3\]",
    ),
    ("diffuse", (X, torch.ones(2), ONE, KEY), ValueError, r"signal: expected the shape of noise, \[\], got \[2\]"),
    ("diffuse", (X, None, ONE, META_KEY), ValueError, "key: expected a CPU tensor"),
    ("diffuse", (X, None, ONE.to("meta"), KEY), ValueError, "noise: expected a tensor with values"),
    ("normalize_power", (X.long(),), TypeError, "s: expected a floating-point, complex64 or complex128 tensor, got Long"),
    ("normalize_power", (X[0, 0, 0, 0],), ValueError, "s: expected a batch of samples"),
    ("measured_snr_db", (X, X[:1]), ValueError, r"y: expected the shape of s, \[2, 4, 6, 10\], got \[1, 4, 6, 10\]"),
    ("measured_snr_db", (X, X.double()), TypeError, "y: expected the dtype of s, Float, got Double"),
    ("measured_snr_db", (X, X.to("meta")), ValueError, "y: expected the device of s, cpu, got meta"),
    ("pack", (X.int(),), TypeError, "z: expected a floating-point tensor, got Int"),
    ("unpack", (X, [2, 240]), TypeError, "s: expected a complex tensor, got Float"),
    (
        "unpack",
        (complex_draw((2, 3), 1, torch.float32), [2, 9]),
        ValueError,
        r"shape: expected a shape \(B, ...\) that packs to \[2, 3\], got \[2, 9\]",
    ),
    ("svd_2x2", (X[..., :2, :2],), TypeError, "h: expected a complex64 or complex128 tensor, got Float"),
    ("svd_2x2", (complex_draw((2, 3), 1, torch.float32),), ValueError, r"h: expected shape \(..., 2, 2\), got \[2, 3\]"),
    ("alpha_bar", (TABLE.float(), ONE), TypeError, "alphas_cumprod: expected float64, got Float"),
    ("alpha_bar", (TABLE, ONE.int()), TypeError, "t: expected a floating-point tensor, got Int"),
    ("alpha_bar", (TABLE, ONE * 4000), ValueError, r"t: expected a time in \[0, 999\] or -1 \(clean\), got 2000"),
    ("timestep", (TABLE, -ONE, "none"), ValueError, "noise_var: expected finite numbers >= 0, got -0.5"),
    ("timestep", (TABLE, ONE, "up"), ValueError, "rounding: expected none, ceil or nearest, got up"),
    ("alphas_cumprod", ("sine", 10, 0.1, 0.2), ValueError, "kind: expected scaled_linear, linear or cosine, got sine"),
    ("alphas_cumprod", ("linear", 0, 0.1, 0.2), ValueError, "T: expected at least 1, got 0"),
    ("alphas_cumprod", ("linear", 10, 0.3, 0.2), ValueError, "expected 0 < beta_start <= beta_end < 1, got 0.3, 0.2"),
    ("ddim_step", _step(x=X.int()), TypeError, "x: expected a floating-point tensor, got Int"),
    ("ddim_step", _step(output=X[:1]), ValueError, "output: expected the shape of x"),
    ("ddim_step", _step(output=X.half()), TypeError, "output: expected the dtype of x, Float, got Half"),
    ("ddim_step", _step(output=X.to("meta")), ValueError, "output: expected the device of x, cpu, got meta"),
    ("ddim_step", _step(t=T.to("meta")), ValueError, "t: expected a tensor with values"),
    ("ddim_step", _step(t=T[:1], s=S[:1]), ValueError, r"t: expected shape \(\) or \(B,\) with B = 2, got \[1\]"),
    ("ddim_step", _step(s=S[:1]), ValueError, r"s: expected the shape of t, \[2\], got \[1\]"),
    ("ddim_step", _step(s=T + 1), ValueError, "s: expected a time not after t = 50, got 51"),
    ("ddim_step", _step(t=T * 100), ValueError, r"t: expected a time in \[0, 999\]"),
    ("ddim_step", _step(s=-S), ValueError, r"s: expected a time in \[0, 999\] or -1 \(clean\), got -20"),
    ("ddim_step", _step(t=T * float("nan")), ValueError, "t: expected a time in .*got nan"),
    ("ddim_step", _step(eta=1.5, key=KEY), ValueError, r"eta: expected a number in \[0, 1\], got 1.5"),
    ("ddim_step", _step(eta=0.5), ValueError, "key: expected one when eta > 0, got None"),
    ("ddim_step", _step(prediction="noise"), ValueError, "prediction: expected eps, x0 or v, got noise"),
    ("ddim_step", _step(clip=0.0), ValueError, "clip: expected a positive bound or None, got 0"),
    ("ddim_step", _step(clip=float("nan")), ValueError, "clip: expected a positive bound or None, got nan"),
    ("ddim_step", _step(table=TABLE.float()), TypeError, "alphas_cumprod: expected a float64 CPU tensor"),
    ("dpmpp_2m_step", _multistep(previous=X), ValueError, "t_previous: expected together with previous_x0"),
    ("dpmpp_2m_step", _multistep(previous=X.double(), p=T + 9), TypeError, "previous_x0: expected the dtype of x"),
    ("dpmpp_2m_step", _multistep(previous=X[:1], p=T + 9), ValueError, "previous_x0: expected the shape of x"),
    ("reparameterize", (X, X[:1], KEY), ValueError, "logvar: expected the shape of mu"),
    ("reparameterize", (X, X.to("meta"), KEY), ValueError, "logvar: expected the device of mu, cpu, got meta"),
    ("reparameterize", (X.int(), X, KEY), TypeError, "mu: expected a floating-point tensor, got Int"),
    (
        "gaussian_upsample",
        (X, 2, KEY),
        ValueError,
        r"features: expected shape \(B, 2\*C\*scale\^2, h, w\) with scale = 2, got \[2, 4, 6, 10\]",
    ),
    ("gaussian_upsample", (X, 0, KEY), ValueError, "scale: expected at least 1, got 0"),
    ("gaussian_upsample", (X.int(), 1, KEY), TypeError, "features: expected a floating-point tensor, got Int"),
    ("upsampler_loss", (X, X, X[:1], ONE, 0.1, 0.1, KEY), ValueError, "z: expected the shape of mu"),
    ("upsampler_loss", (X, X, X, ONE * 2, 0.1, 0.1, KEY), ValueError, r"alpha_bar: expected numbers in \(0, 1\), got 1"),
    ("upsampler_loss", (X, X, X, ONE, -0.1, 0.1, KEY), ValueError, "lambda_prior: expected a finite number >= 0, got -0.1"),
    ("upsampler_loss", (X, X, X, ONE, 0.1, float("inf"), KEY), ValueError, "lambda_match: expected a finite number >= 0, got inf"),
    (
        "upsampler_loss",
        (X, X, X, torch.full((3,), 0.5), 0.1, 0.1, KEY),
        ValueError,
        r"alpha_bar: expected shape \(\) or one that begins like mu",
    ),
]


@pytest.mark.parametrize(("name", "args", "error", "message"), WRONG, ids=[f"{w[0]}-{i}" for i, w in enumerate(WRONG)])
def test_wrong_arguments_are_named(name: str, args: Args, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        getattr(torch.ops.semdiff, name).default(*args)


@pytest.mark.parametrize("name", ["t", "s", "table"])
def test_an_argument_without_a_gradient_refuses_one(name: str) -> None:
    value = {"t": T, "s": S, "table": TABLE}[name].clone().requires_grad_()
    with pytest.raises(ValueError, match=f"{name.replace('table', 'alphas_cumprod')}: ddim_step has no gradient for it"):
        torch.ops.semdiff.ddim_step.default(*_step(**{name: value}))


def test_what_once_killed_the_process() -> None:
    """Arithmetic before bounds (SIGFPE) and gradients shorter than their inputs (reads beyond their end)."""
    ops = torch.ops.semdiff
    for scale in (2**16, 2**31, 2**32, 2**62, 2**63 - 1):
        with pytest.raises(ValueError, match=rf"features: expected shape \(B, 2\*C\*scale\^2, h, w\) with scale = {scale}"):
            ops.gaussian_upsample.default(torch.ones(1, 8, 2, 2), scale, KEY)
    empty = torch.ones(1, 1, 0, 0)
    with pytest.raises(ValueError, match="scale: expected a number in"):
        ops.gaussian_upsample_backward.default(empty, None, None, empty, empty, empty, 2**32)
    x, short = torch.ones(400_000), torch.ones(1)
    with pytest.raises(ValueError, match=r"grad: expected the shape of x, \[400000\], got \[1\]"):
        ops.ddim_step_backward.default(short, x, x, ONE, ONE, TABLE, 0.0, "eps", None)
    for gradients, name in (((short, None), "grad_x_s"), ((None, short), "grad_x0")):
        with pytest.raises(ValueError, match=rf"{name}: expected the shape of x, \[400000\], got \[1\]"):
            ops.dpmpp_2m_step_backward.default(*gradients, x, x, None, None, ONE, ONE, TABLE, "eps", None)
    s = torch.ones(1000, 4)
    for scale, grad_scale, name in ((short, None, "scale"), (s[:, 0], short, "grad_scale")):
        with pytest.raises(ValueError, match=rf"{name}: expected shape \(1000,\), got \[1\]"):
            ops.normalize_power_backward.default(s, grad_scale, s, scale)
    nothing = torch.ones(3, 0, dtype=torch.complex64)  # of which any coherence is right
    assert ops.fading.default(nothing, 0.0, 1.0, ONE, 2**63 - 1, KEY)[0].shape == (3, 0)
    with pytest.raises(ValueError, match="shape: expected a shape"):
        ops.unpack.default(torch.ones(2, 4, dtype=torch.complex64), [2, 2**62, 4])


def test_noise_of_no_sign() -> None:
    y = torch.ones(2, 3, dtype=torch.complex64)
    for wrong in (-0.1, float("nan"), float("inf")):
        for n0 in (torch.tensor([[0.1], [wrong]]), torch.full((2, 3), wrong, dtype=torch.bfloat16)):
            for method in ("zf", "mmse", "mmse_unbiased", "matched"):
                with pytest.raises(ValueError, match="noise_var: expected finite numbers >= 0, got"):
                    torch.ops.semdiff.equalize.default(y, y, n0, method)
        with pytest.raises(ValueError, match="noise_var: expected finite numbers >= 0, got"):
            torch.ops.semdiff.fading_equalized.default(y, 0.0, 1.0, torch.tensor(wrong), 1, "mmse", KEY)

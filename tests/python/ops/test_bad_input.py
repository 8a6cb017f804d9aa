# SPDX-License-Identifier: Apache-2.0
"""What a user may hand to the public functions by mistake: each error names the argument, what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import semdiff
from semdiff import AWGN, DiffusionState, Key, NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()
X = torch.ones(2, 4)
S = torch.ones(2, 4, dtype=torch.complex64)
T = torch.tensor([10.0, 20.0], dtype=torch.float64)
NAN, INF = math.nan, math.inf


def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return x


def sample(**changes: Any) -> torch.Tensor:
    given: dict[str, Any] = {"denoiser": network, "state": DiffusionState(X, T), "schedule": SCHEDULE}
    return semdiff.sample(**(given | changes))


CASES: dict[str, tuple[Callable[[], object], type[Exception], str]] = {
    "snr nan": (lambda: AWGN()(S, NAN), ValueError, "snr_db: expected a finite number.*got nan"),
    "snr inf": (lambda: AWGN()(S, INF), ValueError, "snr_db: expected a finite number.*got inf"),
    "snr overflow": (lambda: AWGN()(S, -4000), ValueError, "snr_db: expected a finite number, within"),
    "snr nan tensor": (lambda: AWGN()(S, torch.tensor([1.0, NAN])), ValueError, r"snr_db: expected finite numbers.*got \[1.0, nan\]"),
    "snr inf tensor": (lambda: AWGN()(S, torch.tensor(-INF)), ValueError, "snr_db: expected finite numbers"),
    "snr integer tensor": (
        lambda: AWGN()(S, torch.tensor(3)),
        TypeError,
        "snr_db: expected a number or a floating-point tensor, got torch.int64",
    ),
    "snr shape": (lambda: AWGN()(S, torch.ones(3)), ValueError, r"snr_db: expected shape \(\) or \(2,\), got \(3,\)"),
    "snr text": (lambda: AWGN()(S, "10"), TypeError, "snr_db: expected a number.*got str"),
    "snr none": (lambda: AWGN()(S, None), TypeError, "snr_db: expected a number.*got NoneType"),
    "real symbols": (lambda: AWGN()(X, 3), TypeError, "s: expected complex symbols"),
    "no batch of symbols": (lambda: AWGN()(S[0], 3), ValueError, r"s: expected shape \(B, uses\), got \(4,\)"),
    "pack integers": (lambda: semdiff.pack(X.int()), TypeError, "z: expected a floating-point tensor, got Int"),
    "pack complex": (lambda: semdiff.pack(S), TypeError, "z: expected a floating-point tensor, got ComplexFloat"),
    "unpack real": (lambda: semdiff.unpack(X, (2, 8)), TypeError, "s: expected a complex tensor"),
    "unpack shape": (
        lambda: semdiff.unpack(S, (2, 9)),
        ValueError,
        r"shape: expected a shape \(B, ...\) that packs to \[2, 4\], got \[2, 9\]",
    ),
    "unpack batch": (lambda: semdiff.unpack(S, (4, 4)), ValueError, "shape: expected a shape"),
    "unpack nothing": (lambda: semdiff.unpack(S, ()), ValueError, "shape: expected a shape"),
    "unpack negative": (lambda: semdiff.unpack(S, (2, -1)), ValueError, "shape: expected"),
    "power of integers": (lambda: semdiff.normalize_power(X.int()), TypeError, "s: expected a floating-point"),
    "snr of shapes": (lambda: semdiff.measured_snr_db(S, S[:1]), ValueError, "y: expected the shape of s"),
    "zf of a dead channel": (
        lambda: semdiff.equalize(semdiff.Received(S, S * 0, torch.ones(2, 1))),
        ValueError,
        "expected non-zero gains for zf",
    ),
    "equalizer": (
        lambda: semdiff.equalize(AWGN()(S, 3), "ml"),
        ValueError,
        "method: expected zf, mmse, mmse_unbiased, matched or mrc, got 'ml'",
    ),
    "match negative": (lambda: semdiff.match(X, -0.1, SCHEDULE), ValueError, "noise_var: expected finite numbers >= 0, got -0.1"),
    "match nan": (lambda: semdiff.match(X, NAN, SCHEDULE), ValueError, "noise_var: expected finite numbers >= 0, got nan"),
    "match inf": (lambda: semdiff.match(X, INF, SCHEDULE), ValueError, "noise_var: expected finite numbers >= 0, got inf"),
    "match one nan": (lambda: semdiff.match(X, torch.tensor([1.0, NAN]), SCHEDULE), ValueError, "noise_var: expected finite"),
    "match shape": (lambda: semdiff.match(X, torch.ones(3), SCHEDULE), ValueError, r"noise_var: expected shape .*, got \(3,\)"),
    "match integers": (lambda: semdiff.match(X.int(), 1.0, SCHEDULE), TypeError, "x: expected a real floating-point tensor"),
    "match symbols": (lambda: semdiff.match(S, 1.0, SCHEDULE), TypeError, r"x: expected a real floating-point tensor \(unpack gives one\)"),
    "match integer variance": (
        lambda: semdiff.match(X, torch.tensor(1), SCHEDULE),
        TypeError,
        "noise_var: expected a floating-point tensor",
    ),
    "match text": (lambda: semdiff.match(X, "1", SCHEDULE), TypeError, "noise_var: expected a number.*got str"),
    "match no batch": (lambda: semdiff.match(X[0, 0], 1.0, SCHEDULE), ValueError, r"x: expected shape \(B, ...\), got \(\)"),
    "match mode": (lambda: semdiff.match(X, 1.0, SCHEDULE, "best"), ValueError, "mode: expected exact, paper or calibrated"),
    "match rounding": (lambda: semdiff.match(X, 1.0, SCHEDULE, rounding="up"), ValueError, "rounding: expected none"),
    "calibrated too much": (
        lambda: semdiff.match(X, 1.0, SCHEDULE, "calibrated"),
        ValueError,
        "noise_var: expected error variances below 1",
    ),
    "time above": (lambda: SCHEDULE.alpha_bar(999.5), ValueError, r"t: expected a time in \[0, 999\] or -1 \(clean\), got 999.5"),
    "time below": (lambda: SCHEDULE.alpha_bar(-0.5), ValueError, "t: expected a time"),
    "time nan": (lambda: SCHEDULE.alpha_bar(NAN), ValueError, "t: expected a time.*got nan"),
    "time text": (lambda: SCHEDULE.alpha_bar("7"), TypeError, "t: expected a number"),
    "time none": (lambda: SCHEDULE.alpha_bar(None), TypeError, "t: expected a number"),
    "variance negative": (lambda: SCHEDULE.timestep(-1.0), ValueError, "noise_var: expected finite numbers >= 0"),
    "no steps in a schedule": (lambda: NoiseSchedule.linear(0), ValueError, "T: expected at least 1, got 0"),
    "half a step": (lambda: NoiseSchedule.linear(10.5), TypeError, "T: expected an integer, got float"),
    "betas": (lambda: NoiseSchedule.linear(10, 0.5, 0.1), ValueError, "beta_start, beta_end: expected 0 < beta_start <= beta_end < 1"),
    "betas nan": (lambda: NoiseSchedule.linear(10, NAN, 0.1), ValueError, "beta_start, beta_end"),
    "step upwards": (lambda: semdiff.ddim_step(X, X, 5.0, 6.0, SCHEDULE), ValueError, "s: expected a time not after t = 5, got 6"),
    "step outside": (lambda: semdiff.ddim_step(X, X, 1000.0, 6.0, SCHEDULE), ValueError, r"t: expected a time in \[0, 999\]"),
    "step below": (lambda: semdiff.ddim_step(X, X, 5.0, -0.5, SCHEDULE), ValueError, "s: expected a time in"),
    "step from clean": (lambda: semdiff.ddim_step(X, X, -1.0, -1.0, SCHEDULE), ValueError, "t: expected a time"),
    "step of integers": (lambda: semdiff.ddim_step(X.int(), X.int(), 5.0, 4.0, SCHEDULE), TypeError, "x: expected a floating-point tensor"),
    "step times": (
        lambda: semdiff.ddim_step(X, X, torch.ones(3), 0.0, SCHEDULE),
        ValueError,
        r"t: expected shape \(\) or \(B,\) with B = 2",
    ),
    "eta": (lambda: semdiff.ddim_step(X, X, 5.0, 4.0, SCHEDULE, eta=1.5), ValueError, r"eta: expected a number in \[0, 1\], got 1.5"),
    "eta nan": (lambda: semdiff.ddim_step(X, X, 5.0, 4.0, SCHEDULE, eta=NAN), ValueError, "eta: expected a number"),
    "no steps": (lambda: sample(steps=0), ValueError, r"steps: expected a number in \[1, 1000\], got 0"),
    "negative steps": (lambda: sample(steps=-3), ValueError, "steps: expected a number in"),
    "too many steps": (lambda: sample(steps=1001), ValueError, r"steps: expected a number in \[1, 1000\], got 1001"),
    "half steps": (lambda: sample(steps=2.5), TypeError, "steps: expected an integer, got float"),
    "solver": (lambda: sample(solver="euler"), ValueError, "solver: expected dpmpp_2m, ddim, ddpm or heun, got 'euler'"),
    "ignored eta": (lambda: sample(eta=0.5), ValueError, "eta: expected 0, because dpmpp_2m draws no noise"),
    "grid": (lambda: sample(grid=torch.ones(3, 3)), ValueError, r"grid: expected shape \(steps \+ 1, 2\), got \(3, 3\)"),
    "rising grid": (lambda: sample(grid=torch.tensor([[5.0, 5.0], [6.0, 4.0]])), ValueError, "s: expected a time not after t = 5, got 6"),
    "state outside": (lambda: sample(state=DiffusionState(X, T * 100)), ValueError, r"t: expected a time in \[0, 999\]"),
    "clean state": (lambda: sample(state=DiffusionState(X, T * 0 - 1)), ValueError, r"t: expected times in \[0, 999\]"),
    "one time for two": (lambda: sample(state=DiffusionState(X, T[0])), ValueError, r"t: expected shape \(B,\), got \(\)"),
    "three times for two": (
        lambda: sample(state=DiffusionState(X, torch.ones(3))),
        ValueError,
        r"t: expected shape \(\) or \(B,\) with B = 2",
    ),
    "network's shape": (lambda: sample(denoiser=lambda x, t: x[:1]), ValueError, "output: expected the shape of x"),
    "network's dtype": (lambda: sample(denoiser=lambda x, t: x.double()), TypeError, "output: expected the dtype of x, Float, got Double"),
    "draw of integers": (lambda: semdiff.reparameterize(X.int(), X.int()), TypeError, "mu: expected a floating-point tensor"),
    "channels": (lambda: semdiff.gaussian_upsample(torch.ones(1, 6, 2, 2), 2), ValueError, "features: expected shape"),
    "no channels": (lambda: semdiff.gaussian_upsample(torch.ones(1, 0, 2, 2), 2), ValueError, "features: expected shape"),
    "no loss of nothing": (lambda: semdiff.upsampler_loss(X[:0], X[:0], X[:0], 0.5), ValueError, "mu: expected at least one element"),
    "alpha bar 0": (lambda: semdiff.upsampler_loss(X, X, X, 0.0), ValueError, r"alpha_bar: expected numbers in \(0, 1\), got 0"),
    "alpha bar nan": (lambda: semdiff.upsampler_loss(X, X, X, NAN), ValueError, r"alpha_bar: expected numbers in \(0, 1\), got nan"),
    "weight": (lambda: semdiff.upsampler_loss(X, X, X, 0.5, lambda_prior=NAN), ValueError, "lambda_prior: expected a finite number >= 0"),
    "size": (lambda: semdiff.normal((2, -1)), ValueError, "size: expected non-negative numbers"),
    "key": (lambda: semdiff.normal((2,), 1.5), TypeError, "key: expected a Key"),
    "old key": (lambda: semdiff.normal((2,), torch.zeros(2)), TypeError, "key: expected a uint64 tensor"),
    "no children": (lambda: Key(1).split(0), ValueError, "n: expected at least 1, got 0"),
    "negative child": (lambda: Key(1).fold_in(-1), ValueError, "index: expected a non-negative number"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_error_tells(case: str) -> None:
    call, error, message = CASES[case]
    with pytest.raises(error, match=message):
        call()


def test_empty_batches_pass_through() -> None:
    x = torch.zeros(0, 4, 2, 2)
    s, scale = semdiff.normalize_power(semdiff.pack(x))
    received = AWGN()(s, 3.0)
    latent = semdiff.unpack(semdiff.equalize(received).x, x.shape)
    for solver in ("dpmpp_2m", "ddim", "ddpm", "heun"):
        assert semdiff.sample(network, semdiff.match(latent, 0.5, SCHEDULE), SCHEDULE, 3, solver).shape == x.shape
    assert scale.shape == (0,)
    assert semdiff.measured_snr_db(s, received.y).shape == (0,)


def test_nan_in_the_data_is_not_hidden() -> None:
    x = torch.ones(2, 4)
    x[0, 0] = NAN
    out, t = semdiff.match(x, 0.5, SCHEDULE)
    assert out.isnan().tolist() == x.isnan().tolist()
    assert bool(semdiff.sample(network, DiffusionState(out, t), SCHEDULE, 2)[0, 0].isnan())
    assert semdiff.normalize_power(x)[1].isnan().tolist() == [True, False]
    assert bool(semdiff.upsampler_loss(x, torch.zeros(2, 4), torch.zeros(2, 4), 0.5).total.isnan())

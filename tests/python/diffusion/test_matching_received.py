# SPDX-License-Identifier: Apache-2.0
"""match takes what a channel or an equaliser returned as it comes: the same state as by hand, of exactly the law of the forward process."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import semdiff
import semdiff.numpy as sdn
from semdiff import AWGN, FixedChannel, Key, NoiseSchedule, Rayleigh, Received, equalize, match, normal, normalize_power, pack, unpack

F64 = torch.float64
SCHEDULE = NoiseSchedule.scaled_linear()
SHAPE = (3, 4, 5, 5)  # an even number of elements, 100
Z = normal(SHAPE, Key(0), F64)
S, SCALE = normalize_power(pack(Z))
SNR_DB = torch.tensor([0.0, 8.0, 15.0], dtype=F64)


def test_awgn_as_by_hand_to_the_bit() -> None:
    received = AWGN()(S, SNR_DB, Key(1))
    by_hand = match(unpack(received.y * SCALE[:, None], SHAPE), received.noise_var.flatten() * SCALE.square(), SCHEDULE)
    for state in (
        match(received, SCHEDULE, shape=SHAPE, scale=SCALE),
        match(received, schedule=SCHEDULE, shape=SHAPE, scale=SCALE),
        match(equalize(received), SCHEDULE, shape=SHAPE, scale=SCALE),
    ):
        assert torch.equal(state.x, by_hand.x)
        assert torch.equal(state.t, by_hand.t)
        assert state.t.shape == (3,)
    assert match(received, SCHEDULE).x.shape == (3, 100)  # two elements for each use
    column = match(unpack(received.y, SHAPE), received.noise_var, SCHEDULE)  # a channel's noise_var, (B, 1), beside any latent
    assert torch.equal(column.t, match(received, SCHEDULE).t)


@pytest.mark.parametrize("coherence", ["block", "fast", 7])
@pytest.mark.parametrize("spread", ["element", "mean", "top_up"])
def test_a_received_is_what_equalizing_makes_of_it(coherence: Any, spread: Any) -> None:
    """A gain undone by its phase alone, by zero forcing or by MMSE says the same of z."""
    received = Rayleigh(coherence)(S, SNR_DB, Key(2))
    raw = match(received, SCHEDULE, key=Key(3), spread=spread, shape=SHAPE, scale=SCALE)
    assert raw.t.shape == (SHAPE if coherence != "block" and spread == "element" else (3,))
    for method in ("zf", "mmse", "mmse_unbiased", "matched"):
        state = match(equalize(received, method), SCHEDULE, key=Key(3), spread=spread, shape=SHAPE, scale=SCALE)
        torch.testing.assert_close(state.x, raw.x, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(state.t, raw.t, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channel", [AWGN(), Rayleigh("fast"), semdiff.Multipath(subcarriers=16), semdiff.MIMO(2, 2, "equal")])
def test_the_law_is_that_of_the_forward_process(channel: semdiff.Channel) -> None:
    z = normal((64, 2000), Key(4), F64)
    state = match(channel(pack(z), 3.0, Key(5)), SCHEDULE)
    a = SCHEDULE.alpha_bar(state.t)
    a = a if a.dim() > 1 else a[:, None]
    noise = ((state.x - a.sqrt() * z) / (1 - a).sqrt()).flatten()
    assert abs(float(noise.mean())) < 5 / noise.numel() ** 0.5
    assert abs(float(noise.square().mean()) - 1) < 5 * (2 / noise.numel()) ** 0.5
    assert abs(float((noise * z.flatten()).mean())) < 5 / noise.numel() ** 0.5


def test_symbols_that_say_nothing_are_noise_alone() -> None:
    h = torch.ones(3, 50, dtype=S.dtype)
    h[:, ::2] = 0
    received = FixedChannel(h, 0.1)(S, key=Key(1))
    for heard in (received, equalize(received, "zf"), equalize(received, "mmse")):
        state = match(heard, SCHEDULE, shape=SHAPE)
        t = state.t.reshape(3, 50, 2)
        assert bool((t[:, ::2] == SCHEDULE.T - 1).all())
        assert bool((t[:, 1::2] < 100).all())
        assert bool(state.x.isfinite().all())


def test_streams_of_antennas_by_way_of_the_equalizer() -> None:
    received = semdiff.MIMO(2, 3)(S, 10.0, Key(1))
    with pytest.raises(ValueError, match=r"x: expected one gain for each symbol, got matrices .*; equalize separates"):
        match(received, SCHEDULE)
    assert match(equalize(received, "mmse"), SCHEDULE, shape=SHAPE).t.shape == SHAPE


def test_gradients_go_to_the_symbols_alone() -> None:
    y, h = S.clone().requires_grad_(), (0.5 + 0.5j) * torch.ones_like(S).requires_grad_()
    match(Received(y, h, torch.full((3, 1), 0.1, dtype=F64)), SCHEDULE, scale=SCALE.clone().requires_grad_()).x.sum().backward()
    assert y.grad is not None
    assert bool((y.grad.abs() > 0).all())


def test_odd_counts_other_dimensions_and_an_empty_batch() -> None:
    z = normal((2, 3, 3), Key(1), F64)
    assert match(AWGN()(pack(z), 5.0, Key(1)), SCHEDULE, shape=z.shape).x.shape == z.shape
    images = AWGN()(torch.ones(2, 3, 4, dtype=torch.complex64), 5.0, Key(1))
    assert match(images, SCHEDULE, shape=(2, 24)).t.shape == (2,)
    assert match(AWGN()(S[:0], 5.0, Key(1)), SCHEDULE).x.shape == (0, 100)
    assert match(AWGN()(torch.zeros_like(S), 300.0, Key(1)), SCHEDULE, scale=torch.zeros(3)).t.tolist() == [0.0] * 3  # nothing was sent


def test_numpy_and_compile() -> None:
    received = AWGN()(S, 5.0, Key(1))
    want = match(received, SCHEDULE, shape=SHAPE, scale=SCALE)
    got = sdn.match(Received(*(v.numpy() for v in received)), SCHEDULE, shape=SHAPE, scale=SCALE.numpy())
    assert (got.x == want.x.numpy()).all()

    def run(s: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return match(AWGN()(s, 5.0, key), SCHEDULE, shape=SHAPE, scale=SCALE).x

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(S, Key(1).tensor), want.x, rtol=1e-12, atol=1e-12)


RECEIVED = AWGN()(S, 5.0, Key(1))
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "a variance beside it": (
        {"x": RECEIVED, "noise_var": 0.1, "schedule": SCHEDULE},
        ValueError,
        "noise_var: expected none beside a Received",
    ),
    "a gain beside it": (
        {"x": equalize(RECEIVED), "noise_var": SCHEDULE, "gain": 1.0},
        ValueError,
        "gain: expected none beside a Equalized",
    ),
    "calibrated": ({"x": RECEIVED, "noise_var": SCHEDULE, "mode": "calibrated"}, ValueError, "mode: expected exact or paper"),
    "no schedule": ({"x": RECEIVED}, TypeError, "schedule: expected a NoiseSchedule, got NoneType"),
    "shape": ({"x": RECEIVED, "noise_var": SCHEDULE, "shape": (3, 7)}, ValueError, "shape: expected a shape"),
    "shape of a tensor": ({"x": Z, "noise_var": 0.1, "schedule": SCHEDULE, "shape": SHAPE}, ValueError, "shape, scale: expected none"),
    "scale": ({"x": RECEIVED, "noise_var": SCHEDULE, "scale": torch.ones(2)}, ValueError, r"scale: expected real numbers \(B,\) of 3"),
    "scale's type": ({"x": RECEIVED, "noise_var": SCHEDULE, "scale": 1.0}, TypeError, "scale: expected a tensor, got float"),
    "h": (
        {"x": RECEIVED._replace(h=S[:, :3]), "noise_var": SCHEDULE},
        ValueError,
        r"x.h: expected a shape that broadcasts to \(3, 50\)",
    ),
    "real y": ({"x": RECEIVED._replace(y=Z), "noise_var": SCHEDULE}, TypeError, "x: expected complex symbols and gains"),
    "no tensor": ({"x": RECEIVED._replace(y=3), "noise_var": SCHEDULE}, TypeError, "x.y: expected a tensor, got int"),
    "negative": (
        {"x": RECEIVED._replace(noise_var=-RECEIVED.noise_var), "noise_var": SCHEDULE},
        ValueError,
        "noise_var: expected finite numbers >= 0",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case: str) -> None:
    arguments, error, message = BAD[case]
    with pytest.raises(error, match=message):
        match(**arguments)

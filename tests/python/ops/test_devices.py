# SPDX-License-Identifier: Apache-2.0
"""Every tensor is made on the device of its input: a default device changes nothing, and inputs of another device meet no CPU tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import semdiff
from semdiff import FixedChannel, Key, Multipath, NoiseSchedule, Pilots, Received
from semdiff.baselines.limits import capacity_bits
from semdiff.metrics.inception import normalized
from semdiff.oracle import GaussianMixture
from semdiff.phy.equalizer import rayleigh_mmse_gain
from semdiff.transmission.inputs import per_sample
from semdiff.transmission.step_count import resolve_steps, sample_in_groups
from tests.python.function_table import ROWS, Row
from tests.python.small_links import any_size_link

S = semdiff.pack(semdiff.normal((2, 64), Key(1)))
T = torch.tensor([30.0, 50.0], dtype=torch.float64)
X = semdiff.normal((2, 4), Key(2))
IMAGES = semdiff.normal((2, 1, 28, 28), Key(3)).abs().clamp_max(1)
SCHEDULE = NoiseSchedule.scaled_linear()


def network(x: Tensor, t: Tensor) -> Tensor:
    return x


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for v in value for t in tensors(v)] if isinstance(value, (tuple, list)) else []


# Those that make something of numbers alone, or of more than one noun.
CALLS: dict[str, Callable[[], Any]] = {
    "schedules": lambda: [
        s.alphas_cumprod for s in (NoiseSchedule.linear(5), NoiseSchedule.cosine(5), NoiseSchedule.from_alphas_cumprod([0.9, 0.1]))
    ],
    "times": lambda: [SCHEDULE.alpha_bar(3), SCHEDULE.timestep(0.5), SCHEDULE.noise_var(torch.tensor([3.0], device="cpu"))],
    "FixedChannel": lambda: FixedChannel(1 + 2j, 0.1)(S, key=Key(1)),
    "Multipath": lambda: Multipath(subcarriers=16, papr_db=3.0)(S, 5.0, Key(1)),
    "Multipath gains": lambda: Multipath(gains=[1.0, 0.5j], subcarriers=16)(S, 5.0, Key(1)),
    "Pilots": lambda: Pilots(semdiff.Rayleigh(), 2, "lmmse")(S, 5.0, Key(1)),
    "MIMO": lambda: semdiff.MIMO(3, 2, "waterfilling", 0.5)(S, 5.0, Key(1)),
    "MIMO equalized": lambda: semdiff.equalize(semdiff.MIMO(3, 3, None, 0.5)(S, 5.0, Key(1)), "mmse"),
    "HardwareImpairments": lambda: semdiff.HardwareImpairments(semdiff.AWGN(), 0.1, 0.1, 3.0)(S, 5.0, Key(1)),
    "keys": lambda: [Key(3).tensor, Key(3).fold_in(1).tensor, semdiff.normal((4,), Key(1))],
    "oracle": lambda: _oracle(),
    "capacity": lambda: [capacity_bits(5, 3.0), capacity_bits(32, 3.0, S)],
    "gain": lambda: rayleigh_mmse_gain(5.0),
    "link inputs": lambda: per_sample(3.0, "snr_db", 2),
    "steps": lambda: [resolve_steps("auto", T, ((0.0, 4), (40.0, 2))), resolve_steps(3, T, None)],
    "groups": lambda: sample_in_groups(lambda n, rows: X[rows] * n, torch.tensor([1, 2], device="cpu"), True),
    "Inception's pixels": lambda: normalized((IMAGES * 255).byte().expand(-1, 3, -1, -1)),
}


def _oracle() -> list[Tensor]:
    prior = GaussianMixture([[0.0], [1.0]], [0.5, 0.2])
    y = torch.tensor([[0.3], [0.8]], device="cpu")
    drawn = [prior.sample(3, Key(1)), prior.posterior_sample(y, 0.2, Key(1)), prior.denoiser(SCHEDULE)(y, T)]
    return [*drawn, *prior.mmse(0.3), prior.log_prob(y)]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_default_device_changes_no_function(row: Row) -> None:
    call = lambda: row.call(**{n: (Key(7) if isinstance(v, Key) else v) for n, v in row.arguments.items()})  # noqa: E731
    _same(call)


@pytest.mark.parametrize("name", CALLS)
def test_a_default_device_changes_nothing(name: str) -> None:
    _same(CALLS[name])


def _same(call: Callable[[], Any]) -> None:
    want = tensors(call())
    with torch.device("meta"):
        got = tensors(call())
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.device == w.device
        assert torch.equal(g, w) or w.isnan().any()


def test_a_default_device_changes_no_transmission() -> None:
    link, pictures = any_size_link(), semdiff.normal((2, 3, 32, 48), Key(3)).abs().clamp_max(1)
    want = link.transmit(pictures, 5.0, key=Key(1))
    with torch.device("meta"):
        got = link.transmit(pictures, 5.0, key=Key(1))
    assert torch.equal(got.images, want.images)
    assert torch.equal(got.snr_db, want.snr_db)


OTHER = "lazy"  # of torch's devices the one that needs nothing built in
GIVEN, ECHOES = FixedChannel(1 + 2j, 0.1), Multipath(subcarriers=16, papr_db=3.0, coherence=1)
GAINS, PILOTS = Multipath(gains=[1.0, 0.5j], subcarriers=16), Pilots(Multipath(subcarriers=16), 2, "lmmse")
# Inputs of another device. There is none here: fake tensors of one, which have a place and a shape, and mix with no CPU tensor.
ELSEWHERE: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "AWGN": lambda s, x: semdiff.AWGN()(s, 5.0, Key(1)),
    # An SNR for each sample that is there too: none of its values is read, which would wait for the device.
    "AWGN, SNRs": lambda s, x: semdiff.AWGN()(s, torch.empty(2, device=s.device), Key(1)),
    "Rayleigh, SNRs": lambda s, x: semdiff.Rayleigh()(s, torch.empty(2, dtype=torch.float64, device=s.device), Key(1)),
    "Multipath, SNRs": lambda s, x: ECHOES(s, torch.empty((), device=s.device), Key(1)),
    "Rayleigh": lambda s, x: semdiff.Rayleigh("fast")(s, 5.0, Key(1)),
    "Rician equalized": lambda s, x: semdiff.Rician(3.0).equalized(s, 5.0, "mmse", Key(1)),
    "FixedChannel": lambda s, x: GIVEN(s, key=Key(1)),
    "Multipath": lambda s, x: ECHOES(s, 5.0, Key(1)),
    "Multipath gains": lambda s, x: GAINS(s, 5.0, Key(1)),
    "Pilots": lambda s, x: PILOTS(s, 5.0, Key(1)),
    "ImperfectCSI": lambda s, x: semdiff.ImperfectCSI(semdiff.Rayleigh(), 0.1, 1.0)(s, 5.0, Key(1)),
    "BlindNoise": lambda s, x: semdiff.BlindNoise(semdiff.AWGN())(s, 5.0, Key(1)),
    "HardwareImpairments": lambda s, x: semdiff.HardwareImpairments(semdiff.AWGN(), 0.1, 0.1, 3.0)(s, 5.0, Key(1)),
    "MIMO": lambda s, x: semdiff.MIMO(3, 2, None, 0.5)(s, 5.0, Key(1)),
    "equalize": lambda s, x: semdiff.equalize(Received(s, s[:, :1], torch.ones(2, 1)), "mmse"),
    "normalize_power": lambda s, x: semdiff.normalize_power(s),
    "pack": lambda s, x: semdiff.unpack(semdiff.pack(x), (2, 4)),
    "match": lambda s, x: semdiff.match(x, 0.3, SCHEDULE, key=Key(1), rounding="ceil"),
    "steps": lambda s, x: semdiff.dpmpp_2m_step(x, x, x, 60.0, 50.0, 20.0, SCHEDULE),
    "ddpm_step": lambda s, x: semdiff.ddpm_step(x, x, 50.0, 20.0, SCHEDULE, key=Key(1)),
    "add_noise": lambda s, x: semdiff.add_noise(x, 50.0, SCHEDULE, Key(1)),
    "reparameterize": lambda s, x: semdiff.reparameterize(x, x, Key(1)),
    "gaussian_upsample": lambda s, x: semdiff.gaussian_upsample(x.reshape(1, 8, 1, 1), 2, Key(1)),
    "loss": lambda s, x: semdiff.upsampler_loss(x, x, x, 0.5, key=Key(1)),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_inputs_of_another_device(name: str) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True):
        s, x = (torch.empty(v.shape, dtype=v.dtype, device=OTHER) for v in (S, X))
        out = [t for t in tensors(ELSEWHERE[name](s, x))]
    assert out
    for t in out:
        assert t.device.type == OTHER or t.shape == (2,)  # a state's times are read on the host


def test_an_snr_is_checked_where_its_values_are_at_hand() -> None:
    with pytest.raises(ValueError, match="snr_db: expected finite numbers"):
        semdiff.AWGN()(S, torch.tensor([5.0, float("nan")]), Key(1))

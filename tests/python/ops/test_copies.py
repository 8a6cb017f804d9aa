# SPDX-License-Identifier: Apache-2.0
"""Keys, schedules and channels survive pickle, deepcopy and a DataLoader's processes, and mean the same afterwards."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import semdiff
from semdiff import FixedChannel, HardwareImpairments, ImperfectCSI, Key, Multipath, NoiseSchedule, Pilots
from semdiff.oracle import GaussianMixture

S = semdiff.pack(semdiff.normal((2, 64), Key(1)))
CHANNELS = [
    semdiff.AWGN(), semdiff.Rayleigh("fast"), semdiff.Rician(3.0, 4), FixedChannel(1 + 2j, 0.1), semdiff.MIMO(2, 2, "equal"),
    Multipath(subcarriers=16), Multipath(gains=[1.0, 0.5j]),
    Pilots(semdiff.Rayleigh(), 2), ImperfectCSI(semdiff.AWGN(), 0.1, 1.0), semdiff.BlindNoise(semdiff.AWGN()),
    HardwareImpairments(semdiff.AWGN(), 0.1, 0.01, 5.0),
]  # fmt: skip
WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
each_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@each_way
@pytest.mark.parametrize("key", [Key(7), Key(2**64 - 1), Key.from_tensor(torch.tensor([2**63, 2**64 - 5], dtype=torch.uint64))], ids=repr)
def test_keys(way: Callable[[Any], Any], key: Key) -> None:
    again = way(key)
    assert again == key
    assert hash(again) == hash(key)
    assert torch.equal(semdiff.normal((9,), again), semdiff.normal((9,), key))
    assert again.split() == key.split()


@each_way
def test_schedules_and_priors(way: Callable[[Any], Any]) -> None:
    schedule = NoiseSchedule.cosine(50)
    assert torch.equal(way(schedule).alphas_cumprod, schedule.alphas_cumprod)
    prior = GaussianMixture([[0.0, 1.0]], [0.5])
    assert torch.equal(way(prior).sample(5, Key(1)), prior.sample(5, Key(1)))


@each_way
@pytest.mark.parametrize("channel", CHANNELS, ids=lambda c: type(c).__name__)
def test_channels(way: Callable[[Any], Any], channel: semdiff.Channel) -> None:
    for got, want in zip(way(channel)(S, 5.0, Key(3)), channel(S, 5.0, Key(3)), strict=True):
        assert torch.equal(got, want)


RESULTS = [
    semdiff.AWGN()(S, 5.0, Key(1)), semdiff.equalize(semdiff.AWGN()(S, 5.0, Key(1))), semdiff.Uses(3, 2, 1),
    semdiff.match(semdiff.AWGN()(S, 5.0, Key(1)), NoiseSchedule.linear()),
    semdiff.gaussian_upsample(torch.ones(1, 8, 2, 2), 2, Key(1)),
    semdiff.upsampler_loss(torch.ones(1, 2), torch.zeros(1, 2), torch.ones(1, 2), 0.5, key=Key(1)),
]  # fmt: skip


@each_way
@pytest.mark.parametrize("result", RESULTS, ids=lambda r: type(r).__name__)
def test_results(way: Callable[[Any], Any], result: Any) -> None:
    again = way(result)
    assert type(again) is type(result)
    assert repr(again) == repr(result)
    for got, want in zip(again, result, strict=True):
        assert torch.equal(torch.as_tensor(got), torch.as_tensor(want))


class Receptions(Dataset[torch.Tensor]):
    """Item i is what a channel makes of the symbols with the i-th child of a key."""

    def __init__(self) -> None:
        self.key, self.channel, self.schedule = Key(5), semdiff.Rayleigh("fast"), NoiseSchedule.linear(20)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, i: int) -> torch.Tensor:
        y = self.channel(S, 5.0, self.key.fold_in(i)).y
        return torch.view_as_real(y) * self.schedule.alpha_bar(i).float()


@pytest.mark.parametrize("start", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork beside threads
def test_workers(start: str) -> None:
    data = Receptions()
    loaded = DataLoader(data, batch_size=None, num_workers=1, multiprocessing_context=start)
    assert torch.equal(torch.stack(list(loaded)), torch.stack([data[i] for i in range(4)]))


def test_keys_come_back_from_workers() -> None:
    """Items travel by torch's own pickler, which shares tensors' memory: a key goes by its numbers."""
    loaded = DataLoader(Key(9).split(3), batch_size=None, num_workers=1, multiprocessing_context="fork")  # type: ignore[arg-type]
    assert list(loaded) == Key(9).split(3)

# SPDX-License-Identifier: Apache-2.0
"""Keys and normal numbers. Keys are fixed, so a statistical test gives the same number every time; its bound is stated in deviations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

import semdiff
from semdiff import Key, _reference, normal
from semdiff._util import child_keys
from semdiff.rng import complex_normal

N = 1 << 20


def test_philox_of_the_reference_has_random123s_known_answers() -> None:
    """kat_vectors, philox4x32 10; the kernels' own words are tested in tests/cpp/kernel_philox.cpp."""
    words = [int(w) for w in _reference.philox(torch.zeros(1, dtype=torch.int64), 0)]
    assert words == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


@pytest.mark.parametrize(("seed", "offset"), [(0, 0), (2**64 - 1, 2**32 - 2), (0x0123456789ABCDEF, 2**64 - 3)])
def test_normals_are_box_muller_of_philox(seed: int, offset: int) -> None:
    key = torch.tensor([seed, offset], dtype=torch.uint64)
    want = _reference.normal((4099,), seed, offset)
    assert (normal((4099,), key, torch.float64) - want).abs().max() < 1e-14
    # float32: the rounding of ln u is that of the radius squared, so it grows as 1 / radius.
    radius = want[:4098].reshape(-1, 2).norm(dim=1).repeat_interleave(2)
    error = (normal((4098,), key).double() - want[:4098]).abs()
    assert bool((error < 4e-7 * (1 + want[:4098].abs()) + 1.3e-7 / radius).all())
    for dtype in (torch.float16, torch.bfloat16):
        assert torch.equal(normal((4099,), key, dtype), normal((4099,), key).to(dtype))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2**63])
def test_moments(seed: int, dtype: torch.dtype) -> None:
    """Within 4 standard errors: of the mean and of neighbours 1/sqrt(n), variance sqrt(2/n), third moment sqrt(15/n), fourth sqrt(96/n)."""
    n = normal((N,), Key(seed), dtype).double()
    root = 4 / math.sqrt(N)
    assert abs(float(n.mean())) < root
    assert abs(float(n.square().mean()) - 1) < root * math.sqrt(2)
    assert abs(float(n.pow(3).mean())) < root * math.sqrt(15)
    assert abs(float(n.pow(4).mean()) - 3) < root * math.sqrt(96)
    for lag in (1, 2, 3, 4, 1024):
        assert abs(float((n[:-lag] * n[lag:]).mean())) < root


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_kolmogorov_smirnov(seed: int) -> None:
    assert stats.kstest(normal((N,), Key(seed), torch.float64).numpy(), "norm").pvalue > 1e-3
    # Each lane and both members of a Box-Muller pair by themselves.
    for lane in normal((N // 4, 4), Key(seed), torch.float64).unbind(1):
        assert stats.kstest(lane.numpy(), "norm").pvalue > 1e-3


def test_tails() -> None:
    """Counts beyond 3, 4 and 4.5 deviations among 2^22, within 4 standard errors of their expectation; nothing beyond 6.77."""
    n = normal((1 << 22,), Key(6)).abs()
    for edge in (3.0, 4.0, 4.5):
        expected = (1 << 22) * math.erfc(edge / math.sqrt(2))
        assert abs(int((n > edge).sum()) - expected) < 4 * math.sqrt(expected)
    assert float(n.max()) < 6.77


def test_a_shorter_draw_begins_a_longer_one() -> None:
    whole = normal((5000,), Key(8))
    for size in (0, 1, 2, 3, 5, 1023, 1024, 1025, 4999):
        assert torch.equal(normal((size,), Key(8)), whole[:size])
    assert torch.equal(normal((50, 100), Key(8)).flatten(), whole)
    later = torch.tensor([8, 250], dtype=torch.uint64)  # an offset of 250 counters is 1000 elements
    assert torch.equal(normal((4000,), later), whole[1000:])


def test_children_are_independent_and_never_meet() -> None:
    root = Key(9)
    children = [*root.split(50), *(root.fold_in(i) for i in range(50)), root, Key(10), *Key(10).split(50), *root.split(2)[1].split(50)]
    assert len({hash(k) for k in children}) == len(children)
    assert root.split(3) == root.split(50)[:3]
    draws = torch.stack([normal((4096,), k, torch.float64) for k in children])
    correlation = torch.corrcoef(draws) - torch.eye(len(children))
    # 20,000 pairs: the largest of so many normals of deviation 1/64 is near 4.2 of them; 6 is beyond any chance.
    assert float(correlation.abs().max()) < 6 / 64


def test_no_key_follows_torchs_global_seed() -> None:
    torch.manual_seed(1)
    first, second = normal((8,)), normal((8,))
    torch.manual_seed(1)
    assert torch.equal(normal((8,)), first)
    assert not torch.equal(first, second)
    state = torch.get_rng_state()
    normal((8,), Key(0))
    assert torch.equal(torch.get_rng_state(), state)  # an explicit key leaves it alone


@pytest.mark.parametrize("device", ["cuda:99", "xpu:99", 99, "nonsense"])
def test_a_device_that_is_not_there_is_refused(device: str | int) -> None:
    """Whether torch was built for its kind or not."""
    with pytest.raises(ValueError, match=r"device: expected one of torch's devices that is there"):
        semdiff.normal((2,), Key(0), device=device)


def test_keys_live_on_the_host_whatever_the_default_device_is() -> None:
    with torch.device("meta"):
        assert Key(3).tensor.device.type == "cpu"
        assert semdiff.rng.key_tensor(None).device.type == "cpu"
        assert semdiff.NoiseSchedule.linear(10).alpha_bar(3).device.type == "cpu"


def test_key_is_a_value() -> None:
    assert Key(3) == Key.from_tensor(torch.tensor([3, 0], dtype=torch.uint64))
    assert Key(3) != Key(4)
    assert Key(3) != 3
    assert repr(Key(3)) == "Key(3)"
    assert "(3, 7)" in repr(Key.from_tensor(torch.tensor([3, 7], dtype=torch.uint64)))
    assert Key(2**64 - 1).tensor.tolist() == [2**64 - 1, 0]


@pytest.mark.parametrize("key", [Key(0), Key(2**64 - 1), Key(3).fold_in(9), Key(5).split()[1]], ids=repr)
def test_a_keys_text_evaluates_to_it(key: Key) -> None:
    assert eval(repr(key), {"Key": Key}) == key


def test_key_of_what_an_argument_may_be() -> None:
    key = Key(3)
    assert Key.of(key) is key
    assert Key.of(key.tensor) == key
    torch.manual_seed(1)
    first = Key.of(None)
    torch.manual_seed(1)
    assert first == Key.of(None) != Key.of(None)
    for wrong, error in ((3.5, TypeError), ("3", TypeError), (torch.zeros(2), ValueError), (key.tensor.to("meta"), ValueError)):
        with pytest.raises(error, match="key: expected"):
            Key.of(wrong)


def test_a_generator_gives_a_key_and_advances() -> None:
    generator, twin = torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    state = torch.get_rng_state()
    first, second = normal((64,), generator), normal((64,), generator)
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is left alone
    assert not torch.equal(first, second)
    assert torch.equal(first, normal((64,), Key.of(twin)))
    assert torch.equal(second, normal((64,), twin))
    torch.manual_seed(1)
    assert Key.of(None) == Key.of(torch.Generator().manual_seed(1))  # None is torch's own generator
    # Each channel of a chain draws from one key, whatever it is drawn from.
    s = semdiff.pack(normal((2, 16), Key(1)))
    channel = semdiff.Multipath(subcarriers=8, cyclic_prefix=7)
    for got, want in zip(channel(s, 5.0, torch.Generator().manual_seed(2)), channel(s, 5.0, Key.of(twin.manual_seed(2))), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize(
    ("seed", "error", "message"),
    [
        (-1, ValueError, "seed: expected an integer in"),
        (2**64, ValueError, "seed: expected an integer in"),
        (1.5, TypeError, "seed: expected an integer, got float"),
        ("1", TypeError, "seed: expected an integer, got str"),
    ],
)
def test_bad_seeds(seed: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Key(seed)


def test_an_integer_is_a_seed() -> None:
    for seed in (3, np.int64(3), np.uint8(3)):
        assert torch.equal(normal((5,), seed), normal((5,), Key(3)))
        assert Key.of(seed) == Key(3)


def test_bad_keys() -> None:
    for key in (3.0, "3", True, [3]):
        with pytest.raises(TypeError, match="key: expected a Key, a uint64 tensor"):
            normal((2,), key)
    with pytest.raises(ValueError, match="key: expected an integer in"):
        normal((2,), -1)
    with pytest.raises(ValueError, match="tensor: expected uint64"):
        Key.from_tensor(torch.zeros(2))


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_normals_are_circular_and_of_unit_power(dtype):
    z = complex_normal((50_000,), Key(5), dtype)
    assert z.dtype == dtype
    pairs = normal((50_000, 2), Key(5), z.real.dtype)
    torch.testing.assert_close(torch.view_as_real(z), pairs / 2**0.5)
    assert abs(float(z.abs().square().mean()) - 1) < 0.02  # 4.5 standard deviations
    assert abs(complex(z.square().mean())) < 0.03


def test_the_register_of_child_keys_never_changes() -> None:
    """Recorded results and trained weights rest on these draws."""
    numbers = {name: value for name, value in vars(child_keys).items() if name.isupper()}
    assert numbers == {
        "CHANNEL": 0, "UPSAMPLER": 1, "DENOISER": 2, "CODEWORD": 1, "SAMPLE": 1, "MEAN": 2, "WAITING": 2**32, "MOVING": 2**32 + 1,
        "BATCHES": 2**31,
    }  # fmt: skip
    for siblings in (("CHANNEL", "UPSAMPLER", "DENOISER"), ("CHANNEL", "CODEWORD"), ("SAMPLE", "MEAN"), ("WAITING", "MOVING")):
        assert len({numbers[name] for name in siblings}) == len(siblings)

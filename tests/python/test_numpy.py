# SPDX-License-Identifier: Apache-2.0
"""semdiff.numpy gives torch's numbers, on shared memory."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import semdiff
import semdiff.numpy as sdn
from semdiff import Key, NoiseSchedule

SCHEDULE = NoiseSchedule.scaled_linear()
KEY = Key(3)


def array(*shape: int, dtype: Any = np.float32, seed: int = 0) -> NDArray[Any]:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


X, Y, Z = (array(2, 8, 2, 2, seed=i) for i in range(3))
S = semdiff.pack(torch.from_numpy(X)).numpy()
T = np.array([400.0, 90.5])
RECEIVED = semdiff.Received(S * 2, np.full((2, 1), 2 + 0j, np.complex64), np.full((2, 1), 0.1))  # type: ignore[arg-type]
STATE = semdiff.DiffusionState(X, T)  # type: ignore[arg-type]

CALLS: dict[str, tuple[Any, ...]] = {
    "add_noise": (X, T, SCHEDULE, KEY),
    "ddim_step": (X, Y, T, T - 50, SCHEDULE, 0.5, "v", 1.0, KEY),
    "ddpm_step": (X, Y, T, T - 50, SCHEDULE, "eps", None, KEY),
    "dpmpp_2m_step": (X, Y, Z, T + 50, T, T - 50, SCHEDULE),
    "equalize": (RECEIVED, "mmse"),
    "estimate_noise_var": (S,),
    "gaussian_upsample": (X, 2, KEY),
    "match": (X, np.array([0.1, 1.0]), SCHEDULE, "exact", KEY, "ceil"),
    "measured_snr_db": (S, S * 1.1),
    "normal": ((3, 4), KEY),
    "normalize_power": (X,),
    "pack": (X,),
    "posterior_mean": (lambda x, t: x * 0.5, STATE, SCHEDULE, "x0"),
    "reparameterize": (X, Y, KEY),
    "sample": (lambda x, t: x * 0.5, STATE, SCHEDULE, 3, "heun"),
    "time_grid": (T, 4, SCHEDULE),
    "unpack": (S, X.shape),
    "unpack_per_symbol": (np.abs(S), X.shape),
    "upsampler_loss": (X, Y, Z, np.array([0.5, 0.7]), 0.1, 0.1, KEY),
}
METHODS: dict[str, tuple[Any, ...]] = {
    "alpha_bar": (SCHEDULE, T),
    "noise_var": (SCHEDULE, np.array([3, 5])),
    "timestep": (SCHEDULE, np.array([0.1, 1.0]), "ceil"),
}


def to_torch(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(to_torch, value))
    return value


def flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("name", [*CALLS, *METHODS])
def test_the_numbers_are_torchs(name: str) -> None:
    arguments = (CALLS | METHODS)[name]
    ours = getattr(sdn, name)(*arguments)
    theirs = getattr(semdiff if name in CALLS else NoiseSchedule, name)(*map(to_torch, arguments))
    assert type(ours) is (np.ndarray if isinstance(theirs, torch.Tensor) else type(theirs))
    for a, b in zip(flat(ours), flat(theirs), strict=True):
        assert type(a) is np.ndarray
        assert a.dtype == b.numpy().dtype
        np.testing.assert_array_equal(a, b.numpy())


def test_every_public_function_is_here() -> None:
    functions = {name for name in semdiff.__all__ if inspect.isfunction(getattr(semdiff, name))} - {"build_info"}
    assert functions == set(CALLS)
    assert functions | set(METHODS) | {"awgn", "rayleigh", "rician", "fixed_channel", "alphas_cumprod", "Key", "NoiseSchedule"} == set(
        sdn.__all__
    )


def test_awgn_is_the_channel() -> None:
    ours, theirs = sdn.awgn(S, np.array([0.0, 10.0]), KEY), semdiff.AWGN()(torch.from_numpy(S), torch.tensor([0.0, 10.0]).double(), KEY)
    assert isinstance(ours, semdiff.Received)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_fading_channels_are_the_channels() -> None:
    snr, s = np.array([0.0, 10.0]), torch.from_numpy(S)
    h = np.full((2, 1), 0.6 + 0.8j)
    pairs = [
        (sdn.rayleigh(S, snr, "fast", KEY), semdiff.Rayleigh("fast")(s, torch.from_numpy(snr), KEY)),
        (sdn.rician(S, snr, 3.0, 2, KEY), semdiff.Rician(3.0, 2)(s, torch.from_numpy(snr), KEY)),
        (sdn.fixed_channel(S, h, snr_db=snr, key=KEY), semdiff.FixedChannel(torch.from_numpy(h))(s, torch.from_numpy(snr), KEY)),
        (sdn.fixed_channel(S, h, 0.1, key=KEY), semdiff.FixedChannel(torch.from_numpy(h), 0.1)(s, key=KEY)),
    ]
    for ours, theirs in pairs:
        assert isinstance(ours, semdiff.Received)
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b.resolve_conj().numpy())


def test_a_received_image_from_end_to_end() -> None:
    z = array(3, 5, 5, dtype=np.float64)
    s, scale = sdn.normalize_power(sdn.pack(z))
    received = sdn.awgn(s, 10.0, KEY)
    x = sdn.equalize(received)
    y = sdn.unpack(x.x * scale[:, None], z.shape)
    state = sdn.match(y, (x.noise_var * scale[:, None] ** 2)[:, 0], SCHEDULE)
    mean = sdn.posterior_mean(lambda x, t: np.sqrt(1 - sdn.alpha_bar(SCHEDULE, t))[:, None, None] * x, state, SCHEDULE)
    assert mean.shape == z.shape
    assert mean.dtype == np.float64
    assert ((mean - z) ** 2).mean() < 0.15


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_dtypes_are_kept(dtype: Any) -> None:
    x = X.astype(dtype)
    assert sdn.add_noise(x, 3.0, SCHEDULE, KEY).dtype == dtype
    assert sdn.reparameterize(x, x, KEY).dtype == dtype
    assert sdn.normal((3,), KEY, dtype).dtype == dtype
    assert sdn.normal((3,), KEY, np.dtype(dtype)).dtype == dtype


def test_keys_may_be_arrays_and_numbers_numpys() -> None:
    expected = sdn.normal((5,), Key(7))
    np.testing.assert_array_equal(sdn.normal((5,), np.array([7, 0], np.uint64)), expected)
    np.testing.assert_array_equal(sdn.time_grid(T, np.int64(4), SCHEDULE), sdn.time_grid(T, 4, SCHEDULE))
    assert sdn.add_noise(X, np.float32(3), SCHEDULE, KEY).dtype == np.float32


# --- no copies ---------------------------------------------------------------------------------------------------------------------------


def test_arguments_and_results_share_memory() -> None:
    x = X.copy()
    assert np.shares_memory(sdn._adapt(lambda x: x)(x), x)
    kept = []
    out = sdn._adapt(lambda x: kept.append(x + 1) or kept[0])(x)
    assert np.shares_memory(out, kept[0].numpy())


@pytest.mark.parametrize("view", [lambda x: x[:, ::2], lambda x: x.transpose(0, 2, 3, 1), lambda x: np.broadcast_to(x[:1], x.shape)])
def test_views_are_shared(view: Any) -> None:
    x = X.copy()
    assert np.shares_memory(sdn._adapt(lambda x: x)(view(x)), x)
    np.testing.assert_array_equal(sdn.add_noise(view(x), 3.0, SCHEDULE, KEY), sdn.add_noise(view(x).copy(), 3.0, SCHEDULE, KEY))


def test_read_only_memory_is_shared_and_not_written() -> None:
    x = X.copy()
    x.flags.writeable = False
    assert np.shares_memory(sdn._adapt(lambda x: x)(x), x)
    before = x.copy()
    for name, arguments in CALLS.items():
        getattr(sdn, name)(*(x if a is X else a for a in arguments))
    np.testing.assert_array_equal(x, before)
    assert not x.flags.writeable


def test_arguments_are_not_written() -> None:
    before = [a.copy() for a in (X, Y, Z, S, T)]
    for name, arguments in (CALLS | METHODS).items():
        getattr(sdn, name)(*arguments)
    for a, b in zip((X, Y, Z, S, T), before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("odd", [lambda x: x[:, ::-1], lambda x: x.astype(">f4")])
def test_what_a_tensor_cannot_describe_is_copied(odd: Any) -> None:
    x = X.copy()
    out = sdn._adapt(lambda x: x)(odd(x))
    assert not np.shares_memory(out, x)
    np.testing.assert_array_equal(out, odd(x))


def test_a_field_of_a_structured_array() -> None:
    records = np.zeros(4, np.dtype([("flag", "u1"), ("x", "f4")]))
    records["x"] = [1, 2, 3, 4]
    np.testing.assert_array_equal(sdn._adapt(lambda x: x)(records["x"]), [1, 2, 3, 4])


def test_the_denoiser_works_on_shared_memory() -> None:
    seen: list[NDArray[Any]] = []

    def denoiser(x: NDArray[Any], t: NDArray[Any]) -> NDArray[Any]:
        assert type(x) is type(t) is np.ndarray
        assert x.dtype == t.dtype == np.float32
        seen.append(x)
        return np.zeros_like(x)

    sdn.sample(denoiser, STATE, SCHEDULE, steps=2)
    assert np.shares_memory(seen[0], X)


def test_a_module_gets_tensors() -> None:
    class Half(torch.nn.Module):
        def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
            return x / 2

    np.testing.assert_array_equal(sdn.posterior_mean(Half(), STATE, SCHEDULE), sdn.posterior_mean(lambda x, t: x / 2, STATE, SCHEDULE))


def test_the_callback_gets_arrays() -> None:
    seen: list[tuple[int, type, type]] = []
    sdn.sample(lambda x, t: x, STATE, SCHEDULE, steps=2, callback=lambda i, x, t: seen.append((i, type(x), type(t))))
    assert seen == [(0, np.ndarray, np.ndarray), (1, np.ndarray, np.ndarray)]


def test_alphas_cumprod_is_a_read_only_view() -> None:
    table = sdn.alphas_cumprod(SCHEDULE)
    assert np.shares_memory(table, SCHEDULE.alphas_cumprod.numpy())
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 0.5


# --- errors ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("add_noise", (X, np.array([1.0, 2.0, 3.0]), SCHEDULE, KEY)),
        ("ddim_step", (X, Y[:1], 5.0, 3.0, SCHEDULE)),
        ("match", (X, -1.0, SCHEDULE)),
        ("match", (S, 1.0, SCHEDULE)),
        ("pack", (X.astype(np.int32),)),
        ("sample", (lambda x, t: x, STATE, SCHEDULE, 0)),
        ("unpack", (S, (2, 3))),
    ],
)
def test_errors_are_torchs(name: str, arguments: tuple[Any, ...]) -> None:
    with pytest.raises((ValueError, TypeError)) as theirs:
        getattr(semdiff, name)(*map(to_torch, arguments))
    with pytest.raises(type(theirs.value)) as ours:
        getattr(sdn, name)(*arguments)
    assert str(ours.value) == str(theirs.value)


def test_arrays_of_other_things_are_refused_by_name() -> None:
    with pytest.raises(TypeError, match="z: expected an array of numbers, got dtype object"):
        sdn.pack(np.array([None]))
    with pytest.raises(TypeError, match=r"received\.y: expected an array of numbers, got dtype <U1"):
        sdn.equalize(RECEIVED._replace(y=np.array(["a"])))
    with pytest.raises(TypeError, match="output: expected an array of numbers"):
        sdn.posterior_mean(lambda x, t: np.array(["a"]), STATE, SCHEDULE)
    with pytest.raises(TypeError, match="s: expected a dtype that torch has"):
        sdn.measured_snr_db(S.astype(np.clongdouble), S)


def test_documentation_is_torchs() -> None:
    assert sdn.match.__doc__ is not None
    assert "calibrated" in sdn.match.__doc__
    assert inspect.signature(sdn.match) == inspect.signature(semdiff.match)
    assert sdn.awgn.__name__ == "awgn"


def test_a_numpy_generator_gives_a_key_and_advances():
    generator, twin = np.random.default_rng(1), np.random.default_rng(1)
    first, second = sdn.normal((8,), generator), sdn.normal((8,), generator)
    assert not np.array_equal(first, second)
    assert np.array_equal(first, sdn.normal((8,), Key(int(twin.integers(2**63)))))
    with pytest.raises(TypeError, match="s: expected"):
        sdn.normalize_power(generator)

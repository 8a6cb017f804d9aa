# SPDX-License-Identifier: Apache-2.0
"""semdiff's functions for NumPy: the same names, arguments, numbers, dtypes and errors, with ndarrays for tensors.

    import semdiff.numpy as sdn
    s, scale = sdn.normalize_power(sdn.pack(z))

Memory is shared, not copied, both ways: an array goes in as a tensor on the same memory, and a result comes out as an array on the tensor's
memory. So it is for what a NumPy denoiser is given and gives back. Copied are only arrays that a tensor cannot describe: those with
negative or odd strides, or in the other byte order. Read-only arrays are not copied; no function writes to what it is given.

Results that are named tuples in semdiff are the same named tuples here, holding ndarrays. A denoiser is any callable denoiser(x, t) of
ndarrays; a torch.nn.Module may be passed too and gets tensors. No gradients are kept: they are torch's business. A dtype is a NumPy dtype.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import semdiff
from semdiff import AWGN, FixedChannel, Key, NoiseSchedule, Rayleigh, Received, Rician
from semdiff.diffusion.schedule import check_schedule
from semdiff.phy.fading import Coherence
from semdiff.rng import KeyLike

__all__ = [
    "Key",
    "NoiseSchedule",
    "add_noise",
    "alpha_bar",
    "alphas_cumprod",
    "awgn",
    "ddim_step",
    "ddpm_step",
    "dpmpp_2m_step",
    "equalize",
    "estimate_noise_var",
    "fixed_channel",
    "gaussian_upsample",
    "match",
    "measured_snr_db",
    "noise_var",
    "normal",
    "normalize_power",
    "pack",
    "posterior_mean",
    "rayleigh",
    "reparameterize",
    "rician",
    "sample",
    "time_grid",
    "timestep",
    "unpack",
    "unpack_per_symbol",
    "upsampler_loss",
]


class _Writable:
    """A read-only array's memory without its flag: torch.from_numpy warns at the flag, and copying would be the other way out."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array  # keeps the memory alive
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def _tensor(array: NDArray[Any], name: str) -> torch.Tensor:
    """A tensor on the array's memory, wherever there can be one."""
    if array.dtype.kind not in "biufc":
        raise TypeError(f"{name}: expected an array of numbers, got dtype {array.dtype}")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if not array.flags.aligned or any(stride < 0 or stride % array.itemsize for stride in array.strides):
        array = array.copy()
    if not array.flags.writeable:
        array = np.asarray(_Writable(array))
    try:
        return torch.from_numpy(array)
    except TypeError:
        raise TypeError(f"{name}: expected a dtype that torch has, got {array.dtype}") from None


def _inward(value: Any, name: str) -> Any:
    """What the torch function takes for what a NumPy user gives."""
    if isinstance(value, np.ndarray):
        return _tensor(value, name)
    if isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, np.generic)):
        return _tensor(np.empty(0, value), name).dtype
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.random.Generator) and name == "key":
        return Key(int(value.integers(2**63)))
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_inward(v, f"{name}.{field}") for field, v in zip(value._fields, value, strict=True)))
    if callable(value) and not isinstance(value, (torch.nn.Module, type)):
        return functools.wraps(value)(lambda *args: _inward(value(*map(_outward, args)), "output"))
    return value


def _outward(value: Any) -> Any:
    """What a NumPy user gets for what the torch function returns: arrays on the tensors' memory."""
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    if isinstance(value, tuple):
        parts = [_outward(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _adapt(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` for ndarrays."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def adapted(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        for name, value in given.arguments.items():
            given.arguments[name] = _inward(value, name)
        with torch.no_grad():
            return _outward(function(*given.args, **given.kwargs))

    adapted.__module__ = __name__
    adapted.__doc__ = f"For NumPy: an ndarray wherever this says tensor.\n\n{inspect.cleandoc(function.__doc__ or '')}"
    return adapted


@_adapt
def awgn(s: torch.Tensor, snr_db: float | torch.Tensor, key: KeyLike = None) -> Received:
    """y = s + n, circular complex Gaussian noise of variance 10^(-snr_db/10) on each symbol; `semdiff.AWGN` as a function.

    s: complex (B, ...), of unit power in each sample (`normalize_power`). snr_db: a number or (B,). Returns Received(y, h, noise_var).
    """
    return AWGN()(s, snr_db, key)  # type: ignore[no-any-return]


@_adapt
def rayleigh(s: torch.Tensor, snr_db: float | torch.Tensor, coherence: Coherence = "block", key: KeyLike = None) -> Received:
    """y = h s + n with h ~ CN(0, 1), once for each `coherence` symbols: "block", "fast" or a number; `semdiff.Rayleigh` as a function."""
    return Rayleigh(coherence)(s, snr_db, key)  # type: ignore[no-any-return]


@_adapt
def rician(
    s: torch.Tensor,
    snr_db: float | torch.Tensor,
    k_db: float,
    coherence: Coherence = "block",
    key: KeyLike = None,
) -> Received:
    """y = h s + n with a direct path K = 10^(k_db / 10) times as strong as the scatter; `semdiff.Rician` as a function."""
    return Rician(k_db, coherence)(s, snr_db, key)  # type: ignore[no-any-return]


@_adapt
def fixed_channel(
    s: torch.Tensor,
    h: torch.Tensor,
    noise_var: float | torch.Tensor | None = None,
    snr_db: float | torch.Tensor | None = None,
    key: KeyLike = None,
) -> Received:
    """y = h s + n with the gain h and the noise variance (or snr_db) given; `semdiff.FixedChannel` as a function."""
    return FixedChannel(h, noise_var)(s, snr_db, key)  # type: ignore[no-any-return]


def alphas_cumprod(schedule: NoiseSchedule) -> NDArray[np.float64]:
    """alpha_bar[0..T-1], shape (T,): a read-only view of the schedule's own table."""
    check_schedule(schedule)
    table: NDArray[np.float64] = schedule.alphas_cumprod.numpy()
    table.flags.writeable = False
    return table


# rng
normal = _adapt(semdiff.normal)
# channel
pack = _adapt(semdiff.pack)
unpack = _adapt(semdiff.unpack)
normalize_power = _adapt(semdiff.normalize_power)
measured_snr_db = _adapt(semdiff.measured_snr_db)
unpack_per_symbol = _adapt(semdiff.unpack_per_symbol)
estimate_noise_var = _adapt(semdiff.estimate_noise_var)
# equalizer
equalize = _adapt(semdiff.equalize)
# schedule: methods as functions, the schedule first
alpha_bar = _adapt(NoiseSchedule.alpha_bar)
noise_var = _adapt(NoiseSchedule.noise_var)
timestep = _adapt(NoiseSchedule.timestep)
# matching
match = _adapt(semdiff.match)
# sampler
add_noise = _adapt(semdiff.add_noise)
ddim_step = _adapt(semdiff.ddim_step)
ddpm_step = _adapt(semdiff.ddpm_step)
dpmpp_2m_step = _adapt(semdiff.dpmpp_2m_step)
posterior_mean = _adapt(semdiff.posterior_mean)
sample = _adapt(semdiff.sample)
time_grid = _adapt(semdiff.time_grid)
# vae and loss
reparameterize = _adapt(semdiff.reparameterize)
gaussian_upsample = _adapt(semdiff.gaussian_upsample)
upsampler_loss = _adapt(semdiff.upsampler_loss)


def __getattr__(name: str) -> Any:
    if name == "given":  # as version 0.1.0 called it
        warnings.warn("semdiff.numpy.given is called semdiff.numpy.fixed_channel", DeprecationWarning, stacklevel=2)
        return fixed_channel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

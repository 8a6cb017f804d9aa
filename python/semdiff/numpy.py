# SPDX-License-Identifier: Apache-2.0
"""semdiff's functions for NumPy: the same names, arguments, numbers, dtypes and errors, with ndarrays for tensors.

Memory is shared, not copied, both ways: an array goes in as a tensor on the same memory, and a result comes out as an array on the tensor's
memory. So it is for what a NumPy denoiser is given and gives back. Copied are only arrays that a tensor cannot describe: those with
negative or odd strides, or in the other byte order. Read-only arrays are not copied; no function writes to what it is given.

Results that are named tuples in semdiff are the same named tuples here, holding ndarrays. A denoiser is any callable denoiser(x, t) of
ndarrays; a torch.nn.Module may be passed too and gets tensors. No gradients are kept: they are torch's business. A dtype is a NumPy dtype.
A key may be a `numpy.random.Generator`, whose state then advances.

Example:
    >>> import numpy as np, semdiff.numpy as sdn
    >>> schedule = sdn.NoiseSchedule.scaled_linear()
    >>> z = np.random.default_rng(0).standard_normal((2, 4, 8, 8), np.float32)
    >>> s, scale = sdn.normalize_power(sdn.pack(z))
    >>> state = sdn.match(sdn.awgn(s, 10.0, sdn.Key(0)), schedule, shape=z.shape, scale=scale)
    >>> state
    DiffusionState(x=float32 (2, 4, 8, 8), t=float64 (2,))
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
    """Show a read-only array's memory without its flag: torch.from_numpy warns at the flag, and copying would be the other way out."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array  # keeps the memory alive
        interface = array.__array_interface__
        self.__array_interface__ = {**interface, "data": (interface["data"][0], False)}


def _tensor(array: NDArray[Any], name: str) -> torch.Tensor:
    """Return a tensor on the array's memory, wherever there can be one."""
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
    """Return what the torch function takes for what a NumPy user gives."""
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
    """Return what a NumPy user gets for what the torch function returns: arrays on the tensors' memory."""
    if isinstance(value, torch.Tensor):
        return value.detach().numpy()
    if isinstance(value, tuple):
        parts = [_outward(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    return value


def _adapt(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` for ndarrays."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def adapted(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs)
        for name, value in given.arguments.items():
            given.arguments[name] = _inward(value, name)
        with torch.no_grad():
            return _outward(function(*given.args, **given.kwargs))

    adapted.__module__ = __name__
    doc = inspect.cleandoc(function.__doc__ or "")
    if function.__module__ != __name__:
        doc = f"{doc.partition('Example:')[0].rstrip()}\n\nFor NumPy: an ndarray wherever this says tensor."
    adapted.__doc__ = doc
    return adapted


@_adapt
def awgn(s: torch.Tensor, snr_db: float | torch.Tensor, key: KeyLike = None) -> Received:
    """Add white Gaussian noise, y = s + n: `semdiff.AWGN` as a function.

    Args:
        s: Complex symbols, (B, ...), of unit power in each sample (`normalize_power`).
        snr_db: In dB, a number or (B,).
        key: Of the noise.

    Returns:
        Received(y, h, noise_var).

    Raises:
        TypeError: s is not complex, or snr_db is no number.
        ValueError: A shape does not fit, or snr_db is out of range.

    Example:
        >>> import numpy as np, semdiff.numpy as sdn
        >>> sdn.awgn(np.ones((2, 4), np.complex64), 10.0, sdn.Key(0))
        Received(y=complex64 (2, 4), h=complex64 (2, 1), noise_var=float64 (2, 1))
    """
    return AWGN()(s, snr_db, key)  # type: ignore[no-any-return]


@_adapt
def rayleigh(s: torch.Tensor, snr_db: float | torch.Tensor, coherence: Coherence = "block", key: KeyLike = None) -> Received:
    """Fade without a direct path, y = h s + n with h ~ CN(0, 1): `semdiff.Rayleigh` as a function.

    Args:
        s: Complex symbols, (B, ...), of unit power in each sample.
        snr_db: The average SNR in dB, a number or (B,).
        coherence: For how many symbols one gain lasts: "block", "fast" or a number.
        key: Of the gains and the noise.

    Returns:
        Received(y, h, noise_var).

    Raises:
        TypeError: s is not complex, or another argument of another type.
        ValueError: A shape does not fit, or a number is out of range.

    Example:
        >>> import numpy as np, semdiff.numpy as sdn
        >>> sdn.rayleigh(np.ones((2, 4), np.complex64), 10.0, "fast", sdn.Key(0)).h.shape
        (2, 4)
    """
    return Rayleigh(coherence)(s, snr_db, key)  # type: ignore[no-any-return]


@_adapt
def rician(
    s: torch.Tensor,
    snr_db: float | torch.Tensor,
    k_db: float,
    coherence: Coherence = "block",
    key: KeyLike = None,
) -> Received:
    """Fade with a direct path K = 10^(k_db / 10) times as strong as the scatter: `semdiff.Rician` as a function.

    Args:
        s: Complex symbols, (B, ...), of unit power in each sample.
        snr_db: The average SNR in dB, a number or (B,).
        k_db: K in dB, within +-300.
        coherence: For how many symbols one gain lasts: "block", "fast" or a number.
        key: Of the gains and the noise.

    Returns:
        Received(y, h, noise_var).

    Raises:
        TypeError: s is not complex, or another argument of another type.
        ValueError: A shape does not fit, or a number is out of range.

    Example:
        >>> import numpy as np, semdiff.numpy as sdn
        >>> sdn.rician(np.ones((2, 4), np.complex64), 10.0, 6.0, key=sdn.Key(0)).h.shape
        (2, 1)
    """
    return Rician(k_db, coherence)(s, snr_db, key)  # type: ignore[no-any-return]


@_adapt
def fixed_channel(
    s: torch.Tensor,
    h: torch.Tensor,
    noise_var: float | torch.Tensor | None = None,
    snr_db: float | torch.Tensor | None = None,
    key: KeyLike = None,
) -> Received:
    """Send through gains of your own, y = h s + n: `semdiff.FixedChannel` as a function.

    Args:
        s: Complex symbols, (B, ...), of unit power in each sample.
        h: Complex gains that broadcast to s.
        noise_var: E|n|^2: a number, (B,), (B, 1, ...) or the shape of s; or None beside snr_db.
        snr_db: In dB, a number or (B,), where noise_var is None.
        key: Of the noise.

    Returns:
        Received(y, h, noise_var).

    Raises:
        TypeError: s or h is not complex, or another argument of another type.
        ValueError: A shape does not fit, a number is out of range, or there is no noise.

    Example:
        >>> import numpy as np, semdiff.numpy as sdn
        >>> sdn.fixed_channel(np.ones((2, 4), np.complex64), np.array([[1.0], [1j]]), noise_var=0.1, key=sdn.Key(0)).y.shape
        (2, 4)
    """
    return FixedChannel(h, noise_var)(s, snr_db, key)  # type: ignore[no-any-return]


def alphas_cumprod(schedule: NoiseSchedule) -> NDArray[np.float64]:
    """Return a schedule's table alpha_bar[0..T-1].

    Args:
        schedule: A `NoiseSchedule`.

    Returns:
        float64, (T,): a read-only view of the schedule's own table.

    Raises:
        TypeError: schedule is none.

    Example:
        >>> import semdiff.numpy as sdn
        >>> sdn.alphas_cumprod(sdn.NoiseSchedule.from_alphas_cumprod([0.9, 0.5, 0.1])).round(3)
        array([0.9, 0.5, 0.1])
    """
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

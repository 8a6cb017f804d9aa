# SPDX-License-Identifier: Apache-2.0
"""One row for each public function: how it is called rightly. test_mutations.py changes one argument at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

import semdiff
import semdiff.numpy as sdn
from semdiff import (
    BlindNoise,
    DiffusionState,
    FixedChannel,
    HardwareImpairments,
    ImperfectCSI,
    Key,
    Multipath,
    NoiseSchedule,
    Pilots,
    Received,
    metrics,
)

KEY = Key(7)
SCHEDULE = NoiseSchedule.scaled_linear(100)
X = semdiff.normal((2, 4), KEY)
S = semdiff.pack(semdiff.normal((2, 16), KEY))
T = torch.tensor([30.0, 50.0], dtype=torch.float64)
EARLIER = torch.tensor([10.0, 20.0], dtype=torch.float64)
N0 = torch.tensor([[0.1], [0.2]], dtype=torch.float64)
H = torch.tensor([[1 + 1j], [0.5 - 1j]], dtype=torch.complex64)
IMAGES = semdiff.normal((4, 1, 28, 28), KEY).abs().clamp_max(1)
LARGE = semdiff.normal((1, 1, 176, 176), KEY).abs().clamp_max(1)


def network(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return x


@dataclass(frozen=True)
class Row:
    name: str
    call: Callable[..., Any]
    arguments: dict[str, Any]
    # (argument, kind) that may pass: what the argument's text allows.
    allows: frozenset[tuple[str, str]] = field(default_factory=frozenset)

    def __str__(self) -> str:
        return self.name


def _row(name: str, call: Callable[..., Any], **arguments: Any) -> Row:
    return Row(name, call, arguments)


def _equalize(y: Any, h: Any, noise_var: Any, method: Any) -> Any:
    return semdiff.equalize(Received(y, h, noise_var), method)


def _sample(x: Any, t: Any, **rest: Any) -> Any:
    return semdiff.sample(state=DiffusionState(x, t), **rest)


STEP = {"x": X, "output": X, "t": T, "s": EARLIER, "schedule": SCHEDULE}

ROWS = [
    _row("Key", Key, seed=3),
    _row("Key.from_tensor", Key.from_tensor, tensor=KEY.tensor),
    _row("Key.split", lambda n: KEY.split(n), n=2),
    _row("Key.fold_in", lambda index: KEY.fold_in(index), index=2),
    _row("normal", semdiff.normal, size=[2, 3], key=KEY, dtype=torch.float32, device="cpu"),
    _row("pack", semdiff.pack, z=X),
    _row("unpack", semdiff.unpack, s=S, shape=[2, 4, 4]),
    _row("unpack_per_symbol", semdiff.unpack_per_symbol, values=N0, shape=[2, 4, 4]),
    _row("normalize_power", semdiff.normalize_power, s=S),
    _row("measured_snr_db", semdiff.measured_snr_db, s=S, y=S + 0.1),
    _row("AWGN", semdiff.AWGN(), s=S, snr_db=5.0, key=KEY),
    _row("AWGN by sample", semdiff.AWGN(), s=S, snr_db=T, key=KEY),
    _row("Rayleigh", semdiff.Rayleigh, coherence="fast"),
    _row("Rayleigh blocks", lambda coherence: semdiff.Rayleigh(coherence)(S, 5.0, KEY), coherence=3),
    _row("Rayleigh()", semdiff.Rayleigh(), s=S, snr_db=5.0, key=KEY),
    _row("Rayleigh().equalized", semdiff.Rayleigh("fast").equalized, s=S, snr_db=5.0, method="mmse", key=KEY),
    _row("Rician", semdiff.Rician, k_db=3.0, coherence="block"),
    _row("FixedChannel", lambda h, noise_var: FixedChannel(h, noise_var)(S, key=KEY), h=H, noise_var=N0),
    _row("FixedChannel()", FixedChannel(1 + 1j, 0.1), s=S, key=KEY),
    _row("MIMO", semdiff.MIMO, nt=2, nr=2, precoding="equal", correlation=0.5, coherence="block"),
    _row("MIMO()", semdiff.MIMO(2, 2), s=S, snr_db=5.0, key=KEY),
    _row("Multipath", Multipath, taps=4, decay=3.0, subcarriers=16, cyclic_prefix=4, coherence="block", papr_db=5.0),
    _row("Multipath powers", Multipath, powers=[1.0, 0.5]),
    _row("Multipath()", Multipath(subcarriers=8, cyclic_prefix=7), s=S, snr_db=5.0, key=KEY),
    _row("Pilots", lambda **a: Pilots(**a)(S, 5.0, KEY), channel=semdiff.AWGN(), count=2, method="ls", every=4),
    _row("ImperfectCSI", lambda **a: ImperfectCSI(**a)(S, 5.0, KEY), channel=semdiff.AWGN(), error_var=0.1, snr_offset_db=1.0),
    _row("BlindNoise", lambda channel: BlindNoise(channel)(S, 5.0, KEY), channel=semdiff.AWGN()),
    _row(
        "HardwareImpairments",
        lambda **a: HardwareImpairments(**a)(S, 5.0, KEY),
        channel=semdiff.AWGN(), phase_noise=0.1, frequency_offset=0.01, papr_db=5.0,
    ),
    _row("estimate_noise_var", semdiff.estimate_noise_var, y=S, h=H),
    _row("equalize", _equalize, y=S, h=H, noise_var=N0, method="mmse"),
    _row("equalize received", semdiff.equalize, received=Received(S, H, N0)),
    _row("equalize matrices", _equalize, y=X[None] * 1j, h=torch.ones(1, 1, 4, 1) * (1 + 1j), noise_var=N0[:1, :, None], method="mmse"),
    _row("NoiseSchedule", NoiseSchedule, alphas_cumprod=SCHEDULE.alphas_cumprod),
    _row("NoiseSchedule.linear", NoiseSchedule.linear, T=10, beta_start=0.1, beta_end=0.2),
    _row("NoiseSchedule.scaled_linear", NoiseSchedule.scaled_linear, T=10, beta_start=0.1, beta_end=0.2),
    _row("NoiseSchedule.cosine", NoiseSchedule.cosine, T=10),
    _row("NoiseSchedule.from_alphas_cumprod", NoiseSchedule.from_alphas_cumprod, alphas_cumprod=[0.9, 0.5]),
    _row("NoiseSchedule.alpha_bar", SCHEDULE.alpha_bar, t=T),
    _row("NoiseSchedule.noise_var", SCHEDULE.noise_var, t=T),
    _row("NoiseSchedule.timestep", SCHEDULE.timestep, noise_var=N0, rounding="ceil"),
    _row("match", semdiff.match, x=X, noise_var=0.3, schedule=SCHEDULE, mode="exact", key=KEY, rounding="none", gain=0.5, spread="element"),
    _row("match tensors", semdiff.match, x=X, noise_var=X.abs(), schedule=SCHEDULE, key=KEY, gain=X.abs()),
    _row("match received", semdiff.match, x=Received(S, H, N0), schedule=SCHEDULE, shape=[2, 4, 4], scale=torch.ones(2)),
    _row("add_noise", semdiff.add_noise, x0=X, t=T, schedule=SCHEDULE, key=KEY),
    _row("ddim_step", semdiff.ddim_step, **STEP, eta=0.5, prediction="eps", clip=1.5, key=KEY),
    _row("ddpm_step", semdiff.ddpm_step, **STEP, prediction="eps", clip=1.5, key=KEY),
    _row(
        "dpmpp_2m_step",
        semdiff.dpmpp_2m_step,
        x=X, output=X, previous_x0=X, t_previous=T + 9, t=T, s=EARLIER, schedule=SCHEDULE, prediction="eps", clip=1.5,
    ),
    _row(
        "posterior_mean",
        semdiff.posterior_mean,
        denoiser=network, state=DiffusionState(X, T), schedule=SCHEDULE, prediction="v", clip=1.0,
    ),
    _row("time_grid", semdiff.time_grid, t=T, steps=3, schedule=SCHEDULE),
    _row(
        "sample",
        _sample,
        denoiser=network, x=X, t=T, schedule=SCHEDULE, steps=2, solver="ddim", eta=0.5, prediction="v", clip=1.0, key=KEY,
    ),
    _row("sample elements", _sample, denoiser=network, x=X, t=T[:, None].expand(2, 4), schedule=SCHEDULE, steps=2, key=KEY),
    _row("sample grid", _sample, denoiser=network, x=X, t=T, schedule=SCHEDULE, grid=torch.stack([T, EARLIER, -torch.ones_like(T)])),
    _row("reparameterize", semdiff.reparameterize, mu=X, logvar=X, key=KEY),
    _row("gaussian_upsample", semdiff.gaussian_upsample, features=IMAGES[:1, :, :2, :2].expand(1, 8, 2, 2), scale=2, key=KEY),
    _row(
        "upsampler_loss", semdiff.upsampler_loss, mu=X, logvar=X, z=X, alpha_bar=0.5, lambda_prior=0.1, lambda_match=0.1, key=KEY
    ),
    _row("psnr", metrics.psnr, x=IMAGES, y=IMAGES.flip(-1)),
    _row("ssim", metrics.ssim, x=IMAGES, y=IMAGES.flip(-1)),
    _row("ms_ssim", metrics.ms_ssim, x=LARGE, y=LARGE.flip(-1)),
    _row("accuracy", metrics.accuracy, x=IMAGES, labels=torch.arange(4)),
    _row("frechet_classifier", metrics.frechet_classifier, x=IMAGES, y=IMAGES.flip(-1)),
    _row("measure", metrics.measure, names=["psnr"], images=IMAGES, originals=IMAGES.flip(-1)),
    # NumPy
    _row("numpy.normal", sdn.normal, size=(2, 3), key=KEY, dtype=np.dtype("float32")),
    _row("numpy.awgn", sdn.awgn, s=S.numpy(), snr_db=5.0, key=KEY),
    _row("numpy.rayleigh", sdn.rayleigh, s=S.numpy(), snr_db=5.0, coherence="fast", key=KEY),
    _row("numpy.rician", sdn.rician, s=S.numpy(), snr_db=5.0, k_db=3.0, coherence="fast", key=KEY),
    _row("numpy.fixed_channel", sdn.fixed_channel, s=S.numpy(), h=H.numpy(), noise_var=0.1, key=KEY),
    _row("numpy.pack", sdn.pack, z=X.numpy()),
    _row("numpy.unpack", sdn.unpack, s=S.numpy(), shape=(2, 4, 4)),
    _row("numpy.unpack_per_symbol", sdn.unpack_per_symbol, values=N0.numpy(), shape=(2, 4, 4)),
    _row("numpy.normalize_power", sdn.normalize_power, s=S.numpy()),
    _row("numpy.measured_snr_db", sdn.measured_snr_db, s=S.numpy(), y=S.numpy() * 1.1),
    _row("numpy.estimate_noise_var", sdn.estimate_noise_var, y=S.numpy(), h=H.numpy()),
    _row("numpy.equalize", sdn.equalize, received=Received(*(v.numpy() for v in (S, H, N0))), method="mmse"),
    _row("numpy.alphas_cumprod", sdn.alphas_cumprod, schedule=SCHEDULE),
    _row("numpy.alpha_bar", lambda t: sdn.alpha_bar(SCHEDULE, t), t=T.numpy()),
    _row("numpy.noise_var", lambda t: sdn.noise_var(SCHEDULE, t), t=T.numpy()),
    _row("numpy.timestep", lambda noise_var, rounding: sdn.timestep(SCHEDULE, noise_var, rounding), noise_var=N0.numpy(), rounding="ceil"),
    _row("numpy.match", sdn.match, x=X.numpy(), noise_var=N0.numpy(), schedule=SCHEDULE, key=KEY),
    _row("numpy.add_noise", sdn.add_noise, x0=X.numpy(), t=T.numpy(), schedule=SCHEDULE, key=KEY),
    _row(
        "numpy.ddim_step",
        sdn.ddim_step,
        x=X.numpy(), output=X.numpy(), t=T.numpy(), s=EARLIER.numpy(), schedule=SCHEDULE, eta=0.5, key=KEY,
    ),
    _row("numpy.ddpm_step", sdn.ddpm_step, x=X.numpy(), output=X.numpy(), t=T.numpy(), s=EARLIER.numpy(), schedule=SCHEDULE, key=KEY),
    _row(
        "numpy.dpmpp_2m_step",
        sdn.dpmpp_2m_step,
        x=X.numpy(), output=X.numpy(), previous_x0=None, t_previous=None, t=T.numpy(), s=EARLIER.numpy(), schedule=SCHEDULE,
    ),
    _row("numpy.posterior_mean", sdn.posterior_mean, denoiser=network, state=DiffusionState(X.numpy(), T.numpy()), schedule=SCHEDULE),
    _row("numpy.sample", sdn.sample, denoiser=network, state=DiffusionState(X.numpy(), T.numpy()), schedule=SCHEDULE, steps=2),
    _row("numpy.time_grid", sdn.time_grid, t=T.numpy(), steps=2, schedule=SCHEDULE),
    _row("numpy.reparameterize", sdn.reparameterize, mu=X.numpy(), logvar=X.numpy(), key=KEY),
    _row("numpy.gaussian_upsample", sdn.gaussian_upsample, features=np.ones((1, 8, 2, 2), np.float32), scale=2, key=KEY),
    _row("numpy.upsampler_loss", sdn.upsampler_loss, mu=X.numpy(), logvar=X.numpy(), z=X.numpy(), alpha_bar=0.5, key=KEY),
]  # fmt: skip

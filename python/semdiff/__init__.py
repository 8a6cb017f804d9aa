# SPDX-License-Identifier: Apache-2.0
"""Images over noisy wireless channels, with diffusion models.

Gaussian channel noise is the forward process of a diffusion model, so a receiver can start a pretrained denoiser at exactly the timestep
that matches what it heard. Links, baselines, metrics and training are in semdiff.link, semdiff.oracle, semdiff.training and so on; NumPy
arrays are taken by semdiff.numpy.
"""

from semdiff._build import __version__, build_info
from semdiff.channel import (
    AWGN,
    Channel,
    Equalized,
    Received,
    Uses,
    equalize,
    measured_snr_db,
    normalize_power,
    pack,
    unpack,
    unpack_per_symbol,
)
from semdiff.loss import UpsamplerLoss, upsampler_loss
from semdiff.matching import DiffusionState, match
from semdiff.rng import Key, normal
from semdiff.sampler import add_noise, ddim_step, ddpm_step, dpmpp_2m_step, posterior_mean, sample, time_grid
from semdiff.schedule import NoiseSchedule
from semdiff.vae import GaussianSample, gaussian_upsample, reparameterize

__all__ = [
    "AWGN",
    "Channel",
    "DiffusionState",
    "Equalized",
    "GaussianSample",
    "Key",
    "NoiseSchedule",
    "Received",
    "UpsamplerLoss",
    "Uses",
    "__version__",
    "add_noise",
    "build_info",
    "ddim_step",
    "ddpm_step",
    "dpmpp_2m_step",
    "equalize",
    "gaussian_upsample",
    "match",
    "measured_snr_db",
    "normal",
    "normalize_power",
    "pack",
    "posterior_mean",
    "reparameterize",
    "sample",
    "time_grid",
    "unpack",
    "unpack_per_symbol",
    "upsampler_loss",
]

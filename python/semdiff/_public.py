# SPDX-License-Identifier: Apache-2.0
"""The package's own names, which `import semdiff` has without loading them, and `torch.ops.semdiff`, which comes with them."""

from semdiff._build import __version__, build_info
from semdiff.diffusion.loss import UpsamplerLoss, upsampler_loss
from semdiff.diffusion.matching import DiffusionState, MatchMode, match
from semdiff.diffusion.sampler import Denoiser, Solver, posterior_mean, sample, time_grid
from semdiff.diffusion.schedule import NoiseSchedule
from semdiff.diffusion.steps import Prediction, add_noise, ddim_step, ddpm_step, dpmpp_2m_step
from semdiff.diffusion.vae import GaussianSample, gaussian_upsample, reparameterize
from semdiff.phy.channel import AWGN, Channel, Equalized, Received, Uses, measured_snr_db, normalize_power, pack, unpack, unpack_per_symbol
from semdiff.phy.csi import BlindNoise, ImperfectCSI, Pilots, estimate_noise_var
from semdiff.phy.equalizer import equalize
from semdiff.phy.fading import FixedChannel, Rayleigh, Rician
from semdiff.phy.hardware import HardwareImpairments
from semdiff.phy.mimo import MIMO
from semdiff.phy.multipath import Multipath
from semdiff.rng import Key, KeyLike, normal

__all__ = [
    "AWGN",
    "MIMO",
    "BlindNoise",
    "Channel",
    "Denoiser",
    "DiffusionState",
    "Equalized",
    "FixedChannel",
    "GaussianSample",
    "HardwareImpairments",
    "ImperfectCSI",
    "Key",
    "KeyLike",
    "MatchMode",
    "Multipath",
    "NoiseSchedule",
    "Pilots",
    "Prediction",
    "Rayleigh",
    "Received",
    "Rician",
    "Solver",
    "UpsamplerLoss",
    "Uses",
    "__version__",
    "add_noise",
    "build_info",
    "ddim_step",
    "ddpm_step",
    "dpmpp_2m_step",
    "equalize",
    "estimate_noise_var",
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

# Names of version 0.1.0 that semdiff still gives, with a DeprecationWarning, and what they are called.
RENAMED = {
    "Blind": "BlindNoise",
    "Given": "FixedChannel",
    "Impaired": "HardwareImpairments",
    "Mistaken": "ImperfectCSI",
}

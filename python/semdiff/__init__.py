# SPDX-License-Identifier: Apache-2.0
"""Images over noisy wireless channels, with diffusion models.

Gaussian channel noise is the forward process of a diffusion model, so a receiver can start a pretrained denoiser at exactly the timestep
that matches what it received.

    import semdiff as sd

    schedule = sd.NoiseSchedule.scaled_linear()
    s, scale = sd.normalize_power(sd.pack(z))                          # a latent z as symbols
    received = sd.AWGN()(s, snr_db=10.0, key=sd.Key(0))
    state = sd.match(received, schedule, shape=z.shape, scale=scale)   # x_t and its t
    z_hat = sd.posterior_mean(denoiser, state, schedule)               # or sd.sample

Random numbers     Key, normal
Symbols            pack, unpack, unpack_per_symbol, normalize_power, measured_snr_db
Channels           Channel (the base class), AWGN, Rayleigh, Rician, FixedChannel, MIMO, Multipath
Around a channel   Pilots, ImperfectCSI, BlindNoise, HardwareImpairments
What arrives       Received, equalize, Equalized, estimate_noise_var, Uses
The match          NoiseSchedule, match, DiffusionState
Denoising          posterior_mean, sample, time_grid, add_noise, ddim_step, ddpm_step, dpmpp_2m_step
The up-sampler     gaussian_upsample, GaussianSample, reparameterize, upsampler_loss, UpsamplerLoss
Types              KeyLike, Denoiser, Prediction, Solver, MatchMode
This build         build_info, __version__

help(semdiff.match) and the like show arguments, results, sources and an example of each. The same functions for NumPy arrays are in
semdiff.numpy, whole links in semdiff.link, what they are compared with in semdiff.baselines, exact priors in semdiff.oracle.

torch and these names are loaded when the first is used; where torch is there before, at once, for torch.ops.semdiff.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from semdiff._public import *  # noqa: F403
    from semdiff._public import __all__ as __all__
else:

    def __getattr__(name: str) -> Any:
        if not name.startswith("_") or name in ("__all__", "__version__"):
            public = import_module("semdiff._public")
            globals().update({each: getattr(public, each) for each in public.__all__}, __all__=public.__all__)
            if name in globals():
                return globals()[name]
            if name in public.RENAMED:
                new = public.RENAMED[name]
                warnings.warn(f"semdiff.{name} is called semdiff.{new}", DeprecationWarning, stacklevel=2)
                return getattr(public, new)
        raise AttributeError(f"module 'semdiff' has no attribute {name!r}")

    def __dir__() -> list[str]:
        names = __getattr__("__all__")
        # help(semdiff) would show each class with all that it inherits, 13,000 lines of torch's: it has the list above.
        frame, shown = sys._getframe(1), {*globals(), *names}
        for _ in range(3):  # through inspect.getmembers
            if frame is not None and frame.f_code.co_filename.endswith("pydoc.py"):
                shown -= {*names}
            frame = frame and frame.f_back
        return sorted(shown)

    if "torch" in sys.modules:
        __getattr__("__all__")

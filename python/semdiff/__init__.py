# SPDX-License-Identifier: Apache-2.0
"""Images over noisy wireless channels, with diffusion models.

Gaussian channel noise is the forward process of a diffusion model, so a receiver can start a pretrained denoiser at exactly the timestep
that matches what it heard. Links, baselines, metrics and training are in semdiff.link, semdiff.oracle, semdiff.training and so on; NumPy
arrays are taken by semdiff.numpy.

torch and the names of `__all__` are loaded when the first is used; where torch is there before, at once, for torch.ops.semdiff.
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
        return sorted({*globals(), *__getattr__("__all__")})

    if "torch" in sys.modules:
        __getattr__("__all__")

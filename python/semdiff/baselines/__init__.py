# SPDX-License-Identifier: Apache-2.0
"""Send images by other means at the same channel uses: digital transmission, learned codes, and the limits of any code.

Images need the extra semdiff-torch[models], the channel code semdiff-torch[eval]. The learned systems are loaded at first use: they need
diffusers, the others do not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from semdiff.baselines.capacity import Capacity
from semdiff.baselines.digital import Digital
from semdiff.baselines.hybrid import Hybrid
from semdiff.baselines.limits import capacity_bits, opta_psnr_db

if TYPE_CHECKING:
    from semdiff.baselines.ffdnet import FFDNet, FFDNetReceiver
    from semdiff.baselines.hybrid_link import HybridLink
    from semdiff.baselines.jscc import ADJSCC, DeepJSCC, PerceptualADJSCC
    from semdiff.baselines.residual_jscc import PerceptualResidualJSCC, ResidualJSCC

__all__ = [
    "ADJSCC",
    "Capacity",
    "DeepJSCC",
    "Digital",
    "FFDNet",
    "FFDNetReceiver",
    "Hybrid",
    "HybridLink",
    "PerceptualADJSCC",
    "PerceptualResidualJSCC",
    "ResidualJSCC",
    "capacity_bits",
    "opta_psnr_db",
]
LEARNED = {
    "FFDNet": "ffdnet",
    "FFDNetReceiver": "ffdnet",
    "ADJSCC": "jscc",
    "DeepJSCC": "jscc",
    "HybridLink": "hybrid_link",
    "PerceptualADJSCC": "jscc",
    "PerceptualResidualJSCC": "residual_jscc",
    "ResidualJSCC": "residual_jscc",
}


def __getattr__(name: str) -> Any:
    if name in LEARNED:
        return getattr(import_module(f"semdiff.baselines.{LEARNED[name]}"), name)
    raise AttributeError(f"module 'semdiff.baselines' has no attribute {name!r}")

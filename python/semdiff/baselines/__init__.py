# SPDX-License-Identifier: Apache-2.0
"""What a semantic link is measured against, at the same channel uses: digital transmission, and the bounds that no code exceeds.

Pictures need the extra semdiff-torch[models], the channel code semdiff-torch[eval].
"""

from semdiff.baselines.capacity import Capacity
from semdiff.baselines.digital import Digital
from semdiff.baselines.ffdnet import FFDNet, FFDNetReceiver
from semdiff.baselines.jscc import ADJSCC, DeepJSCC, PerceptualADJSCC
from semdiff.baselines.limits import capacity_bits, opta_psnr_db

__all__ = ["ADJSCC", "Capacity", "DeepJSCC", "Digital", "FFDNet", "FFDNetReceiver", "PerceptualADJSCC", "capacity_bits", "opta_psnr_db"]

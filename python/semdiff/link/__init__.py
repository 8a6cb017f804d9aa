# SPDX-License-Identifier: Apache-2.0
"""Send images over a noisy channel and receive them with a diffusion model. Needs the extra semdiff-torch[models]."""

try:
    import diffusers as _diffusers  # noqa: F401
except ImportError as error:
    raise ImportError("semdiff.link needs diffusers and safetensors: pip install 'semdiff-torch[models]'") from error

from semdiff.link.pipeline import SemanticLink
from semdiff.link.pixel_link import PixelLink
from semdiff.models.networks import Downsampler, Upsampler
from semdiff.transmission.ledger import Ledger, Transmission

__all__ = ["Downsampler", "Ledger", "PixelLink", "SemanticLink", "Transmission", "Upsampler"]

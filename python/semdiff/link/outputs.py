# SPDX-License-Identifier: Apache-2.0
"""Name a link's images by what makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semdiff.link.pipeline import SemanticLink


def output_names(link: SemanticLink) -> tuple[str, str]:
    """Return the names of a link's images at realism 0 and at realism 1.

    A mean decoder makes the image of least error without the denoiser; without one it is the denoiser's posterior mean. A detail decoder
    makes the other image from the received features, and the denoiser's sample hardly changes it; without one it is a sample. A link on
    pixels has neither: its mean is that of the up-sampler.

    Args:
        link: the link.
    """
    if not hasattr(link, "mean_decoder"):
        return "up-sampler's mean", "sample"
    mean = "posterior mean" if link.mean_decoder is None else "mean decoder"
    return mean, "sample" if link.detail_decoder is None else "detail decoder"


def output_name(link: SemanticLink, realism: float) -> str:
    """Return the name of a link's image at this realism.

    Args:
        link: the link.
        realism: from 0 to 1.
    """
    mean, sample = output_names(link)
    return mean if realism == 0 else sample if realism == 1 else f"realism {realism:g}"

# SPDX-License-Identifier: Apache-2.0
"""What a link's pictures are called: by what makes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semdiff.link.pipeline import SemanticLink


def output_names(link: SemanticLink) -> tuple[str, str]:
    """The names of its pictures at realism 0 and at realism 1.

    A mean decoder makes the picture of least error without the denoiser; without one the denoiser does, as the posterior mean. A detail
    decoder makes the other picture from what was heard, and what the denoiser samples hardly changes it; without one it is a sample. A link
    on pixels has neither: its mean is that of the up-sampler.
    """
    if not hasattr(link, "mean_decoder"):
        return "up-sampler's mean", "sample"
    mean = "posterior mean" if link.mean_decoder is None else "mean decoder"
    return mean, "sample" if link.detail_decoder is None else "detail decoder"


def output_name(link: SemanticLink, realism: float) -> str:
    """The name of its picture at this realism."""
    mean, sample = output_names(link)
    return mean if realism == 0 else sample if realism == 1 else f"realism {realism:g}"

# SPDX-License-Identifier: Apache-2.0
"""Begin a link's up-sampler as the decoder of the code whose ends the link has.

That decoder's picture, of squared error and LPIPS, is near the mean already. What is left to learn is what LPIPS moved, and how wrong the
mean is.
"""

from __future__ import annotations

import math

import torch

from semdiff.models.pixels import PixelScale
from semdiff.models.residual_jscc import ResidualDecoder
from semdiff.models.residual_upsampler import ResidualUpsampler


def upsampler_like(decoder: ResidualDecoder) -> ResidualUpsampler:
    """Make an untrained up-sampler of a decoder's architecture.

    Args:
        decoder: of a code with two strides.
    """
    c = decoder.config
    upsampler: ResidualUpsampler = ResidualUpsampler(
        c.colours, c.symbol_channels, c.width, c.outer_width, c.depth, c.outer_depth, c.condition
    )
    return upsampler


@torch.no_grad()
def begin_upsampler(upsampler: ResidualUpsampler, decoder: ResidualDecoder, scale: PixelScale, error_var: float = 0.1) -> None:
    """Give an up-sampler the mean that a decoder computes, and one variance for every pixel.

    Args:
        upsampler: of `upsampler_like`; is changed.
        decoder: gives images in [0, 1].
        scale: of the normalised pixels, which the up-sampler gives.
        error_var: of these.

    Example:
        >>> from semdiff.models.pixels import PixelScale
        >>> from semdiff.models.residual_jscc import ResidualDecoder
        >>> from semdiff.training.upsampler_start import begin_upsampler, upsampler_like
        >>> decoder = ResidualDecoder(width=16, outer_width=8)
        >>> upsampler = upsampler_like(decoder)
        >>> begin_upsampler(upsampler, decoder, PixelScale(0.473, 0.252))
    """
    for part in ("linear_decoder", "embedding", "blocks", "grow", "outer_blocks"):
        getattr(upsampler, part).load_state_dict(getattr(decoder, part).state_dict())
    given, own = decoder.state_dict(), upsampler.state_dict()  # tensors that the networks share
    symbols, pixels = decoder.config.symbol_channels, len(given["to_image.weight"])
    own["conv_in.weight"][:, :symbols] = given["conv_in.weight"]
    own["conv_in.weight"][:, symbols:] = 0.0  # the noise map
    own["conv_in.bias"].copy_(given["conv_in.bias"])
    own["to_gaussian.weight"][:pixels] = given["to_image.weight"]
    own["to_gaussian.bias"][:pixels] = given["to_image.bias"]
    for name in ("to_gaussian.weight", "to_gaussian.bias", "linear_decoder.map.weight", "linear_decoder.map.bias"):
        own[name].div_(2 * scale.std)  # the decoder computes in [-1, 1]
    own["linear_decoder.map.bias"].add_((0.5 - scale.mean) / scale.std)
    own["to_gaussian.weight"][pixels:] = 0.0
    own["to_gaussian.bias"][pixels:] = math.log(error_var)

# SPDX-License-Identifier: Apache-2.0
"""Start a training as a linear code: before any step the link is the analog code of principal components, and the networks learn the rest.

A network takes thousands of steps to learn what a linear map does at once: blocks of pixels to their first principal components, whitened;
each at the power that is best for a linear receiver, in proportion to its standard deviation (Lee and Petersen, IEEE Trans. Commun. 1976),
the strongest first, so that a lower rate drops the weakest; and back.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from torch.nn import functional as F

from semdiff.baselines.residual_jscc import ResidualJSCC
from semdiff.models.blocks import UPSCALE, SteeredMap
from semdiff.models.networks import Downsampler, MeanDecoder, Upsampler

FAINT = 0.1  # of torch's own initialisation, for what the networks add at first. Chosen by hand
SEEN = 4096  # latents whose principal components are taken
REFERENCE = 2.0  # where components have a deviation around 1. Chosen by hand
LIFT = 6.0  # where SiLU and ReLU are straight, for what the decoder lets into [-3, 3]


class PrincipalComponents(NamedTuple):
    """Hold the principal components of blocks of D pixels in [0, 1].

    Attributes:
        mean: (D,).
        directions: (D, L).
        deviations: standard deviations, (L,), falling.
    """

    mean: Tensor
    directions: Tensor
    deviations: Tensor


def principal_components(blocks: Tensor, count: int) -> PrincipalComponents:
    """Compute the principal components of blocks.

    Args:
        blocks: (B, D, h, w) in [-1, 1].
        count: of components.
    """
    x = (blocks.double() + 1).div(2).movedim(1, -1).flatten(0, -2)
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
    return PrincipalComponents(mean, vectors[:, -count:].flip(1), values[-count:].flip(0).clamp_min(1e-12).sqrt())


@torch.no_grad()
def begin_linear(vae: AutoencoderTiny, downsampler: Downsampler, upsampler: Upsampler, mean_decoder: MeanDecoder, blocks: Tensor) -> None:
    """Set the networks' weights to the linear code of principal components.

    Args:
        vae, downsampler, upsampler, mean_decoder: the networks.
        blocks: (B, D, h, w) in [-1, 1], whose components are taken.

    Raises:
        ValueError: where the widths leave no room, or where an end has no linear map.
    """
    latents = vae.config.latent_channels
    width = vae.config.encoder_block_out_channels[-1]
    if width < 2 * latents:
        raise ValueError(f"vae: expected a width of at least {2 * latents}, two for a latent, got {width}")
    if downsampler.straight is None or upsampler.straight is None or mean_decoder.straight is None:
        raise ValueError("downsampler, upsampler, mean_decoder: expected networks with a linear map, got some without")
    mean, directions, deviations = principal_components(blocks, latents)
    _encode(vae.encoder.layers, mean, directions, deviations)
    _decode(vae.decoder.layers, mean, directions, deviations)
    _begin_ends(downsampler, upsampler, (deviations / deviations.mean()).sqrt())
    straight: Any = mean_decoder.straight
    straight.weight.copy_((2 * directions * deviations)[:, :, None, None])
    straight.bias.copy_(2 * mean - 1)
    _faint(mean_decoder.conv_out)


@torch.no_grad()
def begin_ends(downsampler: Downsampler, upsampler: Upsampler, z: Tensor) -> None:
    """Set both ends to the linear code of the principal components of 2x2 latents, around a trained autoencoder.

    Args:
        downsampler, upsampler: networks with a linear map.
        z: latents (B, C, h, w), of which the first few thousand are taken.
    """
    cells = F.pixel_unshuffle(z[:SEEN], UPSCALE).double().movedim(1, -1).flatten(0, -2)
    values, vectors = torch.linalg.eigh(cells.T @ cells / len(cells))
    count = min(downsampler.config.symbol_channels, cells.shape[1])
    directions = vectors[:, -count:].flip(1)
    deviations = values[-count:].flip(0).clamp_min(1e-12).sqrt()
    amplitudes = (deviations / deviations.mean()).sqrt()
    there, back = cast(Any, downsampler.straight), cast(Any, upsampler.straight)
    _clear(there, back)
    there.map.weight[:count] = (directions / deviations * amplitudes).T.reshape(count, z.shape[1], UPSCALE, UPSCALE).to(z)
    back.map.weight[:, :count, 0, 0] = (directions * deviations / amplitudes).to(z)
    _faint(downsampler.conv_out)
    _faint(upsampler.conv_out)


@torch.no_grad()
def begin_jscc(model: ResidualJSCC, images: Tensor) -> None:
    """Set the linear code of a model to the code of the principal components of its blocks of pixels. What its networks add is faint.

    The last component that the lowest rate sends has a mean of REFERENCE. The receiver sees it scaled as the whole image was to unit power,
    and so can learn to undo that scale.

    Args:
        model: is changed.
        images: (B, C, H, W) in [0, 1], of which the first few thousand are taken; H and W are multiples of a block.
    """
    there, back = cast(Any, model.transmitter).linear_encoder, cast(Any, model.decoder).linear_decoder
    side, count = back.side, there.map.out_channels
    offset, picture = there.map.bias, back.map.bias
    mean, directions, deviations = principal_components(F.pixel_unshuffle(2 * images[:SEEN] - 1, side), count)
    amplitudes = (deviations / deviations.mean()).sqrt()
    whiten = (directions / deviations * amplitudes).T / 2  # the networks' pixels are in [-1, 1]
    there.map.weight.zero_()
    block = slice(side // 2, side // 2 + side)  # the middle of what the map sees
    there.map.weight[:, :, block, block] = whiten.reshape(count, images.shape[1], side, side).to(images)
    offset.copy_(-(whiten @ (2 * mean - 1)))
    offset[min(model.config.rates) * UPSCALE**2 - 1] += REFERENCE
    back.map.weight.zero_()
    back.map.weight[:, :, 1, 1] = (2 * directions * deviations / amplitudes).to(images)
    picture.copy_(2 * mean - 1)
    for gain in (there.gain, back.gain):
        _faint(gain[-1])
    _faint(model.transmitter.to_symbols)
    _faint(model.decoder.to_image)


def _begin_ends(downsampler: Any, upsampler: Any, amplitudes: Tensor) -> None:
    """Each latent of a cell is a symbol channel of its own, at this amplitude, as far as there are channels."""
    there, back = downsampler.straight, upsampler.straight
    _clear(there, back)
    for k in range(min(downsampler.config.symbol_channels, len(amplitudes) * UPSCALE**2)):
        latent, place = divmod(k, UPSCALE**2)
        there.map.weight[k, latent, place // UPSCALE, place % UPSCALE] = amplitudes[latent]
        back.map.weight[k, k] = 1 / amplitudes[latent]
    _faint(downsampler.conv_out)
    _faint(upsampler.conv_out)


def _encode(layers: Any, mean: Tensor, directions: Tensor, deviations: Tensor) -> None:
    """A component and its negative side by side pass through ReLUs, and their difference is the component."""
    first, last, n = layers[0], layers[-1], len(deviations)
    whiten = (directions / deviations).T
    _quieten(layers)
    for rows, sign in ((slice(0, n), 1.0), (slice(n, 2 * n), -1.0)):
        first.weight[rows] = 0.0
        first.weight[rows, :, 1, 1] = (sign * whiten).to(first.weight)
        first.bias[rows] = (-sign * whiten @ mean).to(first.bias)
        last.weight[:, rows] = 0.0
        last.weight[range(n), range(rows.start, rows.stop), 1, 1] = sign


def _decode(layers: Any, mean: Tensor, directions: Tensor, deviations: Tensor) -> None:
    first, last, n = layers[0], layers[-1], len(deviations)
    _quieten(layers)
    first.weight[:n] = 0.0
    first.weight[range(n), range(n), 1, 1] = 1.0
    first.bias[:n] = LIFT
    colours = directions * deviations
    last.weight[:, :n] = 0.0
    last.weight[:, :n, 1, 1] = colours.to(last.weight)
    last.bias.copy_(mean - LIFT * colours.sum(1))


def _quieten(layers: Any) -> None:
    """What the blocks and the last convolution add is faint."""
    for block in layers:
        if hasattr(block, "fuse"):
            _faint(block.conv[-1])
    _faint(layers[-1])


def _clear(*maps: SteeredMap) -> None:
    """Each map is zero, and what scales it is faint."""
    for each in maps:
        each.map.weight.zero_()
        if each.gain is not None:
            _faint(each.gain)


def _faint(layer: Any) -> None:
    layer.weight.mul_(FAINT)
    layer.bias.zero_()

# SPDX-License-Identifier: Apache-2.0
"""The photograph link with a number of symbols for each cell: its networks are told the rate by FiLM, which may as well differ from cell to
cell. They were trained on one rate for a whole picture, 32, 64 or 128 symbol channels."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff import Key, normal
from semdiff.diffusion.vae import gaussian_upsample
from semdiff.link import SemanticLink
from semdiff.link.starting_state import estimate_elements
from semdiff.models.blocks import FiLMBlock, SteeredMap
from semdiff.transmission.symbols import ReceivedFeatures, clamp_snr

UPSAMPLED = Key(1)


@contextmanager
def film_by_cell() -> Iterator[None]:
    """FiLM blocks and steered maps take a condition (B, C) or (B, C, h, w) while this is open."""
    block, steered = FiLMBlock.forward, SteeredMap.forward

    def scaled(layer: nn.Linear, condition: Tensor, x: Tensor) -> Tensor:
        if condition.dim() == 2:
            return layer(condition)[:, :, None, None]  # type: ignore[no-any-return]
        return F.interpolate(layer(condition.movedim(1, -1)).movedim(-1, 1), x.shape[2:], mode="nearest")

    def block_forward(self: FiLMBlock, x: Tensor, condition: Tensor) -> Tensor:
        h = self.conv1(F.silu(x))
        scale, shift = scaled(self.film, condition, h).chunk(2, 1)
        return x + self.conv2(F.silu(h * (1 + scale) + shift))  # type: ignore[no-any-return]

    def steered_forward(self: SteeredMap, x: Tensor, condition: Tensor) -> Tensor:
        y = self.map(x)
        return y * (1 + scaled(self.gain, condition, y))  # type: ignore[no-any-return]

    FiLMBlock.forward, SteeredMap.forward = block_forward, steered_forward  # type: ignore[method-assign]
    try:
        yield
    finally:
        FiLMBlock.forward, SteeredMap.forward = block, steered  # type: ignore[method-assign]


def _condition(network: nn.Module, snr_db: float, rates: Tensor) -> Tensor:
    embedded: Tensor = network.get_submodule("embedding")(torch.full((rates.numel(),), snr_db), rates.flatten())
    return embedded.T.reshape(1, -1, *rates.shape)


def features(link: SemanticLink, image: Tensor, snr_db: float, channels: Tensor) -> tuple[Tensor, Tensor]:
    """Features (1, C, h, w), and which of them are sent.

    `channels` (h, w): symbol channels of each cell.
    """
    z, network = link.encode(image[None]), link.downsampler
    total = network.config.symbol_channels
    sent = (torch.arange(total)[:, None, None] < channels)[None]
    level_db = 10 * (network.straight.map(z).square()[sent].mean()).log10()
    told = min(float(snr_db - level_db), link.feature_snr_range_db[1])
    c = _condition(network, told, channels / total)
    x = network.shrink(network.block_in(network.conv_in(z), c))
    for block in network.blocks:
        x = block(x, c)
    return network.conv_out(F.silu(x)) + network.straight(z, c), sent


def over_the_air(x: Tensor, sent: Tensor, snr_db: float, key: Key) -> tuple[Tensor, float]:
    """What arrives of the elements that are sent, at unit power together, and its noise variance; zeros elsewhere."""
    noise_var = float(x[sent].square().mean()) * 10 ** (-snr_db / 10)
    return (x + noise_var**0.5 * normal(x.shape, key)) * sent, noise_var


def receive(link: SemanticLink, arrived: Tensor, channels: Tensor, noise_var: float, size: tuple[int, int]) -> Tensor:
    """The mean picture (3, H, W) of features with a noise variance."""
    network = link.upsampler
    variance = torch.tensor([noise_var], dtype=torch.float64)
    known = clamp_snr(ReceivedFeatures(arrived, variance, torch.zeros_like(arrived)), *link.feature_snr_range_db)
    told = float(-10 * known.noise_var.log10())
    c = _condition(network, told, channels / network.config.symbol_channels)
    x = network.conv_in(torch.cat([known.features, known.noise_map], 1))
    for block in network.blocks:
        x = block(x, c)
    out, mean = network.conv_out(F.silu(x)), network.straight(known.features, c)
    out = torch.cat([out[:, : mean.shape[1]] + mean, out[:, mean.shape[1] :]], 1)
    blocks = link.mean_decoder(*estimate_elements(gaussian_upsample(out, 2, UPSAMPLED), known.noise_var))
    return link._to_images(blocks, size)[0]


def transmit(link: SemanticLink, image: Tensor, snr_db: float, channels: Tensor, key: Key) -> Tensor:
    """The mean picture (3, H, W) of an image that was sent with so many symbol channels in each cell, over AWGN."""
    x, sent = features(link, image, snr_db, channels)
    arrived, noise_var = over_the_air(x, sent, snr_db, key)
    return receive(link, arrived, channels, noise_var, (image.shape[1], image.shape[2]))


def allocate(errors: Tensor, offers: Tensor, average: float) -> Tensor:
    """The offer for each cell that makes the sum of `errors` (offers, h, w) least at an average of what is offered: bisection of price."""
    low, high = -14.0, 2.0
    for _ in range(60):
        price = (low + high) / 2
        chosen = offers[(errors + 10**price * offers[:, None, None]).argmin(0)]
        low, high = (price, high) if float(chosen.mean()) > average else (low, price)
    return offers[(errors + 10**high * offers[:, None, None]).argmin(0)]


def entropy_bits(numbers: Tensor) -> float:
    """Bits of a map (h, w), each number given its neighbours on the left: what an ideal adaptive code takes."""
    found = numbers.unique(return_inverse=True)[1]
    pairs = torch.stack([found[:, :-1].flatten(), found[:, 1:].flatten()])
    joint = torch.zeros(int(found.max()) + 1, int(found.max()) + 1).index_put_(tuple(pairs), torch.tensor(1.0), accumulate=True)
    share = joint / joint.sum()
    given = share / share.sum(1, keepdim=True).clamp_min(1e-12)
    return float(-(share * given.clamp_min(1e-12).log2()).sum() * found.numel())

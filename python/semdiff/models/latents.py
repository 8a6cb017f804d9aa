# SPDX-License-Identifier: Apache-2.0
"""Convert an autoencoder's latents to those of about unit variance that a denoiser knows, as the autoencoder's config says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor


class LatentScale(NamedTuple):
    """Hold shift and scale, so that (latent - shift) * scale is of about unit variance.

    Attributes:
        scale, shift: one number for all channels, or one for each.
    """

    scale: tuple[float, ...] = (1.0,)
    shift: tuple[float, ...] = (0.0,)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> LatentScale:
        """Read scaling_factor with shift_factor or with latents_mean and latents_std, as diffusers' pipelines use them.

        Args:
            config: of the autoencoder.

        Raises:
            ValueError: where the config says both, half of the second, or what cannot be a scale.
        """
        channels = config["latent_channels"]
        factor = _numbers(config, "scaling_factor", 1.0, 1)
        mean, deviation = (config.get(name) for name in ("latents_mean", "latents_std"))
        if (mean is None) != (deviation is None):
            raise ValueError(f"vae: expected latents_mean and latents_std both or neither, got {mean} and {deviation}")
        if mean is None:
            found = cls(factor, _numbers(config, "shift_factor", 0.0, 1))
        elif config.get("shift_factor"):
            raise ValueError(f"vae: expected shift_factor or latents_mean, got both: {config['shift_factor']} and {mean}")
        else:
            spread = _numbers(config, "latents_std", 1.0, channels)
            if min(spread) <= 0:
                raise ValueError(f"vae: latents_std: expected numbers above zero, got {list(spread)}")
            found = cls(tuple(factor[0] / v for v in spread), _numbers(config, "latents_mean", 0.0, channels))
        if not all(v > 0 for v in found.scale):
            raise ValueError(f"vae: scaling_factor: expected a number above zero, got {factor[0]}")
        return found

    def normalize(self, latents: Tensor) -> Tensor:
        """Scale an autoencoder's latents (B, C, h, w) to about unit variance."""
        return (latents - _like(self.shift, latents)) * _like(self.scale, latents)

    def restore(self, z: Tensor) -> Tensor:
        """Invert `normalize` for z (B, C, h, w)."""
        return z / _like(self.scale, z) + _like(self.shift, z)


def _like(numbers: Sequence[float], x: Tensor) -> Tensor | float:
    if len(numbers) == 1:
        return numbers[0]
    return torch.tensor(numbers, dtype=x.dtype, device=x.device)[:, None, None]


def _numbers(config: Mapping[str, Any], name: str, usual: float, count: int) -> tuple[float, ...]:
    value = config.get(name)
    values = [usual] if value is None else list(value) if isinstance(value, Sequence) else [value]
    try:
        found = tuple(map(float, values))
    except (TypeError, ValueError):
        found = ()
    if len(found) not in {1, count} or not all(map(math.isfinite, found)):
        raise ValueError(f"vae: {name}: expected {'a finite number' if count == 1 else f'{count} finite numbers'}, got {value!r}")
    return found

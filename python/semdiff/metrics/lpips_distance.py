# SPDX-License-Identifier: Apache-2.0
"""Compute LPIPS (Zhang et al., CVPR 2018, arXiv 1801.03924, version 0.1): a weighted distance of a classifier's features.

    d(x, y) = sum_l mean_hw w_l . (f_l(x) / |f_l(x)| - f_l(y) / |f_l(y)|)^2

f_l: the output of five layers of AlexNet or VGG-16, trained on ImageNet; w_l: trained on people's judgements.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from semdiff.metrics.check import by_parts, check_pair, in_colour
from semdiff.metrics.weights import ALEXNET, VGG16, read_arrays

# For each of the five features: the pooling before it (kernel, stride), then its convolutions (channels, kernel, stride, padding).
Layers = tuple[tuple[tuple[int, int] | None, tuple[tuple[int, int, int, int], ...]], ...]
_ALEX: Final[Layers] = (
    (None, ((64, 11, 4, 2),)),
    ((3, 2), ((192, 5, 1, 2),)),
    ((3, 2), ((384, 3, 1, 1),)),
    (None, ((256, 3, 1, 1),)),
    (None, ((256, 3, 1, 1),)),
)
_VGG: Final[Layers] = tuple(
    ((2, 2) if channels != 64 else None, ((channels, 3, 1, 1),) * count)
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
)
NETS = {"alex": (ALEXNET, "AlexNet_0", _ALEX), "vgg": (VGG16, "VGG16_0", _VGG)}
SMALLEST = 64  # pixels: smaller images leave AlexNet's last features no width
VALUES_AT_ONCE = 3 * 2**18  # VGG-16's first features are 21 times as many


class LPIPS(nn.Module):
    """Compute LPIPS as a training loss: unchecked, and at the images' own size.

    Args:
        net: "alex" or "vgg".
        weights: the file, or a folder that holds it; see `semdiff.metrics.weights.locate`.

    Raises:
        ValueError: for another net.
        FileNotFoundError: with the command that installs them, where there are no weights.

    Example:
        >>> from semdiff.data import sample_photos
        >>> from semdiff.metrics import LPIPS
        >>> LPIPS("alex")(sample_photos()[:1], sample_photos()[:1])
        tensor([0.])
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Literal["alex", "vgg"] = "alex", weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        if net not in NETS:
            raise ValueError(f"net: expected {' or '.join(NETS)}, got {net!r}")
        source, trunk, layers = NETS[net]
        arrays = read_arrays(source, weights)
        # The networks' own normalisation (mean .485 .456 .406, deviation .229 .224 .225) for images in [-1, 1], in LPIPS's digits.
        self.register_buffer("shift", torch.tensor([-0.030, -0.088, -0.188])[:, None, None])
        self.register_buffer("scale", torch.tensor([0.458, 0.448, 0.450])[:, None, None])
        self.stages, self.heads = nn.ModuleList(), nn.ParameterList()
        inputs = number = 0
        for level, (pool, convolutions) in enumerate(layers):
            stage = nn.Sequential() if pool is None else nn.Sequential(nn.MaxPool2d(*pool))
            for outputs, kernel, stride, padding in convolutions:
                convolution = nn.Conv2d(inputs or 3, outputs, kernel, stride, padding)
                name = f"{trunk}/Conv_{number}"
                convolution.weight.data = arrays[f"{name}/kernel"].permute(3, 2, 0, 1).contiguous()  # from (H, W, in, out)
                convolution.bias.data = arrays[f"{name}/bias"]  # type: ignore[union-attr]
                stage.extend([convolution, nn.ReLU()])
                inputs, number = outputs, number + 1
            self.stages.append(stage)
            self.heads.append(nn.Parameter(arrays[f"NetLinLayer_{level}/Conv_0/kernel"].reshape(-1, 1, 1)))
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the distance of each pair.

        Args:
            x, y: (B, 3, H, W) around [0, 1].

        Returns:
            (B,).
        """
        features = (torch.cat([x, y]) * 2 - 1 - self.shift) / self.scale
        total = x.new_zeros(len(x))
        for stage, head in zip(self.stages, self.heads, strict=True):
            features = stage(features)
            a, b = _directions(features).chunk(2)
            total = total + ((a - b).square() * head).sum(1).mean((1, 2))
        return total


def _directions(features: Tensor) -> Tensor:
    """Unit vectors over channels; a zero vector stays zero, with a finite gradient."""
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / (length + 1e-10)


@cache
def _network(net: Literal["alex", "vgg"], weights: str | None, device: torch.device) -> LPIPS:
    with torch.device("cpu"):  # whatever the default device is: what is kept here serves every later call
        return LPIPS(net, weights).to(device)


def lpips(x: Tensor, y: Tensor, net: Literal["alex", "vgg"] = "alex", weights: str | os.PathLike[str] | None = None) -> Tensor:
    """Compute LPIPS, 0 for equal images.

    Grey is repeated to three channels. Images under 64 pixels are enlarged by the smallest whole factor that brings them there (bilinear):
    28 x 28 becomes 84 x 84.

    Args:
        x, y: float (B, 1 or 3, H, W) in [0, 1], of one shape.
        net: "alex" or "vgg".
        weights: the file, or a folder that holds it; None finds it.

    Returns:
        (B,), differentiable.

    Raises:
        TypeError, ValueError: naming the argument.
        FileNotFoundError: with the command that installs them, where there are no weights.

    Example:
        >>> from semdiff.data import sample_images
        >>> from semdiff.metrics import lpips
        >>> lpips(sample_images()[:1], sample_images()[:1])
        tensor([0.])
    """
    if net not in NETS:
        raise ValueError(f"net: expected {' or '.join(NETS)}, got {net!r}")
    check_pair(x, y)
    x, y = in_colour(x, "x"), in_colour(y, "y")
    network = _network(net, None if weights is None else os.fspath(weights), x.device)
    factor = -(-SMALLEST // min(x.shape[2:]))

    def distance(a: Tensor, b: Tensor) -> Tensor:
        a, b = a.float(), b.float()
        if factor > 1:
            a, b = (F.interpolate(i, scale_factor=factor, mode="bilinear", align_corners=False) for i in (a, b))
        return network(a, b)  # type: ignore[no-any-return]

    return by_parts(distance, x, y, VALUES_AT_ONCE // factor**2)


SHIFTS = (
    (0, 0),
    (1, 2),
    (2, 3),
    (3, 1),
)  # pixels down, right: every remainder by 4, AlexNet's stride


def lpips_shifted(x: Tensor, y: Tensor, net: Literal["alex", "vgg"] = "alex", weights: str | os.PathLike[str] | None = None) -> Tensor:
    """Average LPIPS over four shifts of both images by the same 0 to 3 pixels, edges repeated.

    A network that is trained on LPIPS can learn errors that fall between the places where AlexNet looks, which are every fourth pixel. A
    shift moves the errors onto such places.

    Args:
        x, y, net, weights: as of `lpips`.

    Returns:
        (B,), differentiable.

    Raises:
        TypeError, ValueError, FileNotFoundError: as `lpips`.

    Example:
        >>> import torch
        >>> from semdiff.metrics import lpips_shifted
        >>> lpips_shifted(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
        tensor([0.])
    """
    check_pair(x, y)

    def moved(images: Tensor, down: int, right: int) -> Tensor:
        most = max(max(shift) for shift in SHIFTS)
        return F.pad(images, (right, most - right, down, most - down), mode="replicate")

    return torch.stack([lpips(moved(x, *shift), moved(y, *shift), net, weights) for shift in SHIFTS]).mean(0)

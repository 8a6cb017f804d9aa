# SPDX-License-Identifier: Apache-2.0
"""Compare images with their originals, one number an image: PSNR, SSIM (Wang et al., IEEE TIP 2004), MS-SSIM (Wang et al., Asilomar 2003).

x and y: (B, C, H, W) in [0, 1]. Results: (B,), differentiable.
"""

from __future__ import annotations

from torch import Tensor

from semdiff.metrics.check import by_parts, check_pair, need

WINDOW = 11  # pixels; Gaussian of standard deviation 1.5
SCALES = 5  # each half the size of the one before


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Compute the peak signal-to-noise ratio -10 log10(mean (x - y)^2) in dB. It is infinite for equal images.

    Args:
        x, y: float (B, C, H, W) in [0, 1], of one shape.

    Returns:
        (B,), differentiable.

    Raises:
        TypeError, ValueError: naming the argument.

    Example:
        >>> import torch
        >>> from semdiff.metrics import psnr
        >>> psnr(torch.zeros(1, 1, 8, 8), torch.full((1, 1, 8, 8), 0.1))
        tensor([20.])
    """
    check_pair(x, y)
    return by_parts(lambda a, b: -10 * (a - b).square().flatten(1).mean(1).log10(), x, y)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Compute the structural similarity, at most 1 (Wang et al., IEEE TIP 2004; by torchmetrics).

    The window is Gaussian, K = (.01, .03), the mean is over channels and pixels, and borders are mirrored.

    Args:
        x, y: float (B, C, H, W) in [0, 1], of one shape, at least 11 x 11 pixels, the window's size.

    Returns:
        (B,), differentiable.

    Raises:
        TypeError, ValueError: naming the argument.

    Example:
        >>> from semdiff.data import sample_images
        >>> from semdiff.metrics import ssim
        >>> ssim(sample_images(), sample_images()).mean()
        tensor(1.)
    """
    check_pair(x, y, WINDOW, " (the window of SSIM)")
    function = need("torchmetrics.functional.image").structural_similarity_index_measure
    return by_parts(lambda a, b: function(a, b, data_range=1.0, reduction="none").reshape(-1), x, y)


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """Compute SSIM over five scales with the authors' weights, at most 1; negative contrast terms count as 0 (by torchmetrics).

    Args:
        x, y: float (B, C, H, W) in [0, 1], of one shape, at least 176 x 176 pixels: the coarsest scale then has room for one window.

    Returns:
        (B,), differentiable.

    Raises:
        TypeError, ValueError: naming the argument.

    Example:
        >>> from semdiff.data import sample_photos
        >>> from semdiff.metrics import ms_ssim
        >>> ms_ssim(sample_photos(), sample_photos()).mean().round(decimals=3)
        tensor(1.)
    """
    check_pair(x, y, WINDOW * 2 ** (SCALES - 1), f" for {SCALES} scales of MS-SSIM")
    function = need("torchmetrics.functional.image").multiscale_structural_similarity_index_measure
    return by_parts(lambda a, b: function(a, b, data_range=1.0, reduction="none").reshape(-1), x, y)

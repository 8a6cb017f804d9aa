# SPDX-License-Identifier: Apache-2.0
"""Fidelity to the original, one number an image: PSNR, SSIM (Wang et al., IEEE TIP 2004), MS-SSIM (Wang et al., Asilomar 2003).

x and y: (B, C, H, W) in [0, 1]. Results: (B,), differentiable.
"""

from __future__ import annotations

from torch import Tensor

from semdiff.metrics.check import by_parts, check_pair, need

WINDOW = 11  # pixels; Gaussian of standard deviation 1.5
SCALES = 5  # each half the size of the one before


def psnr(x: Tensor, y: Tensor) -> Tensor:
    """Peak signal-to-noise ratio -10 log10(mean (x - y)^2), in dB. Infinite for equal images."""
    check_pair(x, y)
    return by_parts(lambda a, b: -10 * (a - b).square().flatten(1).mean(1).log10(), x, y)


def ssim(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity, at most 1: Gaussian window, K = (.01, .03), mean over channels and pixels, borders mirrored (torchmetrics).

    ValueError for images smaller than the window, 11 x 11.
    """
    check_pair(x, y, WINDOW, " (the window of SSIM)")
    function = need("torchmetrics.functional.image").structural_similarity_index_measure
    return by_parts(lambda a, b: function(a, b, data_range=1.0, reduction="none").reshape(-1), x, y)


def ms_ssim(x: Tensor, y: Tensor) -> Tensor:
    """SSIM over five scales with the authors' weights, at most 1; negative contrast terms count as 0 (torchmetrics).

    ValueError for images under 176 x 176, whose coarsest scale has no room for one window.
    """
    check_pair(x, y, WINDOW * 2 ** (SCALES - 1), f" for {SCALES} scales of MS-SSIM")
    function = need("torchmetrics.functional.image").multiscale_structural_similarity_index_measure
    return by_parts(lambda a, b: function(a, b, data_range=1.0, reduction="none").reshape(-1), x, y)

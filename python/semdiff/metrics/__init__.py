# SPDX-License-Identifier: Apache-2.0
"""Measure images that came through a link: fidelity, perceptual distance, realism of a set, and meaning. Images: (B, C, H, W) in [0, 1].

psnr, ssim, ms_ssim, lpips, lpips_shifted and accuracy give one number an image; fid, kid, kid_patches and frechet_classifier one `Score`
for two sets. They compute in float32 or wider, whatever the images' dtype and any autocast around them. All but PSNR need the extra
semdiff-torch[eval]; LPIPS, FID and KID also pretrained networks, which `semdiff.metrics.weights` finds.
"""

from semdiff.metrics.classifier import accuracy
from semdiff.metrics.distribution import Score
from semdiff.metrics.full_reference import ms_ssim, psnr, ssim
from semdiff.metrics.lpips_distance import LPIPS, lpips, lpips_shifted
from semdiff.metrics.registry import METRICS, Metric, measure
from semdiff.metrics.set_distances import fid, frechet_classifier, kid, kid_patches

__all__ = [
    "LPIPS",
    "METRICS",
    "Metric",
    "Score",
    "accuracy",
    "fid",
    "frechet_classifier",
    "kid",
    "kid_patches",
    "lpips",
    "lpips_shifted",
    "measure",
    "ms_ssim",
    "psnr",
    "ssim",
]

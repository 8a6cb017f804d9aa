# SPDX-License-Identifier: Apache-2.0
"""Equalisers: x = gain * s + noise out of y = h s + n, and the variance of that noise.

Each is conj(h) y times a real weight, with P = |h|^2 and N0 = E|n|^2 for symbols of unit power:

    zf, mmse_unbiased   1 / P          gain 1             noise variance N0 / P
    mmse                1 / (P + N0)   gain P / (P + N0)  noise variance P N0 / (P + N0)^2
    matched             1              gain P             noise variance P N0

(Proakis and Salehi, "Digital Communications", 5th ed., 2008; unbiased MMSE: Cioffi, Dudevoir, Eyuboglu, Forney, 1995.) All give the same
SNR, P / N0, in a symbol: they differ in scale, and so in their error before a gain is undone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from semdiff._ops import ops
from semdiff._util.arguments import to_tensor
from semdiff.phy.channel import Equalized, Received, check_received
from semdiff.phy.matrix_equalizer import EqualizerMethod as EqualizerMethod
from semdiff.phy.matrix_equalizer import check_method, equalize_matrix


def equalize(received: Received, method: EqualizerMethod = "zf") -> Equalized:
    """Undo a channel's gain, for symbols of unit power, in one pass, and say what noise is left.

    Args:
        received: What a channel returned. With received.h of one dimension more than received.y (several receive antennas) the streams are
            separated: semdiff.phy.matrix_equalizer has the formulas.
        method: "zf", zero forcing: y / h. "mmse": conj(h) y / (|h|^2 + N0), of least squared error, biased by its gain
            |h|^2 / (|h|^2 + N0). "mmse_unbiased": that, divided by its gain; for one antenna it is zf. "matched": conj(h) y. "mrc":
            maximum-ratio combining of several receive antennas; for one there is nothing to combine, and it is zf. (Proakis and Salehi,
            "Digital Communications", 5th ed., 2008; the table at the top of semdiff.phy.equalizer.)

    Returns:
        `Equalized` (x, noise_var, gain). A symbol whose h is zero says nothing: zf, mrc and mmse_unbiased give x = 0 with an infinite noise
        variance, mmse x = 0 with gain 0. Differentiable in y, h and noise_var; for matrices in y.

    Raises:
        TypeError: y or h is not complex.
        ValueError: An unknown method, a shape of h or noise_var that does not broadcast to y's, or (zf, mrc) a sample whose every h is
            zero.

    Example:
        >>> import torch, semdiff
        >>> s = semdiff.pack(semdiff.normal((2, 8), semdiff.Key(0)))
        >>> received = semdiff.FixedChannel(2j)(s, 200.0, semdiff.Key(1))
        >>> torch.allclose(semdiff.equalize(received).x, s)
        True
        >>> semdiff.equalize(semdiff.AWGN()(s, 0.0, semdiff.Key(1)), "mmse").gain.flatten()
        tensor([0.5000, 0.5000], dtype=torch.float64)
    """
    kernel = kernel_name(method)
    y, h, noise_var = check_received(received)
    if h.dim() == y.dim() + 1:
        return equalize_matrix(received, method)
    if not y.is_complex():
        raise TypeError(f"received.y: expected complex symbols, got {y.dtype}")
    if not h.is_complex():
        raise TypeError(f"received.h: expected complex gains, got {h.dtype}")
    return Equalized(*ops.equalize.default(y, h.to(y.dtype), noise_var, kernel))


def kernel_name(method: str) -> str:
    """Return the operators' name of a method."""
    check_method(method)
    return "zf" if method == "mrc" else method


def rayleigh_mmse_gain(snr_db: float | Tensor) -> Tensor:
    """Return E[gain] of the mmse equaliser over a gain h ~ CN(0, 1) for each symbol: 1 - m, m = c e^c E1(c), c = N0. Float64.

    m is also the mean squared error, and what is left beside E[gain] s has variance m (1 - m): an SNR of (1 - m) / m after undoing the
    gain, which is what a single noise variance for all symbols can say (the integral of c / (p + c) e^-p over p = |h|^2).
    """
    given = to_tensor(snr_db, "snr_db").double()
    if not bool((given.abs() <= 300).all()):
        raise ValueError(f"snr_db: expected finite numbers, within +-300, got {given.tolist()}")
    c = 10.0 ** (given * -0.1)
    return 1 - c * _scaled_exponential_integral(c)


def _scaled_exponential_integral(x: Tensor) -> Tensor:
    """Return e^x E1(x) for x > 0: the power series up to 1, the continued fraction above (Abramowitz and Stegun, 5.1.11 and 5.1.22)."""
    small, large = x.clamp_max(1), x.clamp_min(1)
    series, term = -small.log() - 0.57721566490153286061, torch.ones_like(x)
    for k in range(1, 20):
        term = term * -small / k
        series = series - term / k
    fraction = torch.zeros_like(x)
    for k in range(100, 0, -1):
        fraction = k * k / (large + 2 * k + 1 - fraction)
    return torch.where(x <= 1, small.exp() * series, 1 / (large + 1 - fraction))

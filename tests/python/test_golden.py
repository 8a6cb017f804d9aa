# SPDX-License-Identifier: Apache-2.0
"""Golden numbers: a small fixed evaluation, so that a change of torch, diffusers or Pillow that changes results is noticed.

Ten images of the package, one key. Made with torch 2.13.0, diffusers 0.42.1, Pillow 13.0.0. With SSE 4.1 instead of AVX2 in oneDNN, ATen
and the kernels, and with two threads, no number moved by more than its last digit; the tolerances leave room for other CPUs and for no
change of method: 0.02 dB, 0.002 of SSIM, 0.1 of a timestep. Where a change is meant, `python -m tests.python.test_golden` prints the new
numbers.
"""

from __future__ import annotations

from itertools import product

import pytest
from torch import Tensor

from semdiff import AWGN, Channel, Key, Rayleigh
from semdiff.baselines import Capacity, Digital
from semdiff.data import sample_images
from semdiff.link import SemanticLink
from semdiff.link.transmission import Transmission
from semdiff.metrics import psnr, ssim

CHANNELS: dict[str, Channel] = {"awgn": AWGN(), "rayleigh": Rayleigh()}
SETTINGS = list(product((12, 24), (0.0, 10.0), CHANNELS, (0.0, 1.0)))  # 1 / CBR, SNR in dB, channel, realism
# PSNR in dB, SSIM, mean t
LINK = {
    (12, 0.0, "awgn", 0.0): (20.0297, 0.7816, 194.8582),
    (12, 0.0, "awgn", 1.0): (18.9333, 0.7254, 283.2533),
    (12, 0.0, "rayleigh", 0.0): (18.8956, 0.7121, 220.8602),
    (12, 0.0, "rayleigh", 1.0): (17.4858, 0.6562, 303.9528),
    (12, 10.0, "awgn", 0.0): (23.7658, 0.8767, 127.5609),
    (12, 10.0, "awgn", 1.0): (22.2919, 0.8181, 197.1067),
    (12, 10.0, "rayleigh", 0.0): (22.9185, 0.8444, 146.4876),
    (12, 10.0, "rayleigh", 1.0): (21.3729, 0.7770, 218.4831),
    (24, 0.0, "awgn", 0.0): (18.5688, 0.7332, 218.8350),
    (24, 0.0, "awgn", 1.0): (17.4840, 0.6867, 311.1712),
    (24, 0.0, "rayleigh", 0.0): (17.7044, 0.6675, 210.9630),
    (24, 0.0, "rayleigh", 1.0): (17.0568, 0.6319, 293.6669),
    (24, 10.0, "awgn", 0.0): (22.5843, 0.8519, 148.3395),
    (24, 10.0, "awgn", 1.0): (21.3020, 0.8017, 225.6106),
    (24, 10.0, "rayleigh", 0.0): (22.0427, 0.8219, 179.6724),
    (24, 10.0, "rayleigh", 1.0): (20.8982, 0.7712, 258.9794),
}
# JPEG at CBR 1/2: PSNR in dB
CODECS = {
    ("digital", 0.0): 16.0283,
    ("digital", 10.0): 26.1709,
    ("capacity", 0.0): 19.6785,
    ("capacity", 10.0): 28.7529,
}


def measured(sent: Transmission, images: Tensor) -> tuple[float, float, float]:
    return float(psnr(sent.images, images).mean()), float(ssim(sent.images, images).mean()), float(sent.t.mean())


def over_link(setting: tuple[int, float, str, float]) -> tuple[float, float, float]:
    inverse_cbr, snr_db, channel, realism = setting
    images, link = sample_images(), SemanticLink.default()
    sent = link.transmit(images, snr_db, 1 / inverse_cbr, CHANNELS[channel], steps=8, realism=realism, key=Key(7))
    return measured(sent, images)


def over_codec(name: str, snr_db: float) -> float:
    system = {"digital": Digital, "capacity": Capacity}[name]("jpeg")
    images = sample_images()
    return measured(system.transmit(images, snr_db, 1 / 2, key=Key(7)), images)[0]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_link(setting: tuple[int, float, str, float]) -> None:
    decibels, similarity, t = over_link(setting)
    assert decibels == pytest.approx(LINK[setting][0], abs=0.02)
    assert similarity == pytest.approx(LINK[setting][1], abs=0.002)
    assert t == pytest.approx(LINK[setting][2], abs=0.1)


@pytest.mark.parametrize(("name", "snr_db"), CODECS)
def test_codecs(name: str, snr_db: float) -> None:
    if name == "digital":
        pytest.importorskip("sionna")
    assert over_codec(name, snr_db) == pytest.approx(CODECS[name, snr_db], abs=0.02)


if __name__ == "__main__":
    for key in SETTINGS:
        print(f"    {key!r}: ({', '.join(f'{value:.4f}' for value in over_link(key))}),".replace("'", '"'))
    for key in CODECS:
        print(f"    {key!r}: {over_codec(*key):.4f},".replace("'", '"'))

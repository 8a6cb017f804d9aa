# SPDX-License-Identifier: Apache-2.0
"""Golden numbers: a small fixed evaluation, so that a change of torch, diffusers or Pillow that changes results is noticed.

Ten images of the package, one key. Made with torch 2.13.0, diffusers 0.42.1, Pillow 13.0.0. With SSE 4.1 instead of AVX2 in oneDNN, ATen
and the kernels, and with two threads, no number moved by more than its last digit; the tolerances leave room for other CPUs and for no
change of method: 0.02 dB, 0.002 of SSIM, 0.1 of a timestep. Where a change is meant, `python -m tests.python.evaluation.test_golden`
prints the new numbers.
"""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import pytest
from torch import Tensor

from semdiff import AWGN, Channel, Key, Rayleigh
from semdiff.baselines import Capacity, Digital
from semdiff.data import sample_images
from semdiff.link import SemanticLink
from semdiff.metrics import psnr, ssim
from semdiff.transmission.ledger import Transmission
from tests.python.small_links import LATENT_LINK

CHANNELS: dict[str, Channel] = {"awgn": AWGN(), "rayleigh": Rayleigh()}
SETTINGS = list(product((12, 24), (0.0, 10.0), CHANNELS, (0.0, 1.0)))  # 1 / CBR, SNR in dB, channel, realism
# PSNR in dB, SSIM, mean t, of links on latents and on pixels
LATENTS = {
    (12, 0.0, "awgn", 0.0): (20.3801, 0.7918, 181.9191),
    (12, 0.0, "awgn", 1.0): (19.6876, 0.7921, 262.7453),
    (12, 0.0, "rayleigh", 0.0): (18.7531, 0.6909, 221.9611),
    (12, 0.0, "rayleigh", 1.0): (18.1604, 0.6993, 311.8587),
    (12, 10.0, "awgn", 0.0): (23.4852, 0.8623, 172.1751),
    (12, 10.0, "awgn", 1.0): (21.6615, 0.8427, 255.8792),
    (12, 10.0, "rayleigh", 0.0): (22.5614, 0.8226, 221.6199),
    (12, 10.0, "rayleigh", 1.0): (21.0915, 0.8174, 302.7987),
    (24, 0.0, "awgn", 0.0): (18.4046, 0.6948, 223.6147),
    (24, 0.0, "awgn", 1.0): (17.8755, 0.7139, 314.7212),
    (24, 0.0, "rayleigh", 0.0): (17.7802, 0.6458, 202.9151),
    (24, 0.0, "rayleigh", 1.0): (16.7701, 0.6465, 281.2182),
    (24, 10.0, "awgn", 0.0): (22.4301, 0.8407, 182.7292),
    (24, 10.0, "awgn", 1.0): (20.9238, 0.8193, 268.4066),
    (24, 10.0, "rayleigh", 0.0): (21.7491, 0.8010, 233.7959),
    (24, 10.0, "rayleigh", 1.0): (20.3201, 0.7945, 315.8269),
}
PIXELS = {
    (12, 0.0, "awgn", 0.0): (20.5702, 0.8164, math.nan),
    (12, 0.0, "awgn", 1.0): (18.6233, 0.7839, 119.5297),
    (12, 0.0, "rayleigh", 0.0): (18.7664, 0.7289, math.nan),
    (12, 0.0, "rayleigh", 1.0): (17.3272, 0.7138, 132.8977),
    (12, 10.0, "awgn", 0.0): (24.4379, 0.9039, math.nan),
    (12, 10.0, "awgn", 1.0): (23.1292, 0.8884, 61.1369),
    (12, 10.0, "rayleigh", 0.0): (22.9568, 0.8570, math.nan),
    (12, 10.0, "rayleigh", 1.0): (21.9765, 0.8413, 75.6945),
    (24, 0.0, "awgn", 0.0): (18.0732, 0.6885, math.nan),
    (24, 0.0, "awgn", 1.0): (16.8020, 0.7013, 144.8556),
    (24, 0.0, "rayleigh", 0.0): (17.1113, 0.6642, math.nan),
    (24, 0.0, "rayleigh", 1.0): (16.1711, 0.6607, 158.9051),
    (24, 10.0, "awgn", 0.0): (22.5979, 0.8656, math.nan),
    (24, 10.0, "awgn", 1.0): (21.3989, 0.8433, 71.4655),
    (24, 10.0, "rayleigh", 0.0): (22.1363, 0.8405, math.nan),
    (24, 10.0, "rayleigh", 1.0): (20.7987, 0.8185, 90.6245),
}
GOLDEN: dict[str | Path, dict[tuple[int, float, str, float], tuple[float, float, float]]] = {"fashion-mnist": PIXELS, LATENT_LINK: LATENTS}
# JPEG at CBR 1/2: PSNR in dB
CODECS = {
    ("digital", 0.0): 16.0283,
    ("digital", 10.0): 26.1709,
    ("capacity", 0.0): 19.6785,
    ("capacity", 10.0): 28.7529,
}


def measured(sent: Transmission, images: Tensor) -> tuple[float, float, float]:
    return float(psnr(sent.images, images).mean()), float(ssim(sent.images, images).mean()), float(sent.t.mean())


def over_link(model: str | Path, setting: tuple[int, float, str, float]) -> tuple[float, float, float]:
    inverse_cbr, snr_db, channel, realism = setting
    images, link = sample_images(), SemanticLink.from_pretrained(model)
    sent = link.transmit(images, snr_db, cbr=1 / inverse_cbr, channel=CHANNELS[channel], steps=8, realism=realism, key=Key(7))
    return measured(sent, images)


def over_codec(name: str, snr_db: float) -> float:
    system = {"digital": Digital, "capacity": Capacity}[name]("jpeg")
    images = sample_images()
    return measured(system.transmit(images, snr_db, cbr=1 / 2, key=Key(7)), images)[0]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
@pytest.mark.parametrize("model", GOLDEN, ids=["pixels", "latents"])
def test_link(model: str | Path, setting: tuple[int, float, str, float]) -> None:
    decibels, similarity, t = over_link(model, setting)
    golden = GOLDEN[model][setting]
    assert decibels == pytest.approx(golden[0], abs=0.02)
    assert similarity == pytest.approx(golden[1], abs=0.002)
    assert t == pytest.approx(golden[2], abs=0.1, nan_ok=True)


@pytest.mark.parametrize(("name", "snr_db"), CODECS)
def test_codecs(name: str, snr_db: float) -> None:
    if name == "digital":
        pytest.importorskip("sionna")
    assert over_codec(name, snr_db) == pytest.approx(CODECS[name, snr_db], abs=0.02)


if __name__ == "__main__":
    for model in GOLDEN:
        print(model)
        for key in SETTINGS:
            print(f"    {key!r}: ({', '.join(f'{value:.4f}' for value in over_link(model, key))}),".replace("'", '"'))
    for key in CODECS:
        print(f"    {key!r}: {over_codec(*key):.4f},".replace("'", '"'))

# SPDX-License-Identifier: Apache-2.0
"""Every scheme that may be chosen fits the code at the lengths of photographs."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("diffusers")
pytest.importorskip("sionna", reason="needs sionna-no-rt: pip install 'semdiff-torch[eval]'")

import semdiff
from semdiff.baselines.modem import Modem, Scheme
from semdiff.baselines.schemes import choose_scheme, load_thresholds


@pytest.mark.parametrize("scheme", [s for s in load_thresholds() if s.efficiency < 1], ids=lambda s: f"{s.bits_per_symbol} {s.rate}")
def test_long_transports_arrive(scheme: Scheme) -> None:
    """Of base graph 2, which rates up to 1/4 take, a block holds 3,840 bits; of base graph 1 it holds 8,448 (TS 38.212, 5.2.2)."""
    uses = 24_000
    coder = Modem(uses, scheme)
    assert coder.k <= (3840 if scheme.rate <= 0.25 else 8448)
    assert coder.blocks * coder.block_uses <= uses < coder.blocks * (coder.block_uses + 1)
    bits = (semdiff.normal((1, coder.info_bits), semdiff.Key(3)) > 0).float()
    y, _, noise_var = semdiff.AWGN()(coder.send(bits), 4.0, semdiff.Key(4))
    decoded, arrived = coder.receive(y, noise_var)
    assert bool(arrived.all())
    assert torch.equal(decoded, bits)


def test_longer_transports_are_never_slower() -> None:
    """Of the same SNR a longer transport carries at least as many bits a use."""
    for snr_db in (0.0, 5.0, 10.0, 15.0):
        found = [choose_scheme(uses, snr_db, 0.01).efficiency for uses in (256, 1024, 2000)]
        assert found == sorted(found), snr_db

# SPDX-License-Identifier: Apache-2.0
"""Sionna's channels behind semdiff's interface: the noise variance that they state is the error that they make."""

import pytest
import torch

import semdiff
from semdiff.data import sample_images

pytest.importorskip("sionna")

from semdiff.interop.phy import keyed, sionna_phy
from semdiff.interop.sionna import SionnaOFDM

KEY = semdiff.Key(4)


def symbols(batch, n):
    return semdiff.normalize_power(semdiff.pack(semdiff.rng.normal((batch, 2 * n), semdiff.Key(3))))[0]


@pytest.mark.parametrize(("csi", "speed", "within"), [("perfect", 10.0, 0.03), ("ls", 0.0, 0.06)])
def test_the_effective_noise_variance_is_the_measured_error(csi, speed, within):
    s = symbols(24, 384)
    y, h, noise_var = SionnaOFDM("D", csi=csi, speed=speed)(s, 15.0, KEY)
    assert (y.shape, h.shape, noise_var.shape, noise_var.dtype) == ((24, 384), (24, 1), (24, 384), torch.float64)
    assert bool((h == 1).all())
    # perfect: 9216 ratios of mean 1 and variance 1, three standard deviations are 0.031
    assert ((y - s).abs().square().double() / noise_var).mean().item() == pytest.approx(1, abs=within)


def test_the_gain_is_one_on_average():
    # With perfect knowledge |h|^2 = N0 / noise_var. TDL-D is nearly constant (Rice); 64 samples leave a few percent.
    _, _, noise_var = SionnaOFDM("D")(symbols(64, 64), 10.0, KEY)
    assert (0.1 / noise_var).mean().item() == pytest.approx(1, abs=0.1)


def test_keys_decide_and_batch_mates_do_not():
    channel, s = SionnaOFDM("A"), symbols(3, 70)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first = channel(s, torch.tensor([0.0, 10.0, 20.0]), KEY)
    assert torch.equal(torch.get_rng_state(), before)
    torch.testing.assert_close(channel(s[:2], torch.tensor([0.0, 10.0]), KEY).y, first.y[:2], rtol=1e-5, atol=1e-6)
    assert not torch.equal(channel(s, 10.0, KEY.fold_in(1)).y[1], first.y[1])
    state = sionna_phy().config.torch_rng("cpu").get_state()
    with keyed(KEY):
        torch.rand(3, generator=sionna_phy().config.torch_rng("cpu"))
    assert torch.equal(sionna_phy().config.torch_rng("cpu").get_state(), state)


def test_uses_count_the_whole_grid():
    # 70 symbols: two OFDM symbols of 64 with data, one with pilots, each with a prefix of 5
    assert SionnaOFDM("A").uses(70) == semdiff.channel.Uses(payload=70, pilots=64 + 58, cyclic_prefix=15)
    assert SionnaOFDM("A").uses(7 * 64).total == 9 * 69


def test_a_cdl_model_of_ones_own():
    phy = sionna_phy()
    antenna = {"num_rows_per_panel": 1, "num_cols_per_panel": 1, "polarization": "single", "polarization_type": "V"}
    array = phy.channel.tr38901.PanelArray(**antenna, antenna_pattern="omni", carrier_frequency=3.5e9)
    channel = SionnaOFDM(phy.channel.tr38901.CDL("B", 100e-9, 3.5e9, array, array, "uplink"))
    s = symbols(8, 320)
    y, _, noise_var = channel(s, 15.0, KEY)
    assert ((y - s).abs().square().double() / noise_var).mean().item() == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"model": "Z"}, ValueError, "model"),
        ({"model": 3}, TypeError, "model"),
        ({"csi": "genie"}, ValueError, "csi"),
        ({"delay_spread": -1.0}, ValueError, "delay_spread"),
        ({"subcarriers": 0}, ValueError, "subcarriers"),
    ],
)
def test_bad_settings_are_named(arguments, error, name):
    with pytest.raises(error, match=name):
        SionnaOFDM(**arguments)


def test_a_prefix_shorter_than_the_echoes_is_refused():
    with pytest.raises(ValueError, match="cyclic_prefix"):
        SionnaOFDM("A", delay_spread=1e-6)(symbols(1, 8), 10.0, KEY)


def test_the_digital_baseline_over_it():
    pytest.importorskip("diffusers")
    from semdiff.baselines import Capacity, Digital

    images, channel = sample_images()[:2], SionnaOFDM("D", csi="ls")
    out = Digital("jpeg", design_snr_db=10.0).transmit(images, 22.0, cbr=1 / 6, channel=channel, key=KEY)
    bound = Capacity("jpeg").transmit(images, 22.0, cbr=1 / 6, channel=channel, key=KEY)
    assert out.ledger == bound.ledger
    assert out.ledger.total == sum(channel.uses(131))
    assert (bound.images - images).square().mean() < (out.images - images).square().mean() < 0.05


def test_the_semantic_link_over_it():
    pytest.importorskip("diffusers")
    from semdiff.link import SemanticLink

    link, images = SemanticLink.default(), sample_images()
    channel = SionnaOFDM("D")
    errors = []
    for snr_db in (0.0, 10.0, 20.0):
        out = link.transmit(images, snr_db, channel=channel, steps=2, key=KEY)
        errors.append((out.images - images).square().mean().item())
    assert errors[0] > errors[1] > errors[2] > 0
    assert out.ledger.total == 64 + 64 + 10

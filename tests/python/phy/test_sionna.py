# SPDX-License-Identifier: Apache-2.0
"""Sionna's channels behind semdiff's interface: the noise variance that they state is the error that they make."""

import pytest
import torch

import semdiff
from semdiff.data import sample_images
from semdiff.phy.sionna import SionnaOFDM
from semdiff.phy.sionna_phy import keyed, sionna_phy

try:
    sionna_phy()
except ImportError as error:
    pytest.skip(str(error), allow_module_level=True)

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


def test_an_estimate_from_pilots_is_too_sure_of_a_channel_that_moves():
    # At 30 m/s and 3.5 GHz the Doppler spread is 350 Hz, and the farthest data are three OFDM symbols, 0.1 ms, from a pilot.
    s = symbols(24, 384)
    y, _, noise_var = SionnaOFDM("D", csi="ls", speed=30.0)(s, 15.0, KEY)
    assert ((y - s).abs().square().double() / noise_var).mean().item() > 1.3


@pytest.mark.parametrize("model", ["A", "D"])
@pytest.mark.parametrize("snr_db", [-20.0, 30.0, 100.0])
def test_with_perfect_knowledge_the_noise_is_n0_over_the_gain(model, snr_db):
    # One key is one channel and one noise, whatever the SNR: noise_var = N0 / |h|^2 and y - s = sqrt(N0) w / h.
    s = symbols(4, 150).to(torch.complex128)
    n0 = 10 ** (-snr_db / 10)
    at_zero, here = (SionnaOFDM(model)(s, db, KEY) for db in (0.0, snr_db))
    torch.testing.assert_close(here.noise_var / n0, at_zero.noise_var, rtol=1e-4, atol=0)
    torch.testing.assert_close((here.y - s) / n0**0.5, at_zero.y - s, rtol=1e-6, atol=1e-8)


def test_symbols_fill_the_subcarriers_first():
    # A channel that does not move has one gain for each subcarrier. Pilots come first, then six OFDM symbols of data, pilots, two of data.
    noise_var = SionnaOFDM("A")(symbols(2, 64 * 8), 10.0, KEY).noise_var.view(2, 8, 64)
    torch.testing.assert_close(noise_var, noise_var[:, :1].expand(-1, 8, -1), rtol=1e-5, atol=0)
    assert bool((noise_var.std(2) / noise_var.mean(2) > 0.01).all())


@pytest.mark.parametrize("csi", ["perfect", "ls"])
def test_gradients_flow_through_it(csi):
    s, direction = symbols(2, 70).requires_grad_(), symbols(2, 70)
    channel = SionnaOFDM("D", csi=csi)
    y, _, noise_var = channel(s, 10.0, KEY)
    slope = torch.autograd.grad(y.real.sum(), s)[0]
    assert not noise_var.requires_grad
    # y is linear in s for one key, so a finite difference is exact. With perfect knowledge it is s + e.
    step = (channel(s.detach() + direction, 10.0, KEY).y - y.detach()).real.sum()
    torch.testing.assert_close((slope.conj() * direction).real.sum(), step, rtol=1e-4, atol=1e-4)
    if csi == "perfect":
        torch.testing.assert_close(slope, torch.ones_like(slope))


def test_the_gain_is_one_on_average():
    # With perfect knowledge |h|^2 = N0 / noise_var. In TDL-D (Rice) its deviation is 0.4: three standard errors of 600 samples are 0.05.
    _, _, noise_var = SionnaOFDM("D")(symbols(600, 64), 10.0, KEY)
    assert (0.1 / noise_var).mean().item() == pytest.approx(1, abs=0.05)


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
    assert SionnaOFDM("A").uses(70) == semdiff.phy.channel.Uses(payload=70, pilots=64 + 58, cyclic_prefix=15)
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
        ({"delay_spread": float("inf")}, ValueError, "delay_spread"),
        ({"subcarriers": 0}, ValueError, "subcarriers"),
        ({"subcarriers": 64.0}, TypeError, "subcarriers"),
        ({"cyclic_prefix": 65}, ValueError, "cyclic_prefix"),
        ({"subcarrier_spacing": float("nan")}, ValueError, "subcarrier_spacing"),
    ],
)
def test_bad_settings_are_named(arguments, error, name):
    with pytest.raises(error, match=name):
        SionnaOFDM(**arguments)


@pytest.mark.parametrize(
    ("shape", "snr_db", "name"), [((0, 64), 10.0, "s"), ((2, 0), 10.0, "s"), ((2, 8, 8), 10.0, "s"), ((2, 8), 101.0, "snr_db")]
)
def test_bad_input_is_named(shape, snr_db, name):
    with pytest.raises(ValueError, match=rf"^{name}: expected"):
        SionnaOFDM()(torch.ones(shape, dtype=torch.complex64), snr_db, KEY)


def test_a_model_of_several_antennas_is_refused():
    model = sionna_phy().channel.tr38901.TDL("A", 100e-9, 3.5e9, num_rx_ant=2, device="cpu")
    with pytest.raises(ValueError, match=r"model: .*got 1 of 1 and 1 of 2"):
        SionnaOFDM(model)(symbols(1, 8), 10.0, KEY)


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
    for snr_db in (0.0, 9.0, 18.0):
        out = link.transmit(images, snr_db, channel=channel, steps=2, key=KEY)
        errors.append((out.images - images).square().mean().item())
    assert errors[0] > errors[1] > errors[2] > 0
    assert out.ledger.total == 64 + 64 + 10

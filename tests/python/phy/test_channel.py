# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import inspect
import math

import pytest
import torch

import semdiff
from semdiff import AWGN, Key, equalize, measured_snr_db, normal, normalize_power, pack, unpack
from semdiff.phy.channel import noise_variance, without_noise

USES = 8192


def symbols(batch: int, uses: int = USES, seed: int = 1) -> torch.Tensor:
    return pack(normal((batch, 2 * uses), Key(seed)))


@pytest.mark.parametrize("snr_db", [-10.0, 0.0, 10.0, 30.0])
def test_measured_snr_is_the_one_asked_for(snr_db: float) -> None:
    s, _ = normalize_power(symbols(16))
    received = AWGN()(s, snr_db, Key(2))
    # Noise energy is a chi-squared sum of 2 * USES terms: 4.34 * sqrt(2 / (2 * USES)) dB a standard error; 4.5 of them for 16 samples.
    error = 4.5 * 10 / math.log(10) * math.sqrt(1 / USES)
    assert bool(((measured_snr_db(s, received.y) - snr_db).abs() < error).all())
    n = torch.view_as_real(received.y - s)
    assert n.var(dim=(0, 1)).tolist() == pytest.approx([10 ** (-snr_db / 10) / 2] * 2, rel=0.02)  # N0 / 2 in each real dimension
    assert float((n[..., 0] * n[..., 1]).mean()) == pytest.approx(0, abs=4 * 10 ** (-snr_db / 10) / 2 / math.sqrt(16 * USES))


def test_noise_variance_is_that_of_a_latents_element() -> None:
    z = normal((8, 4, 32, 32), Key(1))
    received = AWGN()(pack(z), 7.0, Key(2))
    after = unpack(received.y, z.shape)
    assert float((after - z).square().mean()) == pytest.approx(10**-0.7, rel=0.02)
    assert torch.allclose(received.noise_var, torch.full((8, 1), 10**-0.7, dtype=torch.float64))


def test_each_sample_has_its_own_snr() -> None:
    snr = torch.tensor([-5.0, 0.0, 5.0, 20.0])
    s, _ = normalize_power(symbols(4))
    received = AWGN()(s, snr, Key(3))
    assert torch.allclose(measured_snr_db(s, received.y).float(), snr, atol=0.2)
    assert received.noise_var.flatten().tolist() == pytest.approx([10 ** (-v / 10) for v in snr.tolist()], rel=1e-6)
    assert torch.equal(AWGN()(s, torch.full((4,), 5.0), Key(3)).y, AWGN()(s, 5.0, Key(3)).y)


def test_a_samples_power_does_not_depend_on_its_mates() -> None:
    """The official code scales by the power of the whole batch: latents of power 0.5 and 1.5 at "10 dB" get 7.0 and 11.7 dB."""
    z = symbols(2)
    uneven = torch.cat([z[:1] * 0.5**0.5, z[1:] * 1.5**0.5])
    s, scale = normalize_power(uneven)
    received = AWGN()(s, 10.0, Key(4))
    assert measured_snr_db(s, received.y).tolist() == pytest.approx([10, 10], abs=0.2)
    assert scale.square().tolist() == pytest.approx([0.5, 1.5], rel=0.05)
    for i in range(2):
        alone, alone_scale = normalize_power(uneven[i : i + 1])
        assert torch.equal(alone[0], s[i])
        assert torch.equal(alone_scale[0], scale[i])
    # The first sample's noise too: a draw's beginning is that of a shorter draw.
    assert torch.equal(AWGN()(s[:1], 10.0, Key(4)).y, received.y[:1])


def test_normalized_power_is_one() -> None:
    for s in (symbols(3) * 7, normal((3, 5, 5), Key(1)) * 1e-3, normal((3, 1001), Key(1), torch.float64) * 1e6):
        out, scale = normalize_power(s)
        power = out.abs().double().square().flatten(1).mean(1)
        assert power.tolist() == pytest.approx([1] * 3, rel=1e-6 if s.dtype != torch.float64 else 1e-13)
        assert torch.allclose(out * scale.reshape(-1, *([1] * (s.dim() - 1))), s)


def test_a_sample_of_zeros_stays_zero() -> None:
    s = torch.zeros(2, 4, dtype=torch.complex64)
    s[1] = 1
    out, scale = normalize_power(s)
    assert torch.equal(out, s)
    assert scale.tolist() == [0, 1]


def test_measured_snr_of_the_ends() -> None:
    s = symbols(1, 16)
    assert measured_snr_db(s, s).tolist() == [math.inf]
    assert measured_snr_db(s, 2 * s).tolist() == pytest.approx([0], abs=1e-6)
    assert measured_snr_db(s, s * 0.9).tolist() == pytest.approx([20], abs=1e-5)


@pytest.mark.parametrize("shape", [(2, 6), (2, 3, 3), (1, 1), (3, 4, 5, 5), (3, 5, 3, 7), (0, 5), (0, 4), (3, 0)], ids=str)
def test_pack_round_trips(shape: tuple[int, ...]) -> None:
    z = normal(shape, Key(1))
    s = pack(z)
    assert s.shape == (shape[0], (math.prod(shape[1:]) + 1) // 2)
    assert s.dtype == torch.complex64
    assert torch.allclose(unpack(s, shape), z, rtol=3e-7, atol=0)
    assert float(s.abs().square().sum()) == pytest.approx(float(z.square().sum()) / 2, rel=1e-5)


def test_pack_pairs_neighbours() -> None:
    assert torch.allclose(pack(torch.tensor([[1.0, 2.0, 3.0]])) * math.sqrt(2), torch.tensor([[1 + 2j, 3 + 0j]], dtype=torch.complex64))
    assert pack(torch.ones(1, 2, dtype=torch.float64)).dtype == torch.complex128
    assert pack(torch.ones(1, 2, dtype=torch.float16)).dtype == torch.complex64


def test_gradients_reach_the_transmitter() -> None:
    z = normal((2, 10), Key(1)).requires_grad_()
    s, _ = normalize_power(pack(z))
    received = AWGN()(s, 5.0, Key(2))
    unpack(equalize(received, "mmse").x, (2, 10)).square().sum().backward()
    assert z.grad is not None
    assert bool(z.grad.abs().sum() > 0)


def test_compiles_whole() -> None:
    def link(z: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        s, _ = normalize_power(pack(z))
        return unpack(equalize(AWGN()(s, 5.0, key)).x, (2, 10))

    z = normal((2, 10), Key(1))
    assert torch.equal(torch.compile(link, fullgraph=True, backend="aot_eager")(z, Key(2).tensor), link(z, Key(2).tensor))


def test_a_samples_noise_variance_is_the_numbers_whatever_its_place() -> None:
    snr_db = torch.linspace(-20, 40, 1001, dtype=torch.float64)
    s = torch.zeros(1001, 1, dtype=torch.complex64)
    whole = noise_variance(snr_db, s)
    assert whole.tolist() == [float(noise_variance(value, s[:1])) for value in snr_db.tolist()]
    for batch in (1, 3, 10):
        assert torch.equal(noise_variance(snr_db[:batch], s[:batch]), whole[:batch])


def test_the_signal_part_has_any_gains_shape() -> None:
    """Gains of no batch, of each sample and symbol, and matrices, which send from each antenna in turn."""
    s = pack(normal((2, 6), Key(1), torch.float64))
    for h in (torch.tensor(0.5j), torch.tensor([1, 2j, 0.5]), torch.tensor([[2.0], [1j]]), s):
        torch.testing.assert_close(without_noise(s, h.to(s)), h.to(s) * s)
    h = pack(normal((2, 24), Key(2), torch.float64)).reshape(2, 2, 3, 2)  # two uses, three receivers, two senders
    padded = torch.cat([s, torch.zeros(2, 1)], 1).reshape(2, 2, 2)
    torch.testing.assert_close(without_noise(s, h), torch.einsum("bkij,bkj->bki", h, padded))


@pytest.mark.parametrize("snr_db", [-150.0, 300.0])
@pytest.mark.parametrize("coherence", ["block", "fast"])
def test_the_ends_of_the_snr_are_right(snr_db: float, coherence: semdiff.phy.fading.Coherence) -> None:
    """From symbol to state in complex64 as in complex128, where nothing is near its range: no weight underflows, no power overflows."""
    s, schedule = semdiff.pack(semdiff.normal((2, 32), Key(1))), semdiff.NoiseSchedule.scaled_linear()
    states = []
    for symbols in (s, s.to(torch.complex128)):
        for method in ("zf", "mmse", "matched"):
            heard = semdiff.equalize(semdiff.Rayleigh(coherence)(symbols, snr_db, Key(2)), method)
            noise, gain = (semdiff.unpack_per_symbol(v.flatten(1), (2, 32)) for v in (heard.noise_var, heard.gain))
            states.append(semdiff.match(semdiff.unpack(heard.x, (2, 32)), noise, schedule, gain=gain, key=Key(3)))
    for narrow, wide in zip(states[:3], states[3:], strict=True):
        assert torch.allclose(narrow.x.double(), wide.x, rtol=1e-4, atol=1e-4)
        assert torch.allclose(narrow.t, wide.t, atol=1e-6)


@pytest.mark.parametrize("snr_db", [-150.001, -250.0, -3000.0, 3000.1, float("inf"), -float("inf")])
def test_an_snr_beyond_is_refused(snr_db: float) -> None:
    s = torch.ones(2, 4, dtype=torch.complex64)
    for channel in (AWGN(), semdiff.Rayleigh(), semdiff.MIMO(2, 2), semdiff.Multipath(subcarriers=16)):
        for given in (snr_db, torch.tensor([3.0, snr_db], dtype=torch.float64)):
            with pytest.raises(ValueError, match=r"snr_db: expected .*finite number.*, within \[-150, 3000\] dB, got"):
                channel(s, given, Key(1))


CHANNELS = [
    AWGN(), semdiff.Rayleigh("fast"), semdiff.Rician(3.0, 4), semdiff.FixedChannel(1 + 2j, 0.1), semdiff.MIMO(2, 2, "equal", 0.5),
    semdiff.Multipath(subcarriers=16), semdiff.Multipath(gains=[1.0, 0.5j]), semdiff.Pilots(semdiff.Multipath(), 2, "lmmse"),
    semdiff.ImperfectCSI(AWGN(), 0.1, 1.0), semdiff.BlindNoise(AWGN()), semdiff.HardwareImpairments(AWGN(), 0.1, 0.01, 5.0),
]  # fmt: skip
name_of_class = {"argvalues": CHANNELS, "ids": [type(c).__name__ for c in CHANNELS]}


@pytest.mark.parametrize("channel", **name_of_class)
def test_a_channels_tensors_are_buffers_that_follow_and_keep_their_dtype(channel: semdiff.Channel) -> None:
    """As parts of a model: cast with it, a channel computes what it computed before; moved with it, all of it is there."""
    s = semdiff.pack(semdiff.normal((2, 64), Key(1)))
    for cast in (lambda m: m.half(), lambda m: m.to(torch.float32), lambda m: m.to(torch.bfloat16), lambda m: m.double()):
        model = torch.nn.Sequential(copy.deepcopy(channel), torch.nn.Linear(2, 2))
        for got, want in zip(cast(model)[0](s, 5.0, Key(3)), channel(s, 5.0, Key(3)), strict=True):
            assert torch.equal(got, want)
    held = {name for module in channel.modules() for name, value in vars(module).items() if isinstance(value, torch.Tensor)}
    assert held == set()
    assert {b.device.type for b in copy.deepcopy(channel).to("meta").buffers()} <= {"meta"}
    assert channel.state_dict() == {}


@pytest.mark.parametrize("channel", **name_of_class)
def test_a_channels_text_says_its_settings(channel: semdiff.Channel) -> None:
    text = repr(channel)
    for name in inspect.signature(type(channel).__init__).parameters:
        if name in ("self", "args", "kwargs", "nt", "nr", "channel") or (isinstance(channel, semdiff.Multipath) and name in _PROFILE):
            continue
        assert f"{name}=" in text
    assert ("channel" in inspect.signature(type(channel).__init__).parameters) == ("(channel): " in text)


_PROFILE = ("taps", "decay", "powers", "gains")


def test_a_channel_with_parameters_is_cast_as_other_modules_are() -> None:
    class Learned(semdiff.Channel):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))

    assert Learned().half().weight.dtype == torch.float16


def test_results_are_shown_by_shape_and_their_fields_are_documented() -> None:
    s = semdiff.pack(semdiff.normal((2, 8), Key(1)))
    received = AWGN()(s, 5.0, Key(2))
    assert repr(received) == "Received(y=complex64 (2, 4), h=complex64 (2, 1), noise_var=float64 (2, 1))"
    assert repr(received._replace(y=s.to("meta"))).startswith("Received(y=complex64 (2, 4) on meta, ")
    assert repr(semdiff.Received(s.numpy(), 1j, None)) == "Received(y=complex64 (2, 4), h=1j, noise_var=None)"  # type: ignore[arg-type]
    assert repr(semdiff.Uses(3)) == "Uses(payload=3, pilots=0, cyclic_prefix=0)"
    kinds = (semdiff.Received, semdiff.Equalized, semdiff.Uses, semdiff.DiffusionState, semdiff.GaussianSample, semdiff.UpsamplerLoss)
    for kind in kinds:
        for name in kind._fields:
            said = getattr(kind, name).__doc__
            assert not said.startswith("Alias for field"), (kind, name)
            assert said.endswith((".", ")")), (kind, name)

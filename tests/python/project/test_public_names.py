# SPDX-License-Identifier: Apache-2.0
"""The names of `import semdiff`: those of version 0.1.0 stay, the renamed ones with a warning."""

from __future__ import annotations

import warnings

import pytest

import semdiff
import semdiff.numpy
from semdiff.evaluation.channels import channel_classes, make_channel
from semdiff.evaluation.specs import ChannelSpec

VERSION_0_1_0 = """
AWGN MIMO Blind Channel DiffusionState Equalized GaussianSample Given Impaired Key Mistaken Multipath NoiseSchedule Pilots Rayleigh Received
Rician UpsamplerLoss Uses __version__ add_noise build_info ddim_step ddpm_step dpmpp_2m_step equalize estimate_noise_var gaussian_upsample
match measured_snr_db normal normalize_power pack posterior_mean reparameterize sample time_grid unpack unpack_per_symbol upsampler_loss
"""
RENAMED = {"Blind": "BlindNoise", "Given": "FixedChannel", "Impaired": "HardwareImpairments", "Mistaken": "ImperfectCSI"}


@pytest.mark.parametrize("name", VERSION_0_1_0.split())
def test_names_of_the_first_version(name: str) -> None:
    if name not in RENAMED:
        assert name in semdiff.__all__
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert getattr(semdiff, name) is not None
        return
    with pytest.warns(DeprecationWarning, match=f"^semdiff.{name} is called semdiff.{RENAMED[name]}$") as warned:
        found = getattr(semdiff, name)
    assert warned[0].filename == __file__
    assert found is getattr(semdiff, RENAMED[name])
    assert name not in semdiff.__all__
    assert name not in dir(semdiff)


def test_renamed_classes_are_one_class() -> None:
    with pytest.warns(DeprecationWarning, match="Mistaken"):
        from semdiff import Mistaken
    channel = Mistaken(semdiff.AWGN(), error_var=0.1)
    assert isinstance(channel, semdiff.ImperfectCSI)
    assert isinstance(semdiff.ImperfectCSI(semdiff.AWGN()), Mistaken)
    assert type(channel).__name__ == "ImperfectCSI"


def test_numpys_renamed_function() -> None:
    with pytest.warns(DeprecationWarning, match=r"semdiff\.numpy\.given is called semdiff\.numpy\.fixed_channel"):
        assert semdiff.numpy.given is semdiff.numpy.fixed_channel
    assert not hasattr(semdiff.numpy, "nothing")


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_evaluations_call_channels_by_either_name(old: str, new: str) -> None:
    """Recorded results and configurations have the old names."""
    assert channel_classes()[old.lower()] is channel_classes()[new.lower()] is getattr(semdiff, new)


def test_a_channels_label_is_the_name_that_was_written() -> None:
    for name in ("given", "fixedchannel"):
        spec = ChannelSpec(name, (("h", 1.0),))
        assert isinstance(make_channel(spec), semdiff.FixedChannel)
        assert spec.label == f"{name}(h=1.0)"

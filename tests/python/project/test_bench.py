# SPDX-License-Identifier: Apache-2.0
"""What the bench compares with does the same work: the forms in place give what the eager ones do, the libraries what ours do."""

import pytest
import torch

pytest.importorskip("diffusers")

from benchmarks import peers
from benchmarks.cases import CASES

SAME = [c for c in CASES if c.name in peers.IN_PLACE]
STEPS = [c for c in CASES if c.name in ("ddim_step", "dpmpp_2m_step")]


@pytest.mark.parametrize("case", SAME, ids=lambda c: c.name)
def test_the_forms_in_place_are_the_eager_ones(case):
    _, eager, arguments = case.make(3072)
    before = [a.clone() for a in arguments]
    found = []
    for form in (eager, peers.IN_PLACE[case.name]):
        torch.manual_seed(3)
        out = form(*arguments)
        parts = out if isinstance(out, tuple) else (out,)
        found.append([torch.view_as_real(p) if p.is_complex() else p for p in parts])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(theirs.reshape(ours.shape), ours, rtol=2e-5, atol=2e-5)
    for a, b in zip(arguments, before, strict=True):
        assert torch.equal(a, b), "an argument was overwritten"


@pytest.mark.parametrize("case", STEPS, ids=lambda c: c.name)
def test_our_steps_are_the_eager_ones(case):
    ours, eager, arguments = case.make(3072)
    out, expected = ours(), eager(*arguments)
    first, wanted = (o[0] if isinstance(o, tuple) else o for o in (out, expected))
    torch.testing.assert_close(first, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["awgn", "rayleigh + mmse, per complex symbol"])
def test_sionna_channels_add_the_same_noise(name):
    """4 standard errors of a variance estimated from n values."""
    pytest.importorskip("sionna")
    case = next(c for c in CASES if c.name == name)
    _, _, arguments = case.make(65536)
    torch.manual_seed(5)
    out = peers.LIBRARIES[name][1](*arguments)()
    if name == "awgn":
        error = torch.view_as_real(out - torch.view_as_complex(arguments[0]))
        assert error.square().mean().item() == pytest.approx(0.04, rel=4 * (2 / error.numel()) ** 0.5)
    else:  # the equaliser's own statement of its error: E|x - g s|^2 = noise, where |s|^2 is 2 here
        estimate, noise, gain = (o.flatten() for o in out)
        error = estimate - gain * torch.view_as_complex(arguments[0]).flatten()
        assert (error.abs().square().sum() / noise.sum()).item() == pytest.approx(1, abs=0.05)

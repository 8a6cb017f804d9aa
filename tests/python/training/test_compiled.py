# SPDX-License-Identifier: Apache-2.0
"""Compiled blocks against the same blocks as they are."""

from __future__ import annotations

import shutil

import pytest
import torch
from torch import nn

pytest.importorskip("accelerate")

from semdiff.models.blocks import FiLMBlock
from semdiff.models.jscc_layers import JSCCLayer
from semdiff.training.compiled import compiled_blocks

pytestmark = [
    pytest.mark.slow,
    # What inductor imports, and what dynamo looks at, warns.
    pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler"),
]


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = FiLMBlock(8, 4).requires_grad_(False)
        self.block = FiLMBlock(8, 4)
        self.layer = JSCCLayer(nn.Conv2d(8, 8, 3, 1, 1), 8, False, True)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        return self.layer(self.block(self.frozen(x, condition), condition), condition[:, :2])


def test_compiled_blocks_compute_the_same_and_are_given_back() -> None:
    torch.manual_seed(0)
    net = Blocks()
    x, condition = torch.randn(4, 8, 6, 6), torch.randn(4, 4)
    forms = []

    def gradients() -> tuple[torch.Tensor, ...]:
        out = net(x, condition)
        return out, *torch.autograd.grad(out.square().sum(), [p for p in net.parameters() if p.requires_grad])

    expected = gradients()
    with compiled_blocks(net):
        forms = [type(m).__name__ for m in net.modules() if "forward" in vars(m)]
        for _ in range(2):
            for found, right in zip(gradients(), expected, strict=True):
                torch.testing.assert_close(found, right, rtol=1e-4, atol=1e-5)
        with torch.no_grad():
            assert torch.equal(net(x, condition), expected[0])  # no gradient, no compiled code: the same to the bit
    assert forms == ["FiLMBlock", "JSCCLayer"]  # what is frozen is left alone
    assert not any("forward" in vars(m) for m in net.modules())
    assert torch.equal(net(x, condition), expected[0])

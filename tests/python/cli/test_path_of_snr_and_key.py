# SPDX-License-Identifier: Apache-2.0
"""How far an SNR and a key travel: from the command to the kernel through few modules, decibels turned into a noise variance once."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from semdiff.cli.app import app
from semdiff.phy import channel
from tests.python.small_links import any_size_link

MOST = 7


class Spy:
    """The operators, each of which notes the modules of this package that are on the stack when it is called."""

    def __init__(self, ops: Any) -> None:
        self.ops, self.paths = ops, {}

    def __getattr__(self, name: str) -> Any:
        operator = getattr(self.ops, name)

        def call(*arguments: Any) -> Any:
            frame, path = sys._getframe(1), []
            while frame is not None:
                module = frame.f_globals.get("__name__", "")
                if module.startswith("semdiff.") and (not path or path[-1] != module):
                    path.append(module)
                frame = frame.f_back
            self.paths[name] = path[::-1]
            return operator(*arguments)

        call.default = call  # type: ignore[attr-defined]
        return call


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    folder = tmp_path_factory.mktemp("path")
    any_size_link().save_pretrained(folder / "model")
    Image.new("RGB", (32, 32), (90, 120, 40)).save(folder / "a.png")
    spy = Spy(channel.ops)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel, "ops", spy)
        arguments = ["transmit", str(folder / "a.png"), "--model", str(folder / "model"), "--out", str(folder / "out"), "--snr", "5"]
        result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return spy.paths


def test_from_the_command_to_the_kernel_through_few_modules(paths: dict[str, list[str]]) -> None:
    path = paths["awgn"] if "awgn" in paths else paths["diffuse"]
    assert "semdiff.cli.transmit" in path
    assert path[-1] == "semdiff.phy.channel"
    assert len(set(path)) <= MOST, path


def test_decibels_become_a_variance_in_one_place() -> None:
    """10^(-snr / 10) of a channel's SNR is written once; other lines with a power of ten turn other decibels."""
    package = Path(channel.__file__).parents[1]
    found = [
        file.name
        for file in sorted((package / "phy").glob("*.py")) + sorted((package / "link").glob("*.py"))
        for line in file.read_text("utf-8").splitlines()
        if "10" in line and "**" in line and "snr" in line and not line.lstrip().startswith(("#", '"'))
    ]
    assert found.count("channel.py") <= 2, found  # of a number and of a tensor
    assert set(found) <= {"channel.py", "csi.py"}, found  # csi.py: an offset that the receiver is wrong by


def test_the_symbols_are_those_of_the_snr() -> None:
    """The whole way gives what the channel gives: noise of N0 = 10^(-snr / 10), by the key's child 0."""
    link, images = any_size_link(), torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    from semdiff import AWGN, Key

    sent = link.transmit(images, 5.0, steps=1, key=Key(4))
    symbols = link.send(images, 5.0)
    y = AWGN()(symbols, 5.0, Key(4).fold_in(0)).y
    measured = 10 * (symbols.abs().double().square().sum() / (y - symbols).abs().double().square().sum()).log10()
    torch.testing.assert_close(sent.snr_db[0], measured)

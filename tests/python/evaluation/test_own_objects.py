# SPDX-License-Identifier: Apache-2.0
"""Parts of a user's in an evaluation: the guide's file in Python and in TOML, what is refused and in which words, what makes a cell new."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import semdiff

pytest.importorskip("diffusers")
pytest.importorskip("tqdm")

from semdiff.evaluation import Config, sweep
from semdiff.evaluation.identity import arguments_of, object_identity
from semdiff.metrics import Metric, Score
from semdiff.transmission.transmitter import ImageTransmitter
from tests.python.evaluation_systems import Uncoded, images, psnr

ROOT = Path(__file__).parents[3]
GUIDE = (ROOT / "docs" / "guides" / "plug-ins.md").read_text(encoding="utf-8")
SMALL: dict[str, Any] = {"data": images(), "snr_db": 5, "metrics": {"psnr": psnr}}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, flags=re.M | re.S)


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The guide's mine.py and mine.toml, in the current folder."""
    parts = [block for block in blocks("python") if "sweep(" not in block]
    (tmp_path / "mine.py").write_text("".join(parts))
    (tmp_path / "mine.toml").write_text(blocks("toml")[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    return tmp_path


def test_each_part_of_the_guide_is_short() -> None:
    assert len(blocks("python")) == 6
    assert all(block.count("\n") <= 19 for block in blocks("python"))


@pytest.mark.slow
def test_the_guides_file_runs_by_the_command(mine: Path) -> None:
    """In a fresh process, whose modules are looked up in the current folder by the command alone."""
    command = [sys.executable, "-P", "-m", "semdiff", "evaluate", "mine.toml", "--json"]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    rows = found["summary"]
    assert {row["system"] for row in rows} == {"adjscc", "link", "my denoiser", "Thumbnail"}
    assert {row["channel"] for row in rows} == {"awgn", "Interference(sir_db=5.0)"}
    assert all(row["error_inside(margin=4)"] > 0 for row in rows)
    assert {row["uses"] for row in rows if row["system"] != "Thumbnail"} == {64}


def test_toml_and_python_give_the_same(mine: Path) -> None:
    from mine import Interference, Thumbnail, error_inside, stripes  # type: ignore[import-not-found]

    config = {
        "data": {"name": "mine:stripes", "n": 3},
        "systems": [{"name": "mine:Thumbnail", "options": {"mode": "nearest"}}],
        "channels": [{"name": "mine:Interference", "sir_db": 5.0}],
        "metrics": [{"name": "mine:error_inside", "margin": 4}],
        "snr_db": [5],
    }
    (row,) = sweep(config).rows
    images = stripes(3)
    key = semdiff.Key(0).fold_in(0)
    done = Thumbnail("nearest").transmit(images, 5.0, channel=Interference(5.0), key=key)
    assert row["error_inside(margin=4)"] == pytest.approx(float(error_inside(done.images, images, 4).mean()), rel=1e-6)
    assert row["uses"] == done.ledger.total
    held = Config.from_mapping(config)
    assert Config.from_mapping(held.to_mapping()) == held
    Path("again.toml").write_text(held.to_toml())
    assert Config.from_toml("again.toml") == held


def test_a_link_with_a_denoiser_of_a_module(mine: Path) -> None:
    from mine import LocalMean

    from semdiff.data import sample_images
    from semdiff.link import SemanticLink

    options = {"model": "fashion-mnist", "denoiser": {"name": "mine:LocalMean", "width": 5}, "prediction": "x0"}
    given = {"systems": [{"name": "link", "options": options}], "snr_db": 5, "steps": 2, "data": "samples"}
    (row,) = sweep(given).rows
    link = SemanticLink.default("fashion-mnist").with_denoiser(LocalMean(5), "x0")
    done = link.transmit(sample_images(), 5.0, steps=2, realism=1.0, key=semdiff.Key(0).fold_in(0))
    from semdiff.metrics import psnr as decibels

    assert row["psnr"] == pytest.approx(float(decibels(done.images, sample_images()).double().mean()), rel=1e-6)
    with pytest.raises(TypeError, match=r'systems\.link\.options\.denoiser: expected "module:Name", or a table .* got 3'):
        sweep(given | {"systems": [{"name": "link", "options": {"denoiser": 3}}]})
    with pytest.raises(ValueError, match=r"systems\.link\.options\.prediction: expected eps, x0 or v, got 'noise'"):
        sweep(given | {"systems": [{"name": "link", "options": {"denoiser": "mine:LocalMean", "prediction": "noise"}}]})


WRONG = """
import torch, semdiff
from semdiff.transmission.transmitter import ImageTransmitter

class Unfinished(ImageTransmitter):
    def exchang(self, images, air): ...

class NoRealism(ImageTransmitter):
    def exchange(self, images, air, cbr, steps, key):
        return images

class NoTransmit:
    def send(self): ...

class OldTransmit:
    def transmit(self, images, snr_db): ...

class NoChannel(torch.nn.Module):
    def forward(self, s, snr_db, key): return s

class NoForward(semdiff.Channel): ...

class Symbols(semdiff.Channel):
    def forward(self, s, snr_db, key=None): return s

class Strict:
    def __init__(self, level):
        raise ValueError("level: expected 1")

def one(images): return images
def total(images, originals): return float(images.sum())
def bytes_(n=2): return torch.zeros(n, 1, 4, 4, dtype=torch.uint8)
def far(): return 3 * torch.ones(2, 1, 4, 4)
def labelled(): return torch.zeros(2, 1, 4, 4), torch.zeros(3)
READY = Symbols()
"""


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"systems": "nowhere:X"}, ValueError, r"systems\.X: expected a file nowhere\.py in the current folder, or an installed mod"),
        ({"systems": "wrong:NoTransmitt"}, ValueError, r"systems\.NoTransmitt: unknown name of wrong 'NoTransmitt', did you mean "),
        ({"systems": "wrong:Unfinished"}, TypeError, r"expected wrong:Unfinished to define exchange\(self, images: 'Tensor', air: '"),
        ({"systems": "wrong:NoRealism"}, TypeError, r"NoRealism\.exchange: expected a call \(images, air, \*, cbr, steps, realism, key\)"),
        ({"systems": "wrong:NoTransmit"}, TypeError, r"systems\.NoTransmit: expected an object with transmit\(images, snr_db, "),
        ({"systems": "wrong:OldTransmit"}, TypeError, r"OldTransmit\.transmit: expected a call \(images, snr_db, \*, cbr, channel, key\)"),
        ({"systems": {"name": "wrong:Strict"}}, TypeError, r"systems\.Strict: .*missing 1 required positional argument: 'level'"),
        ({"systems": {"name": "wrong:Strict", "options": {"level": 2}}}, ValueError, r"systems\.Strict: level: expected 1"),
        ({"systems": {"name": "wrong:Strict", "options": {"lvl": 2}}}, ValueError, r"systems\.Strict: unknown argument 'lvl', did you me"),
        ({"systems": {"name": "wrong:Strict", "path": "x"}}, ValueError, r"systems\.Strict\.path: expected none, wrong:Strict takes its"),
        ({"channels": "wrong:NoChannel"}, TypeError, r"channels\.NoChannel: expected an object of a subclass of semdiff\.Channel with "),
        ({"channels": "wrong:NoForward"}, TypeError, r"channels\.NoForward: NoForward: expected a method forward\(self, s, snr_db, key\)"),
        ({"channels": "wrong:Symbols"}, TypeError, r"expected Symbols\.forward to return a semdiff\.Received\(y, h, noise_var\) of "),
        ({"channels": {"name": "wrong:READY", "a": 1}}, ValueError, r"expected no arguments for wrong:READY, which is made already; got"),
        ({"metrics": "wrong:one"}, TypeError, r"metrics\.one: one: expected a call \(images, originals\) to work, got .*one\(images\)"),
        ({"metrics": "wrong:total"}, TypeError, r"metrics\.total: expected one number an image, shape \(B,\), got float; one for all of"),
        ({"metrics": {"name": "psnr", "a": 1}}, TypeError, r'metrics: expected text or a table of name = "module:Name" and its arguments'),
        ({"metrics": ["wrong:one", {"name": "wrong:one"}]}, ValueError, r"metrics: expected different values"),
        ({"data": "wrong:bytes_"}, TypeError, r"data: expected a float tensor or array .* got torch\.uint8; images / 255"),
        ({"data": "wrong:far"}, ValueError, r"data: expected .* got shape \(2, 1, 4, 4\) and values from 3 to 3"),
        ({"data": "wrong:labelled"}, ValueError, r"data: expected labels of shape \(2,\), got \(3,\)"),
        ({"data": "wrong:NoForward", "metrics": "fid_unpaired"}, TypeError, r"data: expected a float tensor or array"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(
    change: dict[str, Any], error: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wrong", raising=False)
    given: dict[str, Any] = {
        "systems": "tests.python.evaluation_systems:Uncoded",
        "snr_db": 5,
        "data": "tests.python.evaluation_systems:images",
    }
    with pytest.raises(error, match=words):
        sweep(given | change)


def test_what_is_wrong_in_python_is_named() -> None:
    with pytest.raises(TypeError, match=r"systems\.a: expected an object, got the class Uncoded; Uncoded\(\.\.\.\) makes one"):
        sweep(systems={"a": Uncoded}, **SMALL)
    with pytest.raises(TypeError, match=r"channels\.a: expected an object .* got the class AWGN; AWGN\(\.\.\.\) makes one"):
        sweep(systems={"a": Uncoded()}, channels={"a": semdiff.AWGN}, **SMALL)

    class Nothing(Uncoded):
        def transmit(self, *arguments: Any, **options: Any) -> Any:
            return super().transmit(*arguments, **options).images

    with pytest.raises(TypeError, match=r"Nothing\.transmit: expected it to return a semdiff\.link\.Transmission, got Tensor"):
        sweep(systems={"a": Nothing()}, **SMALL)


def test_names_stand_among_objects() -> None:
    """A dict of channels may name one of semdiff's, with its arguments, and a dict of metrics one of semdiff.metrics."""
    block = {"name": "rayleigh", "coherence": "block"}
    channels = {"mine": semdiff.AWGN(), "plain": "awgn", "fading": block}
    found = sweep(systems={"a": Uncoded()}, channels=channels, **SMALL | {"metrics": {"squares": psnr, "psnr": "psnr"}}).rows
    values = {row["channel"]: (row["squares"], row["psnr"]) for row in found}
    assert list(values) == ["mine", "plain", "fading"]
    assert values["mine"] == values["plain"]
    (direct,) = sweep(systems={"a": Uncoded()}, channels=[block], **SMALL | {"metrics": ["psnr"]}).rows
    assert values["fading"][1] == direct["psnr"]
    with pytest.raises(ValueError, match=r"channels: unknown channel 'awgm', did you mean 'awgn'"):
        sweep(systems={"a": Uncoded()}, channels={"plain": "awgm"}, **SMALL)
    with pytest.raises(TypeError, match=r"metrics\.mine: expected a function of \(images, originals\), got str"):
        sweep(systems={"a": Uncoded()}, **SMALL | {"metrics": {"mine": "psnr"}})


def test_numpy_images_labels_and_metrics() -> None:
    labels = np.arange(6)
    seen: list[Tensor | None] = []

    def squares(x: Tensor, y: Tensor, labels: Tensor | None = None) -> np.ndarray[Any, Any]:
        seen.append(labels)
        return ((x - y) ** 2).mean((1, 2, 3)).numpy()

    def whole(x: Tensor, y: Tensor, window: int = 3) -> Score:  # a third argument that is not for labels
        assert window == 3
        return Score(float((x - y).abs().mean()), None)

    metrics = {"squares": squares, "whole": whole, "own": Metric(squares, "lower", "", "image")}
    (row,) = sweep(systems={"a": Uncoded()}, data=(images().numpy(), labels), metrics=metrics, snr_db=5).rows
    done = Uncoded().transmit(images(), 5.0, key=semdiff.Key(0).fold_in(0))
    assert row["squares"] == row["own"] == pytest.approx(float((done.images - images()).square().mean()), rel=1e-6)
    assert row["whole"] == pytest.approx(float((done.images - images()).abs().mean()), rel=1e-6)
    assert seen
    assert all(torch.equal(s, torch.arange(6)) for s in seen if s is not None and len(s) == 6)


# --- what makes a cell new ------------------------------------------------------------------------------------------------------------


class Level(ImageTransmitter):
    def __init__(self, level: float, table: Any = None) -> None:
        self.level, self._table = level, table
        self.calls = 0

    def identity(self) -> dict[str, Any]:
        return {"level": self.level, "table": self._table}

    def exchange(self, images: Tensor, air: Any, **_: Any) -> Tensor:
        self.calls += 1
        air(semdiff.pack(images))
        return torch.full_like(images, self.level)


class Offset(semdiff.Channel):
    def __init__(self, db: float) -> None:
        super().__init__()
        self.db = db

    def forward(self, s: Tensor, snr_db: Any, key: Any = None) -> semdiff.Received:
        return semdiff.AWGN()(s, snr_db + self.db, key)


def test_a_changed_argument_is_computed_again_and_the_same_is_not(tmp_path: Path) -> None:
    def run(system: Any, channel: semdiff.Channel) -> tuple[float, int]:
        (row,) = sweep(out=tmp_path, systems={"a": system}, channels={"My: C": channel}, **SMALL).rows
        return row["measured_snr_db"], len(list((tmp_path / "cells").iterdir()))

    first, cells = run(Level(0.2), Offset(0.0))
    assert cells == 1
    counted = Level(0.2)
    counted.calls = 7  # not of its identity
    assert run(counted, Offset(0.0)) == (first, 1)
    assert counted.calls == 7
    assert run(Level(0.3), Offset(0.0))[1] == 2
    assert run(Level(0.3, torch.ones(2)), Offset(0.0))[1] == 3
    again, cells = run(Level(0.3), Offset(3.0))
    assert (cells, again - first) == (4, pytest.approx(3.0, abs=1e-4))


def test_identities_tell_arguments_and_weights_apart() -> None:
    class Net(nn.Module):
        def __init__(self, seed: int, scale: float) -> None:
            super().__init__()
            torch.manual_seed(seed)
            self.layer, self.scale = nn.Linear(2, 2), scale

    class Holder:
        def __init__(self, net: nn.Module, more: Any = None) -> None:
            self.given, self.more = net, more  # not by the parameter's name

        def __call__(self) -> None: ...

    different = [
        Net(0, 1.0), Net(1, 1.0), Net(0, 2.0), Holder(Net(0, 1.0)), Holder(Net(1, 1.0)), Holder(Net(0, 1.0), {"a": [1, semdiff.Key(3)]}),
        Holder(Net(0, 1.0), {"a": [1, semdiff.Key(4)]}), Holder(Net(0, 1.0), np.ones(2)), Holder(Net(0, 1.0), np.zeros(2)), psnr,
        semdiff.AWGN(), semdiff.Rayleigh("block"), semdiff.Rayleigh("fast"),
    ]  # fmt: skip
    found = [json.dumps(object_identity(thing)) for thing in different]
    assert len(set(found)) == len(found)
    assert object_identity(Net(0, 1.0)) == object_identity(Net(0, 1.0))
    assert object_identity(psnr) == "tests.python.evaluation_systems.psnr"

    class Slotted:
        __slots__ = ("value",)

        def __init__(self, value: float) -> None:
            self.value = value

    class Hidden(Holder):
        def __init__(self, strength: float) -> None:
            self._s = strength

        def score(self, x: Tensor, y: Tensor) -> Tensor: ...

    class Unsaved(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.register_buffer("taps", torch.full((2,), value), persistent=False)

    class Wrapped(semdiff.Channel):
        def __init__(self, inner: semdiff.Channel) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, s: Tensor, snr_db: Any, key: Any = None) -> semdiff.Received:
            return self.inner(s, snr_db, key)  # type: ignore[no-any-return]

    def made(value: float) -> Any:
        def function(x: Tensor) -> Tensor:
            return value * x

        return function

    for one, other in (
        (Slotted(1.0), Slotted(2.0)),
        (Hidden(1.0), Hidden(2.0)),
        (Hidden(1.0).score, Hidden(2.0).score),
        (made(1.0), made(2.0)),
        (lambda x: x, lambda x: -x),
        (lambda x, a=1: a * x, lambda x, a=2: a * x),
        (Unsaved(1.0), Unsaved(2.0)),
        (Wrapped(semdiff.Rician(20.0)), Wrapped(semdiff.Rayleigh())),
        (nn.Sequential(nn.Linear(2, 2), nn.ReLU()), nn.Sequential(nn.Linear(2, 2), nn.Tanh())),
        (nn.Sequential(nn.LeakyReLU(0.1)), nn.Sequential(nn.LeakyReLU(0.9))),
    ):
        if isinstance(one, nn.Sequential):
            other.load_state_dict(one.state_dict())
        assert object_identity(one) != object_identity(other)
        assert object_identity(one) == object_identity(one)
    itself: list[Any] = []
    itself.append(itself)
    assert json.dumps(object_identity(Holder(Net(0, 1.0), itself)))

    class Wrong:
        def identity(self) -> int:
            return 3

    with pytest.raises(TypeError, match=r"Wrong\.identity: expected a dict of what results depend on, got int"):
        arguments_of(Wrong())


def test_parts_that_would_share_a_row_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    channel = "import semdiff\nclass Chan(semdiff.AWGN): ...\n"
    for name in ("one", "other"):
        (tmp_path / f"{name}.py").write_text(channel)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="channels: expected names that differ in the results, got 'one:Chan' and 'other:Chan', both Chan"):
        sweep(systems={"a": Uncoded()}, channels=[{"name": "one:Chan"}, {"name": "other:Chan"}], **SMALL)


def test_a_system_may_write_into_its_images() -> None:
    class Spoils(Uncoded):
        def transmit(self, images: Tensor, *arguments: Any, **options: Any) -> Any:
            done = super().transmit(images.clone(), *arguments, **options)
            images.zero_()
            return done

    given = images()
    alone = sweep(systems={"b": Uncoded()}, **SMALL | {"data": given}).rows[0]["psnr"]
    rows = sweep(systems={"a": Spoils(), "b": Uncoded()}, **SMALL | {"data": given}).rows
    assert [row["psnr"] for row in rows] == [alone, alone]
    assert torch.equal(given, images())

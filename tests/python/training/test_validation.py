# SPDX-License-Identifier: Apache-2.0
"""What a training writes about itself: its curve, the scores of held-out pictures, a picture of them; none of it changes the weights."""

import csv
import math
from collections import Counter
from contextlib import nullcontext

import pytest
import torch

pytest.importorskip("accelerate")

import semdiff
from semdiff.data import read_picture
from semdiff.link import SemanticLink
from semdiff.models.networks import UNBOUNDED
from semdiff.training.curve import COLUMNS, Curve, HeldOutScore
from semdiff.training.recipes import photos
from semdiff.training.recipes.photos import train
from semdiff.training.validation import Shown, caption, draw_validation, middles, over_the_link, put_aside, score
from tests.python.photographs import photographs
from tests.python.pretrained import require_lpips
from tests.python.tiny_photos import STAGES, pictures, write_recipe

STEPS = 3


def prepare(folder, patch):
    """Options of `train`: three steps a stage, each of them shown."""
    require_lpips()
    patch.setattr("semdiff.training.budget.steps_within", lambda *_: STEPS)
    patch.setattr("semdiff.training.engine.SHOWN_EVERY", 1)
    return {"config": write_recipe(folder / "tiny.toml"), "pictures": pictures(), "progress": False, "precision": "fp32"}


@pytest.fixture
def options(tmp_path, monkeypatch):
    return prepare(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that nothing cut off."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        train(folder / "run", **prepare(folder, patch))
    return folder / "run"


def rows_of(folder):
    with (folder / "curve.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def losses(rows):
    return [(r["stage"], r["step"], r["images"], r["quantity"], r["value"]) for r in rows if not r["picture"]]


def scores(rows, stage, step):
    return {
        (r["picture"], r["quantity"], r["snr_db"], r["cbr"]): float(r["value"])
        for r in rows
        if r["picture"] and (r["stage"], r["step"]) == (stage, str(step))
    }


def weights(model):
    return {p.relative_to(model): p.read_bytes() for p in sorted(model.rglob("*.safetensors"))}


@pytest.mark.slow
def test_looking_changes_no_bit(options, tmp_path, monkeypatch):
    monkeypatch.setattr("semdiff.training.curve.VALIDATE_EVERY", -1.0)
    monkeypatch.setattr("semdiff.training.curve.LARGEST_SHARE", math.inf)
    often = train(tmp_path / "often", **options)
    rows = rows_of(tmp_path / "often")
    assert all(scores(rows, stage, step) for stage in STAGES for step in range(1, STEPS + 1))
    monkeypatch.setattr("semdiff.training.engine.SHOWN_EVERY", 10**6)
    monkeypatch.setattr("semdiff.training.curve.StageCurve.observe", lambda *_: {})
    never = train(tmp_path / "never", **options)
    assert rows_of(tmp_path / "never") == []
    assert weights(often) == weights(never)


@pytest.mark.slow
def test_a_cut_run_has_the_curve_of_a_whole_one(whole, options, tmp_path):
    rows = rows_of(whole)
    assert {(r["stage"], int(r["step"]), int(r["images"])) for r in rows} == {(s, n, 4 * n) for s in STAGES for n in range(1, STEPS + 1)}

    class Stop(Exception):  # noqa: N818, it is no error
        pass

    def stop(name, step):
        if (name, step) == ("fidelity", STEPS - 1):
            raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("semdiff.training.engine.time.monotonic", iter(range(0, 10**6, 100)).__next__)  # a checkpoint every step
        with pytest.raises(Stop):
            train(tmp_path / "cut", on_step=stop, **options)
    curve = Curve(tmp_path / "cut" / "curve.csv")
    curve.of_stage("fidelity", 4).observe(STEPS, {"loss": 7.0}, None, False)
    curve.write()  # as if the machine had gone down between the curve and its checkpoint
    train(tmp_path / "cut", **options)
    cut = rows_of(tmp_path / "cut")
    assert losses(cut) == losses(rows)
    assert max(Counter(tuple(r[c] for c in COLUMNS if c not in ("value", "seconds")) for r in cut).values()) == 1
    assert [int(r["seconds"]) for r in cut] == sorted(int(r["seconds"]) for r in cut)
    train(tmp_path / "cut", **options)  # finished: nothing is added
    assert rows_of(tmp_path / "cut") == cut
    train(tmp_path / "cut", resume=False, **options)
    assert losses(rows_of(tmp_path / "cut")) == losses(rows)


def test_scores_are_those_of_the_averaged_link(whole, options):
    """The last row of the last stage is what the saved link does, up to the half precision of its file and what was found after it: how
    large the details' features get."""
    found = scores(rows_of(whole), "detail", STEPS)
    link = SemanticLink.from_pretrained(whole / "model")
    link.detail_decoder.ceiling.fill_(UNBOUNDED)
    held_out = middles({"a": options["pictures"]["a"]}, 80)
    for snr_db in (10.0, 0.0):
        for cbr in (1 / 12, 1 / 48):
            for picture, realism in (("mean", 0.0), ("sample", 1.0)):
                sent = link.transmit(held_out, snr_db, cbr=cbr, steps=4, realism=realism, key=semdiff.Key(0)).images
                for name, metric in (("psnr", semdiff_psnr), ("lpips", semdiff_lpips)):
                    at = picture, name, f"{snr_db:g}", f"{cbr:.6f}"
                    assert found.pop(at) == pytest.approx(float(metric(sent, held_out).mean()), rel=0.01)
    assert found == {}
    assert scores(rows_of(whole), "decoder", STEPS).keys() == {("reconstruction", q, "", "") for q in ("psnr", "lpips")}
    drawn = read_picture(whole / "validation.png").float() / 255
    columns = ["original", *(f"{p}\n{snr} dB\nCBR {cbr}" for cbr in ("1/12", "1/48") for snr in (10, 0) for p in ("mean", "sample"))]
    left, top = drawn.shape[2] - 80 * len(columns), drawn.shape[1] - 80
    torch.testing.assert_close(drawn[:, top:, left : left + 80], held_out[0], rtol=0, atol=1 / 255)
    labels = [caption(s) for s in over_the_link(link, held_out, True)]
    assert ["original", *labels] == columns
    assert drawn[:, top:, :left].min() < 0.1  # the picture's name


def semdiff_psnr(x, y):
    return -10 * (x - y).square().flatten(1).mean(1).log10()


def semdiff_lpips(x, y):
    from semdiff.metrics import LPIPS

    return LPIPS("alex")(x, y)


@pytest.mark.slow
def test_losses_are_running_means(options, tmp_path, monkeypatch):
    monkeypatch.setattr("semdiff.training.engine.SHOWN_EVERY", 1000)
    seen = []
    forward = photos.AutoencoderStage.forward

    def noted(stage, key, images):
        terms = forward(stage, key, images)
        seen.append(float(terms["mse"].detach()))
        return terms

    monkeypatch.setattr(photos.AutoencoderStage, "forward", noted)
    train(tmp_path, **options)
    (value,) = [r["value"] for r in rows_of(tmp_path) if (r["stage"], r["quantity"], r["picture"]) == ("decoder", "mse", "")]
    assert float(value) == pytest.approx(sum(seen[-STEPS:]) / STEPS, rel=1e-4)


def test_validation_waits_for_its_share_of_the_time(monkeypatch, tmp_path):
    now = [0.0]
    monkeypatch.setattr("semdiff.training.curve.time.perf_counter", lambda: now[0])
    looked = []

    def validate():
        looked.append(now[0])
        now[0] += 9.0  # and so the next comes 300 seconds later
        return [HeldOutScore("psnr", 20.0, "mean"), HeldOutScore("psnr", 30.0, "mean")]

    stage = Curve(tmp_path / "curve.csv").of_stage("fidelity", 4, validate)
    for second in range(0, 1000, 10):
        now[0] = max(now[0], float(second))
        eye = stage.observe(second, {"loss": 1.0}, nullcontext, False)
    assert looked == [180.0, 490.0, 800.0]
    assert eye == {"mean psnr": 25.0}


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", ",".join(COLUMNS) + "\nfidelity,x,1,1,loss,,,,0.1\n", ",".join(COLUMNS) + "\nfid"])
def test_a_file_that_is_no_curve_is_refused(text, tmp_path):
    (tmp_path / "curve.csv").write_text(text)
    with pytest.raises(ValueError, match=r"curve\.csv: expected a training's curve with the columns stage, .*--fresh"):
        Curve(tmp_path / "curve.csv")
    assert Curve(tmp_path / "curve.csv", resume=False).rows == []


def test_every_tenth_picture_is_put_aside():
    named = {f"{i:02}": torch.full((3, 4, 4), i, dtype=torch.uint8) for i in range(25)}
    learned, aside = put_aside(named)
    assert list(aside) == ["00", "10", "20"]
    assert learned.keys() | aside.keys() == named.keys()
    assert not learned.keys() & aside.keys()
    assert put_aside({"only": named["00"]}) == ({"only": named["00"]}, {"only": named["00"]})


def test_middles_are_scored_and_drawn(tmp_path):
    require_lpips()
    picture = torch.zeros(3, 100, 70, dtype=torch.uint8)
    picture[:, 18:82, 3:67] = 255
    assert middles({"a": picture}, 64).eq(1).all()
    originals = photographs(64) / 2
    found = score([Shown("mean", originals, 10.0, 0.5), Shown("sample", originals + 0.1, 0.0, 0.5)], originals)
    assert [s[0] for s in found] == ["psnr", "lpips"] * 2
    assert found[0].value == math.inf
    assert found[1].value == 0
    assert found[2].value == pytest.approx(20, abs=1e-3)
    shown = [Shown("mean", 1 - originals, 10.0, 1 / 12), Shown("reconstruction", originals)]
    draw_validation(shown, originals, ["astronaut", "a cat", "coffee"], tmp_path / "seen.png")
    drawn = read_picture(tmp_path / "seen.png").float() / 255
    left, top = drawn.shape[2] - 3 * 64, drawn.shape[1] - 3 * 64
    expected = torch.cat([originals[1], 1 - originals[1], originals[1]], 2)
    torch.testing.assert_close(drawn[:, top + 64 : top + 128, left:], expected, rtol=0, atol=1 / 255)
    for row in range(3):  # words at each, on white
        margin = drawn[:, top + 64 * row : top + 64 * (row + 1), :left]
        assert margin.min() < 0.1
        assert margin[:, :16].eq(1).all()
    for column in range(3):
        assert drawn[:, :top, left + 64 * column : left + 64 * (column + 1)].min() < 0.1

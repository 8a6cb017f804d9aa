# SPDX-License-Identifier: Apache-2.0
"""semdiff transmit beside other systems, of animations, with steps that follow the SNR; untrained models."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import semdiff
from semdiff.baselines import ADJSCC
from semdiff.cli import comparison, transmit
from semdiff.cli.panels import LEAST_SIDE, WIDEST, Panel, draw_panels
from semdiff.data import sample_images
from semdiff.data.animations import read_animation
from semdiff.data.pictures import read_picture, to_picture
from semdiff.link import SemanticLink
from semdiff.metrics import psnr
from semdiff.training.recipes.latents import build
from tests.python.cli.test_cli import _here as _here
from tests.python.cli.test_cli import call as run
from tests.python.photographs import photograph
from tests.python.small_links import any_size_link

KEY = semdiff.Key(0).fold_in(0)  # of the first batch of seed 0
SHIRT = (sample_images()[:1] * 255).round() / 255


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("transmit") / "model"
    link = build(0).link()
    link.register_to_config(auto_steps=[[0.0, 3], [8.0, 1]])
    link.save_pretrained(folder)
    return folder


@pytest.fixture
def shirt(tmp_path: Path) -> Path:
    to_picture(SHIRT[0]).save(tmp_path / "shirt.png")
    return tmp_path / "shirt.png"


@pytest.fixture
def no_digital(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ImportError("this needs sionna-no-rt: pip install 'semdiff-torch[eval]'")

    monkeypatch.setattr(comparison, "_digital", absent)


def call(*arguments: Path | str) -> Any:
    return run("transmit", *arguments)


def report(*arguments: Path | str) -> Any:
    done = call(*arguments, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


# --- beside other systems ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["awgn", "rayleigh", "multipath", "mimo:2x2"])
def test_the_numbers_are_those_of_each_system_alone(model: Path, shirt: Path, name: str) -> None:
    pytest.importorskip("sionna")
    from semdiff.baselines import Digital
    from semdiff.cli.options import parse_channel

    said = report(shirt, "--model", model, "--compare", "--snr", "9", "--steps", "1", "--channel", name)
    row = said["images"][0]
    assert said["left_out"] == {}
    air = parse_channel(name)
    for label, system, cbr in (("ADJSCC", ADJSCC.default(), 1 / 12), ("digital", Digital(), 64 / 784)):
        alone = system.transmit(SHIRT, 9.0, cbr=cbr, channel=air, key=KEY)
        assert alone.ledger.total == row["channel_uses"]
        assert row["systems"][label]["psnr_db"] == pytest.approx(float(psnr(alone.images, SHIRT)))
        assert row["systems"][label]["measured_snr_db"] == pytest.approx(float(alone.snr_db))
    assert read_picture(row["compared"]).shape[2] > 4 * LEAST_SIDE


def test_a_system_that_is_absent_is_left_out_in_one_line(model: Path, shirt: Path, no_digital: None) -> None:
    done = call(shirt, "--model", model, "--compare", "--steps", "1")
    assert done.exit_code == 0, done.output
    assert done.stderr == "semdiff: digital is left out: this needs sionna-no-rt: pip install 'semdiff-torch[eval]'\n"
    assert "ADJSCC" in done.stdout
    assert "digital" not in done.stdout
    assert Path("received/shirt-compared.png").exists()


def test_without_compare_nothing_else_is_written(model: Path, shirt: Path) -> None:
    row = report(shirt, "--model", model, "--steps", "1")["images"][0]
    assert not {"compared", "systems", "lpips"} & set(row)
    assert [p.name for p in Path("received").iterdir()] == ["shirt.png"]


def test_a_rate_that_another_system_lacks_is_not_compared(model: Path, shirt: Path, tmp_path: Path, no_digital: None) -> None:
    ADJSCC(symbol_channels=4, rates=(4, 2), width=16, outer_width=8, depth=1).save(tmp_path / "adjscc")  # CBR 1/6 and 1/12
    for cbr, compared in (("1/12", True), ("1/24", False)):
        said = report(shirt, "--model", model, "--adjscc", tmp_path / "adjscc", "--steps", "1", "--cbr", cbr)
        assert ("ADJSCC" in said["images"][0]["systems"]) == compared
        assert ("cbr: expected a ratio within 5 %" in said["left_out"].get("ADJSCC", "")) != compared


def test_another_shape_or_no_model_is_refused(model: Path, shirt: Path, tmp_path: Path) -> None:
    ADJSCC(image_shape=(3, 32, 32), width=16, outer_width=8, depth=1).save(tmp_path / "colour")
    done = call(shirt, "--model", model, "--adjscc", tmp_path / "colour")
    assert done.exit_code == 2
    assert "--adjscc: expected a model for images of shape (1, 28, 28), the link's, got (3, 32, 32)" in done.stderr
    (tmp_path / "empty").mkdir()
    done = call(shirt, "--model", model, "--adjscc", tmp_path / "empty")
    assert done.exit_code == 2
    assert "expected a folder with config.json" in done.stderr


def test_names_that_would_meet_are_refused(model: Path, shirt: Path) -> None:
    other = shirt.with_name("shirt-compared.png")
    other.write_bytes(shirt.read_bytes())
    assert call(shirt, other, "--model", model, "--steps", "1").exit_code == 0
    done = call(shirt, other, "--model", model, "--compare")
    assert done.exit_code == 2
    assert "of which both would write received/shirt-compared.png" in done.stderr


@pytest.mark.parametrize(("size", "count"), [((28, 28), 4), ((3, 5), 2), ((200, 500), 4), ((40, WIDEST // 2), 4)])
def test_panels_show_all_their_pixels(size: tuple[int, int], count: int) -> None:
    """Each panel is of one colour, which its words do not have: the sheet holds it as often as the grown picture has pixels."""
    colours = [(1.0, 0.0, 0.2 * i) for i in range(count)]
    panels = [Panel(torch.tensor(c)[:, None, None].expand(3, *size), "name", "12.34 dB") for c in colours]
    sheet = draw_panels("title", panels)
    scale = max(1, -(-LEAST_SIDE // max(size)))
    found = {colour: n for n, colour in sheet.getcolors(2**24)}
    assert [found[to_picture(panel.image).getpixel((0, 0))] for panel in panels] == [size[0] * size[1] * scale**2] * count
    assert sheet.width <= WIDEST + 200


# --- steps and notes ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("snr", "evaluations"), [("5", 3), ("12", 1)])
def test_steps_follow_the_snr(model: Path, shirt: Path, snr: str, evaluations: int) -> None:
    said = report(shirt, "--model", model, "--steps", "auto", "--snr", snr)
    assert (said["steps"], said["evaluations"]) == ("auto", evaluations)


def test_what_the_model_was_not_trained_for_is_one_line_on_stderr(model: Path, tmp_path: Path) -> None:
    paths = []
    for i in range(70):  # two batches
        paths.append(tmp_path / f"{i}.png")
        to_picture(SHIRT[0]).save(paths[-1])
    done = call(*paths, "--model", model, "--steps", "1", "--realism", "0", "--snr", "30", "--cbr", "1/16", "--json")
    assert done.exit_code == 0, done.output
    assert sorted(done.stderr.splitlines()) == [
        "semdiff: cbr: this model was trained for 1/12.3, 1/24.5 and not for 1/16.3",
        "semdiff: snr_db: this model was trained for -7 to 18 dB and not for 30 dB",
    ]
    assert len(json.loads(done.stdout)["images"]) == 70


def test_a_bar_where_there_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for total, terminal, shown in ((3, Terminal(), True), (1, Terminal(), False), (3, io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", terminal)
        with transmit._bar(total) as bar:
            bar.update()
        assert ("picture" in terminal.getvalue()) == shown


# --- animations --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def any_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any") / "model"
    any_size_link().save_pretrained(folder)
    return folder


def test_every_frame_is_sent_and_shown_for_its_time(any_size: Path, tmp_path: Path) -> None:
    image = (photograph("chelsea", 80)[0] * 255).to(torch.uint8)
    frames = torch.stack([image[:, i : i + 33, i : i + 50] for i in (0, 10, 20)])
    first, *rest = [to_picture(f).quantize(200) for f in frames]
    first.save(tmp_path / "clip.gif", save_all=True, append_images=rest, duration=[40, 100, 250], loop=0)
    to_picture(frames[0]).save(tmp_path / "still.png")
    sent = read_animation(tmp_path / "clip.gif").frames
    said = report(tmp_path / "clip.gif", tmp_path / "still.png", "--model", any_size, "--cbr", "1/24", "--steps", "1")
    assert [row["frames"] for row in said["images"]] == [3, 1]
    received = read_animation("received/clip.png")
    assert received.durations == [40.0, 100.0, 250.0]
    batch = torch.cat([sent, frames[:1]]).float() / 255
    expected = SemanticLink.from_pretrained(any_size).transmit(batch, 10.0, cbr=1 / 24, steps=1, key=KEY).images
    assert torch.equal(received.frames, (expected[:3] * 255).round().to(torch.uint8))
    assert torch.equal(read_picture("received/still.png"), (expected[3] * 255).round().to(torch.uint8))
    assert said["images"][0]["psnr_db"] == pytest.approx(float(psnr(expected, batch)[:3].mean()))


def test_a_comparison_of_an_animation_moves(any_size: Path, tmp_path: Path, no_digital: None) -> None:
    from semdiff.training.recipes.jscc import PHOTOS

    ADJSCC(**(PHOTOS | {"width": 8, "outer_width": 4, "depth": 1})).save(tmp_path / "adjscc")
    frames = [to_picture(f) for f in torch.rand(2, 3, 16, 48, generator=torch.Generator().manual_seed(0))]
    frames[0].save(tmp_path / "clip.png", save_all=True, append_images=frames[1:], duration=70)
    row = report(tmp_path / "clip.png", "--model", any_size, "--adjscc", tmp_path / "adjscc", "--cbr", "1/48", "--steps", "1")["images"][0]
    shown = read_animation(row["compared"])
    assert (len(shown.frames), shown.durations) == (2, [70.0, 70.0])
    assert row["systems"]["ADJSCC"]["psnr_db"] > 0


def test_unequal_bandwidth_is_not_compared(any_size: Path, tmp_path: Path, no_digital: None) -> None:
    from semdiff.training.recipes.jscc import PHOTOS

    ADJSCC(**(PHOTOS | {"width": 8, "outer_width": 4, "depth": 1, "header": False})).save(tmp_path / "adjscc")
    to_picture(photograph("coffee", 32)[0]).save(tmp_path / "cup.png")
    said = report(tmp_path / "cup.png", "--model", any_size, "--adjscc", tmp_path / "adjscc", "--cbr", "1/12", "--steps", "1")
    assert said["left_out"]["ADJSCC"] == "it takes 256 channel uses where the link takes 320"
    assert said["images"][0]["systems"] == {}


def test_nothing_shipped_for_photographs_is_said(any_size: Path, tmp_path: Path, no_digital: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("semdiff.cli.comparison.SHIPPED_CODES", {})
    to_picture(photograph("coffee", 32)[0]).save(tmp_path / "cup.png")
    said = report(tmp_path / "cup.png", "--model", any_size, "--compare", "--steps", "1")
    assert said["left_out"]["ADJSCC"].startswith("no ADJSCC for images of shape (3, None, None) comes with the package")
    assert read_picture("received/cup-compared.png").shape[0] == 3


def test_photographs_are_the_default(tmp_path: Path, no_digital: None) -> None:
    """Any size, one step, and ADJSCC of the same rates beside it: both of the package, and better than nothing."""
    to_picture(photograph("coffee", 100)[0, :, :, :77]).save(tmp_path / "cup.png")
    said = report(tmp_path / "cup.png", "--compare", "--cbr", "1/24", "--realism", "0")
    assert said["images"][0]["psnr_db"] > 18
    assert said["images"][0]["systems"]["ADJSCC"]["psnr_db"] > 18
    assert read_picture("received/cup.png").shape == (3, 100, 77)


def test_a_picture_beyond_the_memory_is_refused(any_size: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to_picture(photograph("coffee", 64)[0]).save(tmp_path / "cup.png")
    monkeypatch.setattr("semdiff.cli.picture_files.BYTES_OF_A_PIXEL", 2**50)
    done = call(tmp_path / "cup.png", "--model", any_size)
    assert done.exit_code == 2
    assert "cup.png: expected at most 0 megapixels, since a link takes some" in done.stderr


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_folder_side_by_side_is_what_each_picture_is_alone(
    any_size: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    """Of five sizes, so that none share a batch; in the order given, each with the key of its place."""
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    if at_once == 1:
        monkeypatch.setattr(transmit, "TOGETHER", 1)
    sizes = [(40, 33), (16, 16), (64, 20), (17, 50), (48, 48)]
    for i, (height, width) in enumerate(sizes):
        to_picture(photograph("coffee", 64)[0, :, :height, :width]).save(tmp_path / f"{i}.png")
    files = [tmp_path / f"{i}.png" for i in range(len(sizes))]
    try:
        said = report(*files, "--model", any_size, "--cbr", "1/24", "--seed", "5", "--snr", "3")
    finally:
        torch.set_num_threads(threads)
    link = SemanticLink.from_pretrained(any_size)
    for i, (file, row) in enumerate(zip(files, said["images"], strict=True)):
        original = read_picture(file)[None].float() / 255
        alone = link.transmit(original, 3.0, cbr=1 / 24, key=semdiff.Key(5).fold_in(i))
        assert row["input"] == str(file)
        assert row["psnr_db"] == pytest.approx(float(psnr(alone.images, original)), abs=1e-4)
        received = read_picture(f"received/{i}.png").float()
        assert float((received - alone.images[0] * 255).abs().max()) <= 0.51  # rounded to the nearest of 256 values


# --- several SNRs, several draws ---------------------------------------------------------------------------------------------------------


def test_several_snrs_are_what_each_is_alone(any_size: Path, tmp_path: Path) -> None:
    for i, side in enumerate((32, 48)):
        to_picture(photograph("coffee", 64)[0, :, :side]).save(tmp_path / f"{i}.png")
    files, options = (tmp_path / "0.png", tmp_path / "1.png"), ("--model", any_size, "--cbr", "1/24", "--steps", "2", "--seed", "3")
    said = report(*files, *options, "--snr", "-2.5,0", "--snr", "5,0", "--out", "all")
    assert said["snr_db"] == [-2.5, 0.0, 5.0]
    assert [row["snr_db"] for row in said["images"]] == [-2.5, -2.5, 0.0, 0.0, 5.0, 5.0]
    names = sorted(f"{i}{end}.png" for i in (0, 1) for end in ("--2.5dB", "-0dB", "-5dB"))
    assert sorted(p.name for p in Path("all").iterdir()) == names
    for level, end in ((-2.5, "--2.5dB"), (0.0, "-0dB"), (5.0, "-5dB")):
        alone = report(*files, *options, "--snr", str(level), "--out", "one")
        rows = [row for row in said["images"] if row["snr_db"] == level]
        for i, (row, single) in enumerate(zip(rows, alone["images"], strict=True)):
            assert row | {"output": None} == single | {"output": None}
            assert torch.equal(read_picture(row["output"]), read_picture(single["output"]))
            assert Path(row["output"]).name == f"{i}{end}.png"


def test_several_seeds_are_averaged(shirt: Path) -> None:
    """Over a fading channel, against a run for each seed; the pictures are the first seed's."""
    options = (shirt, "--model", "fashion-mnist", "--steps", "1", "--channel", "rayleigh", "--snr", "6")
    said = report(*options, "--seed", "5", "--seeds", "4", "--out", "all")
    alone = [report(*options, "--seed", str(seed), "--out", str(seed))["images"][0] for seed in range(5, 9)]
    (row,) = said["images"]
    for name in ("psnr_db", "measured_snr_db", "t"):
        assert row[name] == pytest.approx(sum(each[name] for each in alone) / 4)
    psnrs = torch.tensor([each["psnr_db"] for each in alone], dtype=torch.float64)
    assert row["psnr_db_se"] == pytest.approx(float(psnrs.std() / 2))
    assert (said["seed"], said["seeds"]) == (5, 4)
    assert torch.equal(read_picture(row["output"]), read_picture("5/shirt.png"))
    assert float(psnrs.std()) > 0.1
    table = call(*options, "--seeds", "2", "--snr", "7").stdout
    assert "means over 2 seeds" in table
    assert " +-" in table


def test_systems_of_a_comparison_are_averaged_too(any_size: Path, tmp_path: Path, no_digital: None) -> None:
    from semdiff.training.recipes.jscc import PHOTOS

    ADJSCC(**(PHOTOS | {"width": 8, "outer_width": 4, "depth": 1})).save(tmp_path / "adjscc")
    to_picture(photograph("coffee", 32)[0]).save(tmp_path / "cup.png")
    options = (tmp_path / "cup.png", "--model", any_size, "--adjscc", tmp_path / "adjscc", "--cbr", "1/12", "--steps", "1")
    said = report(*options, "--snr", "0,9", "--seeds", "2")
    alone = [report(*options, "--snr", "9", "--seed", seed)["images"][0]["systems"]["ADJSCC"]["psnr_db"] for seed in ("0", "1")]
    assert said["images"][1]["systems"]["ADJSCC"]["psnr_db"] == pytest.approx(sum(alone) / 2)
    assert [Path(row["compared"]).name for row in said["images"]] == ["cup-0dB-compared.png", "cup-9dB-compared.png"]


def test_costs_of_pictures_of_several_sizes_are_told_for_each(any_size: Path, tmp_path: Path) -> None:
    """And at the top only where they are one number."""
    link = SemanticLink.from_pretrained(any_size)
    for name, size in (("a", (32, 32)), ("b", (64, 48)), ("c", (32, 32))):
        to_picture(photograph("coffee", 64)[0, :, : size[0], : size[1]]).save(tmp_path / f"{name}.png")
    options = ("--model", any_size, "--cbr", "1/24", "--steps", "1")
    said = report(tmp_path / "a.png", tmp_path / "b.png", *options)
    assert (said["cbr"], said["channel_uses"]) == (None, None)
    for row, size in zip(said["images"], ((32, 32), (64, 48)), strict=True):
        expected = link.transmit(torch.zeros(1, 3, *size), 10.0, cbr=1 / 24, steps=1, realism=0.0, key=KEY).ledger
        assert (row["cbr"], row["channel_uses"]) == (expected.cbr, expected.total)
        assert row["channel_uses_by_kind"] == {**row["channel_uses_by_kind"], "payload": expected.payload, "total": expected.total}
    same = report(tmp_path / "a.png", tmp_path / "c.png", *options)
    assert same["channel_uses"] == same["images"][0]["channel_uses_by_kind"] == said["images"][0]["channel_uses_by_kind"]
    assert same["cbr"] == said["images"][0]["cbr"]


@pytest.mark.parametrize("snr", ["", "5,", "5;7", "5 7"])
def test_what_is_no_list_of_snrs_is_refused(shirt: Path, snr: str) -> None:
    done = call(shirt, "--snr", snr)
    assert done.exit_code == 2
    assert "Invalid value for '--snr': expected numbers in dB such as 5 or 0,5,10, got" in done.stderr
    assert call(shirt, "--seeds", "0").exit_code == 2

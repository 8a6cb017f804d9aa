# SPDX-License-Identifier: Apache-2.0
"""Evaluations whose metrics compare with images that are not sent."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

import semdiff

pytest.importorskip("scipy")
pytest.importorskip("tqdm")
pytest.importorskip("PIL")

from semdiff.data.pictures import to_picture
from semdiff.evaluation import Results, sweep
from semdiff.metrics import frechet_classifier
from tests.python.evaluation_systems import Uncoded

NAME = "frechet_classifier_unpaired"


class UncodedClothes(Uncoded):
    """At Fashion-MNIST's size."""

    image_shape = (1, 28, 28)


def folder(place: Path, count: int, seed: int) -> Tensor:
    """Grey pictures as files, and as the tensor that is read from them."""
    place.mkdir()
    pixels = (semdiff.normal((count, 1, 28, 28), semdiff.Key(seed)).sigmoid() * 255).to(torch.uint8)
    for i, picture in enumerate(pixels):
        to_picture(picture).save(place / f"{i:02}.png")
    return pixels.float() / 255


def evaluate(sent: Path, references: Path, out: Path | None = None) -> Results:
    settings = {"snr_db": 10, "grey": True, "batch": 8, "metrics": [NAME], "references": str(references)}
    return sweep(None, out, systems={"uncoded": UncodedClothes()}, data=str(sent), **settings)


def test_the_distance_is_from_the_references_and_the_floor_is_the_originals(tmp_path):
    sent, others = folder(tmp_path / "sent", 12, 1), folder(tmp_path / "others", 20, 2)
    found = evaluate(tmp_path / "sent", tmp_path / "others", tmp_path / "out")
    parts = [UncodedClothes().transmit(p, 10, key=semdiff.Key(0).fold_in(i)).images for i, p in enumerate(sent.split(8))]
    assert found.rows[0][NAME] == pytest.approx(frechet_classifier(torch.cat(parts), others).value, rel=1e-6)
    told = found.header["references"]
    assert told["images"] == 20
    assert told["originals"] == {NAME: pytest.approx(frechet_classifier(sent, others).value, rel=1e-6)}
    assert Results.load(tmp_path / "out").header["references"] == told


def test_the_page_says_what_the_originals_have(tmp_path):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    from semdiff.evaluation.report import write_report

    folder(tmp_path / "sent", 6, 1), folder(tmp_path / "others", 9, 2)
    found = evaluate(tmp_path / "sent", tmp_path / "others", tmp_path / "out")
    write_report(found, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    floor = found.header["references"]["originals"][NAME]
    assert "compare with 9 images of" in page
    assert (f"{floor:.2f}" if floor >= 10 else f"{floor:.3f}") in page.split("the originals themselves have")[1][:200]


def test_other_references_are_another_cell(tmp_path):
    for name, count, seed in (("sent", 6, 1), ("others", 8, 2), ("more", 8, 3)):
        folder(tmp_path / name, count, seed)
    first, second = (evaluate(tmp_path / "sent", tmp_path / name, tmp_path / "out") for name in ("others", "more"))
    assert first.header["digests"] != second.header["digests"]
    assert first.rows[0][NAME] != second.rows[0][NAME]


def test_what_is_sent_is_no_reference(tmp_path):
    folder(tmp_path / "sent", 6, 1)
    with pytest.raises(ValueError, match="references: expected images that were not sent, got 6 of the 6 originals among them"):
        evaluate(tmp_path / "sent", tmp_path / "sent")
    images = torch.rand(4, 1, 28, 28)
    with pytest.raises(ValueError, match="references: expected the name of a data set or a folder, for images that are a tensor"):
        sweep(systems={"uncoded": UncodedClothes()}, snr_db=10, metrics=[NAME], data=images)

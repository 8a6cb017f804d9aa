# SPDX-License-Identifier: Apache-2.0
"""Systems that take any number of channel uses get exactly those of the learned one; outputs bear the names of what made them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semdiff import AWGN, Channel, Key

pytest.importorskip("diffusers")
pytest.importorskip("scipy")
pytest.importorskip("tqdm")
pytest.importorskip("PIL")

from semdiff.baselines import Capacity
from semdiff.evaluation import Results, plots, sweep
from semdiff.evaluation.systems import equal_cost_ratios, wrap_system
from semdiff.link import SemanticLink, Transmission
from semdiff.transmission.layout import Layout
from tests.python.evaluation_systems import psnr
from tests.python.small_links import LATENT_LINK

SHAPE = (3, 30, 45)
IMAGES = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(1))
METRICS = {"psnr": psnr}


class Learned(Capacity):
    """A system of rates: 2 or 1 symbol channels for each cell of 8x8 pixels, and a header."""

    any_uses = False

    def layout(self, size: tuple[int, int] | None = None) -> Layout:
        return Layout((3, *(size or (8, 8))), 8, 8, 2, (2, 1), header=True, nominal=size is None)

    def transmit(  # type: ignore[override]
        self, images: Tensor, snr_db: float, cbr: float | None = None, channel: Channel | None = None, key: Key | None = None
    ) -> Transmission:
        layout = self.layout(tuple(images.shape[2:]))
        counts = {1: 1 / 384, 2: 2 / 384}
        channels = 2 if cbr is None else min(counts, key=lambda c: abs(counts[c] - cbr))
        return super().transmit(images, snr_db, cbr=layout.uses(channels) / images[0].numel(), channel=channel or AWGN(), key=key)


@pytest.mark.parametrize(("cbr", "uses"), [(None, 64 + 4 * 6), (2 / 384, 64 + 4 * 6), (1 / 384, 64 + 2 * 6)])
def test_all_systems_cost_the_same_uses(cbr: float | None, uses: int) -> None:
    """30x45 pixels are 4x6 cells with their padding: so many uses for each pair of features, and a header of 64."""
    found = sweep(systems={"any": Capacity("jpeg"), "learned": Learned("jpeg")}, data=IMAGES, metrics=METRICS, snr_db=15, cbr=cbr, batch=2)
    assert [(row["system"], row["uses"]) for row in found.rows] == [("any", uses), ("learned", uses)]
    assert [row["cbr"] for row in found.rows] == [cbr] * 2  # what they are asked for, which is how tables find them


def test_without_a_learned_system_the_cbr_is_taken_as_it_is() -> None:
    found = sweep(systems={"any": Capacity("jpeg")}, data=IMAGES, metrics=METRICS, snr_db=15, cbr=0.02, batch=2)
    assert found.rows[0]["uses"] == round(0.02 * 3 * 30 * 45)


def test_a_ratio_that_is_exact_already_changes_no_cell() -> None:
    """Then what a cell is known by is the same with and without a learned system beside it, so that finished cells stay."""
    flexible, learned = wrap_system("any", Capacity("jpeg")), wrap_system("learned", Learned("jpeg"))
    assert equal_cost_ratios([flexible, learned], 2 / 384, SHAPE) == {"any": 88 / 4050}
    assert equal_cost_ratios([flexible, learned], 2 / 384, (3, 24, 704)) == {"any": (64 + 4 * 66) / 50688}  # nothing to pad, but the header
    assert equal_cost_ratios([flexible], 2 / 384, SHAPE) == equal_cost_ratios([learned], 2 / 384, SHAPE) == {}
    link = wrap_system("link", SemanticLink.default("fashion-mnist"))
    assert equal_cost_ratios([flexible, link], 64 / 784, (1, 28, 28)) == {}
    assert equal_cost_ratios([flexible, link], 1 / 12, (1, 28, 28)) == {"any": 64 / 784}  # 1/12 would be 65 uses


def test_the_shipped_photograph_link_and_the_codecs_cost_the_same() -> None:
    """Pictures that are no whole number of cells, by the systems themselves."""
    pytest.importorskip("sionna", reason="needs sionna-no-rt: pip install 'semdiff-torch[eval]'")
    jpeg = {"options": {"codec": "jpeg"}}
    systems = [{"name": "link", "options": {"model": "photos"}}, {"name": "digital"} | jpeg, {"name": "capacity"} | jpeg]
    found = sweep(systems=systems, data=IMAGES, metrics=METRICS, snr_db=10, cbr=1 / 24, steps=1, realism=[0, 1], batch=2)
    assert {row["uses"] for row in found.rows} == {64 + 6 * 32}  # 6 cells of 16x16 pixels, 768 values, a 24th of them
    names = [plots.receiver_label(row) for row in found.summary()]
    assert names == ["link, mean decoder", "link, detail decoder, 1 step", "digital", "capacity"]
    assert [row["evaluations"] for row in found.rows] == [0, 1, 0, 0]
    assert Results.output(found, found.rows[2]) is None


def test_a_posterior_mean_is_called_so() -> None:
    link = SemanticLink.from_pretrained(LATENT_LINK)
    images = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    found = sweep(systems={"link": link}, data=images, metrics=METRICS, snr_db=10, steps=2, realism=[0, 0.5, 1], batch=2)
    names = [plots.receiver_label(row) for row in found.summary()]
    assert names == ["link, posterior mean", "link, realism 0.5, 2 steps", "link, sample, 2 steps"]
    assert [row["evaluations"] for row in found.rows] == [1, 3, 2]

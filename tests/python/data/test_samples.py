# SPDX-License-Identifier: Apache-2.0
"""The images that come with the package in a model's shape, and sheets of images with words beside them."""

import pytest
import torch

from semdiff.data import sample_images, sample_photos
from semdiff.data.samples import samples_of_shape
from semdiff.data.sheet import Band, draw_sheet

pytest.importorskip("PIL")


def test_samples_are_the_packages_own_where_they_fit():
    grey, photographs = samples_of_shape((1, 28, 28)), samples_of_shape((3, None, None))
    assert torch.equal(grey.images, sample_images())
    assert torch.equal(photographs.images, sample_photos())
    assert len(grey.names) == len(grey.images)
    assert len(photographs.names) == len(photographs.images)


@pytest.mark.parametrize("colours", [1, 3])
def test_samples_of_another_size_are_means_of_areas(colours):
    whole = sample_images() if colours == 1 else sample_photos()[..., 32:288]  # the middle square
    side = whole.shape[-1] // 4
    images, title, _ = samples_of_shape((colours, side, side))
    squares = whole.reshape(*whole.shape[:2], side, 4, side, 4).mean((3, 5))
    torch.testing.assert_close(images, squares)
    assert title.endswith(f"of {side}x{side} pixels")


@pytest.mark.parametrize(("side", "drawn"), [(8, 56), (28, 56), (32, 64), (55, 110), (56, 56), (100, 100)])
def test_small_images_are_drawn_large_enough_for_three_lines_of_words(side, drawn):
    """Each row has the height of its images, so one row more makes the sheet so much higher."""
    row = Band("0 dB\nResidualJSCC\n17.7 dB PSNR", torch.rand(1, 3, side, side))
    one, two = (draw_sheet([row] * count, ["a"]) for count in (1, 2))
    assert two.height - one.height == drawn

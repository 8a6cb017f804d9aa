# SPDX-License-Identifier: Apache-2.0
"""The search for the best picture within a budget: what it remembers, and that what it leaves out would not have been chosen."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("PIL")
pytest.importorskip("diffusers")

from semdiff.baselines import codecs, packet
from semdiff.baselines.byte_cache import ENTRY, ByteCache
from semdiff.baselines.codecs import FORMATS, _jp2, _jp2_header, _largest, compress
from semdiff.data import sample_images, sample_photos
from semdiff.data.pictures import to_picture

PHOTO = sample_photos()[1, :, 64:160, 64:192]


def test_what_was_made_is_made_once_and_the_oldest_is_forgotten() -> None:
    made: list[int] = []
    memory = ByteCache(2 * (ENTRY + 100))

    def get(key: int, size: int = 100) -> int:
        content = memory.get(key, lambda: made.append(key) or bytes([key]) * size)  # type: ignore[func-returns-value]
        assert content == bytes([key]) * size
        return len(made)

    assert [get(1), get(2), get(1), get(1)] == [1, 2, 2, 2]
    assert get(3) == 3  # 2 was asked for longest ago
    assert [get(1), get(3), get(2)] == [3, 3, 4]
    assert memory.bytes <= memory.most
    assert memory.get("nothing", lambda: None) is None
    assert get(9, 10_000) == 5  # more than the memory holds: given all the same
    assert memory.bytes == 0


def test_a_search_codes_no_quality_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    picture, coded = to_picture(PHOTO), []
    monkeypatch.setattr(codecs, "CACHE", ByteCache(2**24))
    webp = codecs._webp
    monkeypatch.setattr(codecs, "_webp", lambda p, quality: coded.append(quality) or webp(p, quality))
    found = [compress(picture, "webp", budget) for budget in (400, 1200, 400, 800)]
    assert len(coded) == len(set(coded)) > 7
    assert found[0] == found[2]
    for content, budget in zip(found, (400, 1200, 400, 800), strict=True):
        sizes = {quality: len(webp(picture, quality)) for quality in range(0, 101, 20)}
        assert content is not None
        assert max(size for size in sizes.values() if size <= budget) <= len(content) <= budget


@pytest.mark.parametrize("budget", [40, 300, 2000, 9000])
def test_jpeg_2000_is_found_from_above_as_by_bisection(budget: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """To 1/256 of the budget the largest file that bisection finds."""
    picture = to_picture(PHOTO)
    monkeypatch.setattr(codecs, "CACHE", ByteCache(0))
    header = len(_jp2_header(picture.mode, picture.size, 0))
    expected = _largest(lambda size: _jp2(picture, header + size), 1, budget, budget)
    found = compress(picture, "jp2", budget)
    if expected is None:
        assert found is None
    else:
        assert found is not None
        assert len(expected) - budget / 256 - 1 <= len(found) <= budget


@pytest.mark.parametrize("bits", [100, 400, 1500])
def test_scales_that_are_left_out_would_not_have_been_chosen(bits: int) -> None:
    """The same packets as when every scale of every format is tried."""
    for image in (*sample_images()[:3], PHOTO):
        room = bits if image.shape[0] == 1 else 10 * bits
        assert torch.equal(packet.write_packet(image, room, FORMATS), _all_scales(image, room))


def _all_scales(image: torch.Tensor, bits: int) -> torch.Tensor:
    """`packet.write` by its own parts, without leaving anything out."""
    budget, best, least = (bits - 5) // 8, torch.zeros(bits, dtype=torch.uint8), float("inf")
    for kind in FORMATS if budget > 0 else ():
        for step, scale in enumerate(packet.SCALES):
            small = packet._smaller(image, scale)
            content = compress(packet._picture(small), kind, budget)
            if content is None:
                continue
            shown = packet._larger(packet._pixels(codecs.decompress(content, kind, *packet._kind_of(small))), image)
            error = float((shown - image).square().mean())
            if error < least:
                least, best = error, packet._assemble([FORMATS.index(kind), step], content, bits)
    return best

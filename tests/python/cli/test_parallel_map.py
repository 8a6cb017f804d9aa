# SPDX-License-Identifier: Apache-2.0
"""Work side by side: in order, no more at a time than was said, an error stops it, torch's threads are shared and given back."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch

from semdiff.cli.parallel_map import parallel_map, workers


@pytest.fixture(autouse=True)
def _four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_as_many_as_there_are_things_room_and_threads() -> None:
    assert [workers(*told) for told in ((8, 9), (8, 3), (2, 9), (0, 9), (8, 0))] == [4, 3, 2, 1, 1]


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_results_come_in_order_and_so_many_run_at_a_time(at_once: int) -> None:
    meet = threading.Barrier(at_once)  # passed only if all are at work together

    def work(i: int, thing: str) -> tuple[str, int, int]:
        meet.wait(timeout=30)
        return f"{i}{thing}", torch.get_num_threads(), threading.get_ident()

    done = list(parallel_map(work, list("abcdefgh"), at_once))
    assert [name for name, _, _ in done] == ["0a", "1b", "2c", "3d", "4e", "5f", "6g", "7h"]
    assert {threads for _, threads, _ in done} == {4 // at_once}
    assert len({place for _, _, place in done}) <= at_once
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("at_once", [1, 2])
def test_an_error_is_raised_in_its_turn_and_little_is_begun_after_it(at_once: int) -> None:
    begun = []

    def work(i: int, thing: int) -> int:
        begun.append(i)
        if i == 3:
            raise ValueError("thing: the fourth")
        return thing

    results = parallel_map(work, range(100), at_once)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="the fourth"):
        next(results)
    assert max(begun) <= 3 + 2 * at_once
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_things_are_taken_when_their_turn_is_near_and_one_that_fails_comes_after_those_before(at_once: int) -> None:
    taken = []

    def things() -> Iterator[int]:
        for i in range(6):
            taken.append(i)
            yield i
        raise ValueError("thing: the seventh cannot be had")

    results = parallel_map(lambda _, thing: thing, things(), at_once)
    assert next(results) == 0
    assert len(taken) <= at_once + 1
    assert [next(results) for _ in range(5)] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="the seventh cannot be had"):
        next(results)
    assert torch.get_num_threads() == 4

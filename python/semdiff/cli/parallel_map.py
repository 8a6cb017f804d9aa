# SPDX-License-Identifier: Apache-2.0
"""Map a function over several things in parallel: networks on small pictures leave cores idle when they share one picture."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

In = TypeVar("In")
Out = TypeVar("Out")


def workers(most: int, things: int) -> int:
    """Choose how many of so many things to work on at a time: at most `most`, and no more than torch has threads."""
    return max(1, min(most, things, torch.get_num_threads()))


def parallel_map(work: Callable[[int, In], Out], things: Iterable[In], at_once: int) -> Generator[Out]:
    """Compute work(i, thing) for the i-th of things, and yield the results in order.

    Each call runs in a thread of its own with its share of torch's threads, which leave Python's lock while they compute. Things are taken
    when their turn is near. The first error, of a call or of the next thing, is raised in its turn, and what has not begun by then never
    does.

    Args:
        work: the function.
        things: its second arguments.
        at_once: calls at a time.
    """
    threads = torch.get_num_threads()
    if at_once == 1:
        yield from (work(i, thing) for i, thing in enumerate(things))
        return
    share = max(1, threads // at_once)
    pool = ThreadPoolExecutor(at_once, "parallel_map", torch.set_num_threads, (share,))  # each thread has a number of its own
    running: deque[Future[Out]] = deque()
    coming = enumerate(things)
    broken: Exception | None = None
    try:
        while True:
            try:
                i, thing = next(coming)
            except StopIteration:
                break
            except Exception as error:
                broken = error
                break
            running.append(pool.submit(work, i, thing))
            if len(running) > at_once:  # one more than are at work, so that none waits for its turn to be read
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
        if broken:
            raise broken
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the last number set is what later threads begin with

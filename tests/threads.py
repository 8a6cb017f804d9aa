# SPDX-License-Identifier: Apache-2.0
"""Eight threads share two links and every operator's inputs: python -m tests.threads [--race]

Each sends pictures by both links, calls every operator of the table, and goes back through those that have gradients, in an order of its
own; all bits are those of one thread alone. `make sanitize-threads` runs it with an extension that the thread sanitizer watches. Python,
torch and its OpenMP are not compiled for it: of them it sees locks, threads, memory that is asked for, given back or copied, and nothing
else, so each thread computes alone. With --race one thread reads by an operator what another writes, which the sanitizer has to tell.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from semdiff import Key, normal, normalize_power
from semdiff.phy.fading import Rayleigh
from tests.python.op_digests import digest
from tests.python.op_table import BIG, OPS, SMALL, Op
from tests.python.small_links import any_size_link, pixel_link

THREADS = 8
Task = Callable[[], str]


def of_links() -> list[Task]:
    """Transmissions of two pictures: one link of latents and one on pixels, a channel with gains and one without."""
    tasks: list[Task] = []
    for link, shape in ((any_size_link(), (2, 3, 16, 24)), (pixel_link(), (2, 1, 28, 28))):
        images = normal(shape, Key(1)).sigmoid()
        for i, channel in enumerate((None, Rayleigh())):
            send = partial(link.transmit, images, 5.0, channel=channel, key=Key(2).fold_in(i), steps=2)
            tasks.append(lambda send=send: digest(send().images))
    return tasks


def of_operators() -> list[Task]:
    """A call of each operator in each dtype, and the gradients of those that have some."""
    tasks: list[Task] = []
    for op in OPS:
        for dtype in op.dtypes:
            for shape in (SMALL, BIG) if op.shaped else (SMALL,):
                arguments = op.make(shape, dtype)
                tasks.append(lambda op=op, arguments=arguments: digest(*results(op, arguments)))
                if op.gradients:
                    tasks.append(lambda op=op, arguments=arguments: digest(*gradients(op, arguments)))
    return tasks


def results(op: Op, arguments: tuple[object, ...]) -> tuple[Tensor, ...]:
    """Call the operator, and return its outputs as a tuple."""
    found = op.call(*arguments)
    return (found,) if isinstance(found, Tensor) else tuple(found)


def gradients(op: Op, arguments: tuple[object, ...]) -> tuple[Tensor, ...]:
    """Of the sum of the outputs that carry one, with respect to leaves that are this call's own and share the memory of the inputs."""
    own = [a.detach().requires_grad_() if i in op.gradients and isinstance(a, Tensor) else a for i, a in enumerate(arguments)]
    outputs = [o for o in results(op, tuple(own)) if o.requires_grad]
    total = sum(o.abs().double().sum() if o.is_complex() else o.double().sum() for o in outputs)
    leaves = [a for a in own if isinstance(a, Tensor) and a.requires_grad]
    return torch.autograd.grad(total, leaves)


def race() -> int:
    """Read and write the same numbers at the same time."""
    torch.set_num_threads(1)
    x = normal((4, 2**16), Key(0))
    writer = threading.Thread(target=lambda: [ctypes.memset(x.data_ptr(), 0, x.nbytes) for _ in range(50)])
    writer.start()
    for _ in range(5):
        normalize_power(x)
    writer.join()
    return 0


def main() -> int:
    torch.set_num_threads(1)
    tasks = of_links() + of_operators()
    want = [task() for task in tasks]
    differ: set[int] = set()
    errors: list[BaseException] = []
    together = threading.Barrier(THREADS)

    def work(number: int) -> None:
        try:
            torch.set_num_threads(1)
            together.wait()
            for i in range(len(tasks)):
                place = (i + number * len(tasks) // THREADS // 4) % len(tasks)  # apart by a little, so that they meet
                if tasks[place]() != want[place]:
                    differ.add(place)
        except BaseException as error:
            errors.append(error)
            together.abort()

    pool = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in pool:
        thread.start()
    for thread in pool:
        thread.join()
    for error in errors:
        print(f"a thread failed: {type(error).__name__}: {error}")
    print(f"{THREADS} threads, {len(tasks)} tasks each: {len(differ)} differ from one thread's")
    return int(bool(differ or errors))


if __name__ == "__main__":
    sys.exit(race() if sys.argv[1:] == ["--race"] else main())

# SPDX-License-Identifier: Apache-2.0
"""An evaluation or a training under torchrun, of which process 1 ends itself by SIGKILL in the middle where the environment says KILLED:
`python -m torch.distributed.run --nproc-per-node 2 -m tests.python.killed_rank evaluate|train OUT`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

MINE = os.environ.get("KILLED") and os.environ["RANK"] == "1"


def kill_at(number: int) -> Any:
    """A function that ends the process when it has been called so often."""
    count = 0

    def called(*_: object) -> None:
        nonlocal count
        count += 1
        if MINE and count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    return called


def evaluate(out: Path) -> None:
    from tests.python import evaluation_systems

    ending, send = kill_at(5), evaluation_systems.Uncoded.transmit

    def transmit(self: Any, *arguments: Any, **options: Any) -> Any:
        ending()
        return send(self, *arguments, **options)

    evaluation_systems.Uncoded.transmit = transmit  # type: ignore[method-assign]
    evaluation_systems.run(out, 0.1)


def train(out: Path) -> None:
    from semdiff import Key
    from semdiff.training.accelerator import prepare_accelerator
    from semdiff.training.engine import Plan, fit
    from tests.python.training.test_training import DATA, Line

    options: dict[str, Any] = {"name": "line", "key": Key(11), "folder": out, "progress": False, "save_every": 0.0}
    fit(Line(), DATA, Plan(12, 8, 0.05, 3), accelerator=prepare_accelerator(cpu=True), on_step=kill_at(6), **options)


if __name__ == "__main__":
    {"evaluate": evaluate, "train": train}[sys.argv[1]](Path(sys.argv[2]))

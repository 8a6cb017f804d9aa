# SPDX-License-Identifier: Apache-2.0
"""Systems that need no training, and an evaluation of them that takes its time: `python -m tests.python.evaluation_systems OUT NAP`."""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from torch import Tensor

from semdiff import AWGN, Channel, Key, measured_snr_db, pack, unpack
from semdiff.evaluation import Results, sweep
from semdiff.link import Ledger, Transmission


class Uncoded:
    """Pixels as symbols: two to a channel use, received by the linear estimate of a share `trust` of them; `nap` seconds a batch."""

    image_shape = (1, 4, 4)
    sent = 0  # by all of them in this process

    def __init__(self, trust: float = 1.0, nap: float = 0.0) -> None:
        self.trust, self.nap = trust, nap
        self.calls = 0

    def identity(self) -> dict[str, float]:
        return {"trust": self.trust}  # the nap changes nothing

    def transmit(
        self, images: Tensor, snr_db: float, cbr: float | None = None, channel: Channel | None = None, key: Key | None = None
    ) -> Transmission:
        self.calls += 1
        Uncoded.sent += 1
        begun = time.perf_counter()
        time.sleep(self.nap)
        if cbr not in (None, 0.5):
            raise ValueError(f"cbr: expected 0.5, got {cbr}")
        symbols = pack(2 * images - 1)
        received = (channel or AWGN())(symbols, snr_db, key)
        out = (unpack(received.y, images.shape) * self.trust + 1) / 2
        t = torch.full((len(images),), torch.nan, dtype=torch.float64)
        ledger = Ledger(symbols[0].numel(), images[0].numel())
        return Transmission(out.clamp(0, 1), ledger, measured_snr_db(symbols, received.y), t, 0, time.perf_counter() - begun)


class Dialled(Uncoded):
    """The same with a dial, from a grey mean to what was heard, and steps, which cost a nap each."""

    def transmit(  # type: ignore[override]
        self, images: Tensor, snr_db: float, cbr: float | None = None, channel: Channel | None = None, steps: int | str = 1,
        realism: float = 1.0, key: Key | None = None,
    ) -> Transmission:  # fmt: skip
        done, count = super().transmit(images, snr_db, cbr, channel, key), 8 if steps == "auto" else int(steps)
        out = realism * done.images + (1 - realism) * 0.5
        return Transmission(out, done.ledger, done.snr_db, done.t, count, done.seconds + 0.001 * count)


def psnr(received: Tensor, originals: Tensor, labels: Tensor | None) -> Tensor:
    return -10 * torch.log10((received - originals).double().square().flatten(1).mean(1))


def lpips(received: Tensor, originals: Tensor, labels: Tensor | None) -> Tensor:
    """In the place of a perceptual metric: how far the contrasts are apart."""
    return (received.flatten(1).std(1) - originals.flatten(1).std(1)).abs()


def images(n: int = 6) -> Tensor:
    return torch.rand(n, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def run(out: Any, nap: float = 0.0, **changes: Any) -> Results:
    """12 cells of two systems."""
    fields: dict[str, Any] = {"snr_db": [0, 10], "seeds": [0, 1, 2], "batch": 4, "pictures": 2} | changes
    systems = {"uncoded": Uncoded(nap=nap), "half": Uncoded(0.5, nap)}
    return sweep(out=out, systems=systems, data=images(), metrics={"psnr": psnr}, **fields)


if __name__ == "__main__":
    from tests.python import evaluation_systems  # by its name: the metrics' names are part of what a cell is known by

    print(evaluation_systems.run(sys.argv[1], float(sys.argv[2])).complete, evaluation_systems.Uncoded.sent)

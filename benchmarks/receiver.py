# SPDX-License-Identifier: Apache-2.0
"""The photograph link's receiver, from symbols to a picture of 432x480 on one thread: eager float32 and what `link.compile` makes of it.

The same symbols for all, a sample of one evaluation at 5 dB and CBR 1/24. The last column is the largest change of a picture's PSNR. Half
of the processor is measured too: ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 makes it one without AVX-512.
"""

from __future__ import annotations

from typing import Any

import torch

import semdiff
from benchmarks.timing import interleave
from semdiff._util.precision import computes_bf16
from semdiff.link import SemanticLink
from semdiff.metrics import psnr
from tests.python.photographs import photograph

SNR_DB, CBR, SIZE = 5.0, 1 / 24, (432, 480)


def measure(rounds: int) -> list[dict[str, Any]]:
    """Milliseconds a picture for each variant, and how many times faster than eager it is."""
    forms: dict[str, dict[str, Any] | None] = {
        "eager float32": None,
        "channels last": {"precision": "fp32", "compiled": False},
        "and torch.compile": {"precision": "fp32"},
    }
    if computes_bf16(True):
        forms |= {"channels last and bfloat16": {"precision": "bf16", "compiled": False}, "all three": {"precision": "bf16"}}
    links = {name: SemanticLink.default("photos") for name in forms}
    for name, options in forms.items():
        if options is not None:
            links[name].compile(**options)
    image = photograph("astronaut", SIZE[1])[:, :, : SIZE[0]]
    symbols = semdiff.AWGN()(links["eager float32"].send(image, cbr=CBR, snr_db=SNR_DB), SNR_DB, semdiff.Key(1)).y
    noise_var = 10 ** (-SNR_DB / 10)

    def receive(link: SemanticLink) -> torch.Tensor:
        return link.receive(symbols, noise_var, steps=1, key=semdiff.Key(2), size=SIZE)

    quality = {name: float(psnr(receive(link), image)) for name, link in links.items()}
    times = interleave({name: lambda link=link: receive(link) for name, link in links.items()}, rounds, seconds=0.2)
    rows = []
    for name, timing in times.items():
        median, low, high = timing.ratio_to(times["eager float32"])
        change = quality[name] - quality["eager float32"]
        rows.append({"receiver": name, "ms": 1e3 * timing.median, "ratio": median, "p10": low, "p90": high, "psnr_change_db": change})
    return rows


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = ["| receiving a photograph, one thread | ms | × eager (10-90 %) | PSNR, change in dB |", "|---|---:|---:|---:|"]
    for r in rows:
        ratio = f"{r['ratio']:.2f} ({r['p10']:.2f}-{r['p90']:.2f})"
        lines.append(f"| {r['receiver']} | {r['ms']:.0f} | {ratio} | {r['psnr_change_db']:+.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(markdown(measure(7)))

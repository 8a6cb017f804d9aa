# SPDX-License-Identifier: Apache-2.0
"""`make bench`: every operator against its eager form and torch.compile, the sampling loop against
diffusers', and a training step against plain PyTorch's, in one process, interleaved. Prints tables and writes them as Markdown and JSON."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

import semdiff
from tests.bench import samplers, training
from tests.bench.cases import CASES
from tests.bench.timing import interleave

SIZES = (3072, 262144, 4194304)


def measure(case: Any, size: int, threads: int, rounds: int, compiled: bool) -> dict[str, Any]:
    torch.set_num_threads(threads)
    torch.compiler.reset()
    torch.manual_seed(0)
    ours, eager, arguments = case.make(size)
    training = any(isinstance(a, torch.Tensor) and a.requires_grad for a in arguments)

    def run(function: Any) -> Any:
        if not training:
            return lambda: function(*arguments)
        wanted = [a for a in arguments if isinstance(a, torch.Tensor) and a.requires_grad]
        return lambda: torch.autograd.grad(function(*arguments), wanted)

    variants = {"ours": ours, "eager": run(eager)}
    if compiled:
        variants["compile"] = run(torch.compile(eager, fullgraph=True, dynamic=False))
    times = interleave(variants, rounds)
    row: dict[str, Any] = {"op": case.name, "elements": size, "threads": threads, "microseconds": times["ours"].median * 1e6}
    for name in list(variants)[1:]:
        median, low, high = times["ours"].ratio_to(times[name])
        row[name] = {"ratio": median, "p10": low, "p90": high, "microseconds": times[name].median * 1e6}
    return row


def markdown(rows: list[dict[str, Any]]) -> str:
    heads = ("op", "elements", "threads", "ours, µs", "ns/element", "× eager (10-90 %)", "× torch.compile (10-90 %)")
    lines = [f"| {' | '.join(heads)} |", "|---|---:|---:|---:|---:|---:|---:|"]
    for r in rows:
        cells = [f"{r[k]['ratio']:.1f} ({r[k]['p10']:.1f}-{r[k]['p90']:.1f})" if k in r else "" for k in ("eager", "compile")]
        per_element = r["microseconds"] * 1e3 / r["elements"]
        numbers = (f"{r['elements']:,}", str(r["threads"]), f"{r['microseconds']:,.1f}", f"{per_element:.2f}")
        lines.append(f"| {' | '.join((r['op'], *numbers, *cells))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default="", help="ops whose name holds this")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    args = parser.parse_args()
    info = semdiff.build_info()
    rows = []
    jobs = [(c, n, t) for c in CASES if args.only in c.name for n in args.sizes for t in args.threads]
    for i, (case, size, threads) in enumerate(jobs):
        print(f"\r{i + 1}/{len(jobs)} {case.name:40s}", end="", file=sys.stderr, flush=True)
        rows.append(measure(case, size, threads, args.rounds, not args.no_compile))
    print(file=sys.stderr)
    setting = f"torch {torch.__version__}, {info['compiler']}, instruction set {info['isa']}, {args.rounds} interleaved rounds"
    torch.set_num_threads(1)
    loops, steps = ([], []) if args.only else (samplers.measure(args.rounds), training.measure(args.rounds))
    table = f"{setting}\n\n{markdown(rows)}" + ("" if args.only else f"\n\n{samplers.markdown(loops)}\n\n{training.markdown(steps)}")
    print(table)
    args.out.mkdir(parents=True, exist_ok=True)
    found = {"build": info, "rounds": args.rounds, "rows": rows, "loops": loops, "training": steps}
    (args.out / "bench.json").write_text(json.dumps(found, indent=1))
    (args.out / "bench.md").write_text(table + "\n")


if __name__ == "__main__":
    main()

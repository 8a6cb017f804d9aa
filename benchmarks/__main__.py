# SPDX-License-Identifier: Apache-2.0
"""`make bench`: every operator against its eager form, one by hand in place, other libraries and torch.compile, the sampling loop against
diffusers', and a training step against plain PyTorch's, in one process, interleaved. Prints tables and writes them as Markdown and JSON,
and a picture of how near each operator is to what the machine allows."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch

import semdiff
from benchmarks import peers, receiver, samplers, training
from benchmarks.cases import CASES, KEY, Case
from benchmarks.roofline import draw
from benchmarks.timing import interleave

SIZES = (3072, 262144, 4194304)
COLUMNS = {
    "eager": "× eager (10-90 %)",
    "in_place": "× in place by hand",
    "library": "× library",
    "compile": "× torch.compile",
}


def measure(case: Case, size: int, threads: int, rounds: int, compiled: bool, least_of: int = 1) -> dict[str, Any]:
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
    if case.name in peers.IN_PLACE:
        variants["in_place"] = run(peers.IN_PLACE[case.name])
    if case.name in peers.LIBRARIES and importlib.util.find_spec((library := peers.LIBRARIES[case.name])[0].lower()):
        variants["library"] = library[1](*arguments)
    if compiled:
        variants["compile"] = run(torch.compile(eager, fullgraph=True, dynamic=False))
    source, target = torch.ones(size), torch.zeros(size)
    limits = {"copy": lambda: target.copy_(source), "generator": lambda: semdiff.normal((size,), KEY)}
    times = interleave(variants | limits, rounds, least_of=least_of)
    row: dict[str, Any] = {"op": case.name, "elements": size, "threads": threads, "microseconds": times["ours"].median * 1e6}
    for name in list(variants)[1:]:
        median, low, high = times["ours"].ratio_to(times[name])
        row[name] = {"ratio": median, "p10": low, "p90": high, "microseconds": times[name].median * 1e6}
    # The generator's time includes writing 4 bytes a number, so this limit is a little slow for cases that write less.
    least = {"memory": case.bytes / 8 * times["copy"].median, "generator": case.normals * times["generator"].median}
    bound = max(least, key=lambda name: least[name])
    return row | {"bytes": case.bytes, "normals": case.normals, "bound": bound, "of_limit": least[bound] / times["ours"].median}


def markdown(rows: list[dict[str, Any]]) -> str:
    heads = ("op", "elements", "threads", "ours, µs", "ns/element", *COLUMNS.values(), "of the limit")
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for r in rows:
        cells = [f"{r[k]['ratio']:.1f} ({r[k]['p10']:.1f}-{r[k]['p90']:.1f})" if k in r else "" for k in COLUMNS]
        per_element = r["microseconds"] * 1e3 / r["elements"]
        limit = f"{r['of_limit']:.0%} ({r['bound']})" if r["elements"] == max(SIZES) and r["op"] != "svd_2x2" else ""
        numbers = (f"{r['elements']:,}", str(r["threads"]), f"{r['microseconds']:,.1f}", f"{per_element:.2f}")
        lines.append(f"| {' | '.join((r['op'], *numbers, *cells, limit))} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--only", default="", help="ops whose name holds this")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument(
        "--least-of", type=int, default=1, help="a round is the least of so many shorter ones, for a machine that others use"
    )
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    args = parser.parse_args()
    info = semdiff.build_info()
    rows = []
    jobs = [(c, n, t) for c in CASES if args.only in c.name for n in args.sizes for t in args.threads]
    for i, (case, size, threads) in enumerate(jobs):
        print(f"\r{i + 1}/{len(jobs)} {case.name:40s}", end="", file=sys.stderr, flush=True)
        rows.append(measure(case, size, threads, args.rounds, not args.no_compile, args.least_of))
    print(file=sys.stderr)
    setting = f"torch {torch.__version__}, {info['compiler']}, instruction set {info['isa']}, {args.rounds} interleaved rounds"
    setting += f", each the least of {args.least_of}" if args.least_of > 1 else ""
    torch.set_num_threads(1)
    # Each with its own table: the sampling loop, a training step, the photograph link's receiver.
    more = {}
    if not args.only:
        more = {samplers: samplers.measure(args.rounds, args.least_of)} | {part: part.measure(args.rounds) for part in (training, receiver)}
    table = "\n\n".join([setting, markdown(rows), *(part.markdown(found) for part, found in more.items())])
    print(table)
    args.out.mkdir(parents=True, exist_ok=True)
    found = {"build": info, "rounds": args.rounds, "rows": rows} | {part.__name__.rpartition(".")[2]: found for part, found in more.items()}
    (args.out / "bench.json").write_text(json.dumps(found, indent=1))
    (args.out / "bench.md").write_text(table + "\n")
    draw(rows, args.out / "bench.png")


if __name__ == "__main__":
    main()

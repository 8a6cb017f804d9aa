# SPDX-License-Identifier: Apache-2.0
"""Every argument of every operator and of every public function, wrong in one way of each kind: what comes out is a ValueError, a TypeError
(FileNotFoundError for files) that names an argument, or a result that the argument's text allows; never a crash, another error or silence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

import semdiff
import semdiff.metrics
import semdiff.numpy
from tests.python.function_table import ROWS, Row
from tests.python.mutations import mutants
from tests.python.op_table import OPS, SMALL, Args, Op

REFUSALS = (ValueError, TypeError, FileNotFoundError)
# Arguments that are looked at, so that none may be NaN; the others are data, in which NaN passes through.
NUMBERS = {
    "snr_db", "noise_var", "t", "t_previous", "eta", "alpha_bar", "alphas_cumprod", "beta_start", "beta_end", "k_db", "error_var",
    "papr_db", "decay", "phase_noise", "frequency_offset", "snr_offset_db", "lambda_prior", "lambda_match", "gain", "clip", "powers",
    "correlation", "los", "scatter", "grid",
}  # fmt: skip
ALLOWED = {("sample grid", "t")}  # the grid holds the times
OTHER_NAMES = {"alphas_cumprod": ["T"], "normal": ["size"]}  # of operators, in the messages that their functions' users read


def refusal(call: Callable[[], Any], names: Iterable[str]) -> str:
    """The message of a refusal, or none; the test fails at any other error, and where no argument is named."""
    try:
        call()
    except REFUSALS as error:
        message = str(error)
    else:
        return ""
    if not re.search("|".join(rf"\b{re.escape(name)}\b" for name in names), message):
        pytest.fail(f"no argument is named: {message}")
    return message


def brief(value: Any) -> str:
    return f"{value.dtype} {tuple(value.shape)} on {value.device}" if isinstance(value, Tensor) else repr(value)[:80]


@pytest.mark.parametrize("op", OPS, ids=str)
def test_operators(op: Op) -> None:
    args = op.make(SMALL, torch.float32)
    names = [a.name for a in op.call._schema.arguments]
    for position, value in enumerate(args):
        if isinstance(value, (torch.dtype, torch.device)):
            continue
        for kind, wrong in mutants(value):
            if kind == "type":
                continue  # torch's dispatcher sees to those
            refused = refusal(lambda p=position, w=wrong: op.call(*args[:p], w, *args[p + 1 :]), names + OTHER_NAMES.get(op.name, []))
            if _must_be_refused(op, args, position, kind, wrong):
                assert refused, f"{op}: {names[position]} is {kind}: {brief(wrong)}"


def _must_be_refused(op: Op, args: Args, position: int, kind: str, wrong: Any) -> bool:
    name = op.call._schema.arguments[position].name
    real = [i for i, a in enumerate(args) if isinstance(a, Tensor) and a.dtype != torch.uint64]
    alone = len(real) == 1
    if kind == "device":  # of others than the first tensor, whose place the result has
        return position not in real or not (alone or position == _place(op, real))
    if kind == "dtype":
        return wrong.dtype in (torch.int32, torch.bool, torch.float8_e5m2)
    if kind in ("shape", "rank"):
        return kind == "shape" and not alone and op.name not in ("alpha_bar", "timestep")
    step = "step" in op.name and name == "s"
    table = op.name in ("alpha_bar", "timestep") and name == "alphas_cumprod"  # which is looked at where a NoiseSchedule is made
    return kind == "text" or (kind == "nan" and (step or name in NUMBERS) and not table)


def _place(op: Op, real: list[int]) -> int:
    """The position of the argument that says where the result is."""
    return real[1] if op.name.startswith("dpmpp") and op.name.endswith("backward") else real[0]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_functions(row: Row) -> None:
    row.call(**row.arguments)
    for name, value in row.arguments.items():
        for kind, wrong in mutants(value):
            refused = refusal(lambda n=name, w=wrong: row.call(**(row.arguments | {n: w})), row.arguments)
            must = kind == "text" or (kind == "type" and wrong is not None and not (name == "coherence" and wrong == 7))
            must |= kind == "dtype" and isinstance(wrong, Tensor) and wrong.dtype == torch.float8_e5m2 and row.name != "Multipath powers"
            must |= kind == "nan" and name in NUMBERS
            if kind == "device" and not refused:
                assert row.call(**(row.arguments | {name: wrong}))[0].is_meta, f"{row}: numbers of {name}, which is on meta"
            if must and (row.name, name) not in ALLOWED:
                assert refused, f"{row}: {name} is {kind}: {brief(wrong)}"


def test_every_public_function_has_a_row() -> None:
    called = {re.split(r"[.( ]", row.name.removeprefix("numpy."))[0] for row in ROWS if not row.name.startswith("numpy.")}
    types = {"Channel", "DiffusionState", "Equalized", "GaussianSample", "Received", "UpsamplerLoss", "Uses", "__version__", "build_info"}
    types |= {"Denoiser", "KeyLike", "MatchMode", "Prediction", "Solver"}
    assert {name for name in semdiff.__all__ if name not in types} <= called
    adapted = {row.name.removeprefix("numpy.") for row in ROWS if row.name.startswith("numpy.")}
    assert set(semdiff.numpy.__all__) - {"Key", "NoiseSchedule"} == adapted
    # test_metrics_lpips.py, _sets.py
    needs_networks = {"LPIPS", "lpips", "lpips_shifted", "fid", "kid", "kid_patches", "METRICS", "Metric", "Score"}
    assert set(semdiff.metrics.__all__) - needs_networks <= called
